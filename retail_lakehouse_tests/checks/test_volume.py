"""An hour is held against the same hour of former weeks, by the stores that were open."""

from datetime import UTC, datetime

import pytest

from retail_lakehouse.assets.stream import TableLook
from retail_lakehouse.checks.arrival_judges import judge_volume
from retail_lakehouse.contracts import opening_hours
from retail_lakehouse.contracts.alerting import NOT_JUDGED
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.opening_hours import OpeningCalendar
from retail_lakehouse.contracts.service_levels import Measure, level_of
from retail_lakehouse.tables.hourly_volume import WEEK_HOURS, Hours
from retail_lakehouse_tests.checks.looks import ALWAYS_CLOSED, ALWAYS_OPEN

HOUR = 500_000
SEEN = TableLook(None, None)
VOLUME_LEVEL = level_of("inventory_events", Measure.VOLUME)


def hours(newest: int, *former: int) -> Hours:
    """The newest hour's records, and those of the same hour one, two and more weeks before."""
    past = {HOUR - week * WEEK_HOURS: count for week, count in enumerate(former, start=1)}
    return Hours({**past, HOUR: newest})


@pytest.mark.parametrize(
    ("newest", "former", "passed"),
    [
        (1_000, (1_000, 1_000, 1_000, 1_000), True),
        (499, (1_000,), False),
        (500, (1_000,), True),
        (2_000, (1_000,), True),
        (2_001, (1_000,), False),
        (1_000, (1_000, 5, 1_100, 9_000), True),
        (0, (1_000,), False),
        (0, (59,), True),
        (0, (60,), False),
        (5_000, (), True),
    ],
)
def test_an_hour_is_held_against_the_middle_one_of_former_weeks(
    newest: int, former: tuple[int, ...], passed: bool
) -> None:
    verdict = judge_volume(SEEN, INVENTORY, hours(newest, *former), ALWAYS_OPEN, VOLUME_LEVEL)
    assert verdict.passed is passed, verdict.sentence
    assert verdict.passed or verdict.warn_only


def test_a_switch_of_summer_time_moves_no_hour() -> None:
    # The Monday after the switch: the stores open at what was an hour before a week ago.
    newest = int(datetime(2027, 3, 29, 7, tzinfo=UTC).timestamp()) // 3600
    stores, shop = (
        opening_hours.Hours("Europe/Berlin", 9 * 60, 20 * 60, 1),
        opening_hours.Hours("UTC", 0, 1440, 1),
    )
    calendar = OpeningCalendar((stores, shop), 0)
    known = Hours({newest - WEEK_HOURS: 500, newest: 1_000})
    verdict = judge_volume(SEEN, INVENTORY, known, calendar, VOLUME_LEVEL)
    assert verdict.figures["volume_share"] == 1.0
    closed = judge_volume(SEEN, INVENTORY, known, OpeningCalendar((stores,), 0), VOLUME_LEVEL)
    assert closed.passed
    assert closed.figures["weeks_known"] == 0


def test_no_hour_is_no_fault() -> None:
    assert judge_volume(SEEN, INVENTORY, None, ALWAYS_OPEN, VOLUME_LEVEL).passed
    assert judge_volume(SEEN, INVENTORY, Hours(), ALWAYS_CLOSED, VOLUME_LEVEL).passed


def test_a_table_that_cannot_be_read_is_told_as_everywhere() -> None:
    verdict = judge_volume("No catalog.", INVENTORY, hours(5, 5), ALWAYS_OPEN, VOLUME_LEVEL)
    assert not verdict.passed
    assert verdict.sentence == "No catalog."
    assert verdict.figures == NOT_JUDGED


def test_the_hour_in_which_stores_open_is_whole_though_they_owe_nothing_yet() -> None:
    # What was the second hour of the day is the first one since the switch: both are whole hours.
    newest = int(datetime(2026, 10, 26, 8, tzinfo=UTC).timestamp()) // 3600
    stores = opening_hours.Hours("Europe/Berlin", 9 * 60, 20 * 60, 1)
    known = Hours({newest - WEEK_HOURS: 1_000, newest: 1_000})
    verdict = judge_volume(SEEN, INVENTORY, known, OpeningCalendar((stores,)), VOLUME_LEVEL)
    assert verdict.figures["volume_share"] == 1.0
