import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.opening_hours import Hours, OpeningCalendar, calendar_of
from retail_lakehouse.contracts.reference_data import stores

NINE_TO_NINE = (9 * 60, 21 * 60)


def ms(zone: str, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    """An instant of a wall clock, in epoch milliseconds."""
    return int(datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def shops(zone: str, hours: tuple[int, int] = NINE_TO_NINE, grace: int = 0) -> OpeningCalendar:
    return OpeningCalendar((Hours(zone, *hours, stores=2),), grace)


@pytest.mark.parametrize(
    "zone, day",
    [
        ("Europe/Berlin", (2026, 3, 28)),
        ("Europe/Berlin", (2026, 3, 29)),
        ("Europe/Berlin", (2026, 10, 25)),
        ("Europe/Berlin", (2026, 10, 26)),
        ("America/New_York", (2026, 3, 8)),
        ("America/New_York", (2026, 11, 1)),
        ("Australia/Lord_Howe", (2026, 4, 5)),
        ("Asia/Kathmandu", (2026, 6, 1)),
    ],
)
def test_stores_open_by_their_wall_clock_on_the_days_of_the_switch_too(
    zone: str, day: tuple[int, int, int]
) -> None:
    calendar = shops(zone)
    assert calendar.open_share(ms(zone, *day, 8, 55)) == 0.0
    assert calendar.open_share(ms(zone, *day, 9, 0)) == 1.0
    assert calendar.open_share(ms(zone, *day, 20, 55)) == 1.0
    assert calendar.open_share(ms(zone, *day, 21, 0)) == 0.0


@pytest.mark.parametrize("day, hours", [((2026, 3, 29), 23), ((2026, 10, 25), 25)])
def test_a_day_of_the_switch_is_open_for_as_long_as_its_clocks_say(
    day: tuple[int, int, int], hours: int
) -> None:
    around_the_clock = shops("Europe/Berlin", (0, 24 * 60))
    night = shops("Europe/Berlin", (0, 6 * 60))
    first = datetime(*day, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    slots = [first + timedelta(minutes=5 * i) for i in range(12 * hours)]

    def open_hours(calendar: OpeningCalendar) -> float:
        return sum(calendar.open_share(int(at.timestamp() * 1000)) for at in slots) / 12

    assert open_hours(around_the_clock) == hours
    assert open_hours(night) == 6 + (hours - 24)


def test_a_store_that_has_just_opened_owes_nothing_until_the_grace_is_over() -> None:
    calendar = shops("Asia/Kolkata", grace=1800)
    assert calendar.open_share(ms("Asia/Kolkata", 2026, 6, 1, 9, 25)) == 0.0
    assert calendar.open_share(ms("Asia/Kolkata", 2026, 6, 1, 9, 30)) == 1.0
    assert calendar.open_share(ms("Asia/Kolkata", 2026, 6, 1, 21, 0)) == 0.0


def test_a_store_may_close_after_midnight() -> None:
    calendar = shops("Asia/Manila", (18 * 60, 2 * 60))
    told = [calendar.open_share(ms("Asia/Manila", 2026, 6, 1, hour)) for hour in (17, 18, 1, 2)]
    assert told == [0.0, 1.0, 1.0, 0.0]


def test_only_the_open_share_owes_events() -> None:
    zone = "Asia/Kolkata"
    half = OpeningCalendar(
        (Hours(zone, *NINE_TO_NINE, stores=1), Hours(zone, 15 * 60, 21 * 60, stores=1)), 0
    )
    noon, evening = ms(zone, 2026, 6, 1, 12), ms(zone, 2026, 6, 1, 18)
    assert half.events_due(2.0, noon - 3_600_000, noon) == pytest.approx(60.0)
    assert half.events_due(2.0, evening - 3_600_000, evening) == pytest.approx(120.0)
    night = ms(zone, 2026, 6, 1, 3)
    assert half.events_due(2.0, night - 3_600_000, night) == 0.0
    assert half.events_due(2.0, noon, noon) == 0.0
    # The hours before opening are no silence.
    assert half.events_due(1.0, ms(zone, 2026, 6, 1, 4), ms(zone, 2026, 6, 1, 9, 4)) < 5


def test_a_long_silence_owes_what_its_last_hours_owe() -> None:
    always = shops("Asia/Kolkata", (0, 24 * 60))
    at = ms("Asia/Kolkata", 2026, 6, 10)
    assert always.events_due(1.0, 0, at) == pytest.approx(360.0)


@pytest.mark.parametrize("event", [each.name for each in EVENTS])
def test_every_event_has_a_calendar_and_the_online_shop_never_closes(event: str) -> None:
    start = ms("UTC", 2026, 6, 1)
    shares = [calendar_of(event).open_share(start + i * 1_800_000) for i in range(48)]
    assert max(shares) <= 1.0
    assert min(shares) > 0.0
    if event == "clickstream":
        assert set(shares) == {1.0}
    else:
        assert max(shares) > 0.95
        assert min(shares) < 0.1


def test_the_map_is_closed_at_night_where_no_store_is_open_all_day() -> None:
    by_day = [s for s in stores() if not s.is_virtual and s.closes_at_minute < 24 * 60]
    calendar = OpeningCalendar.of(replace(store, time_zone="Asia/Kolkata") for store in by_day)
    assert calendar.open_share(ms("Asia/Kolkata", 2026, 6, 1, 3)) == 0.0
    assert calendar.open_share(ms("Asia/Kolkata", 2026, 6, 1, 12)) == 1.0


def test_a_tick_costs_no_more_than_a_few_milliseconds() -> None:
    calendar, at = calendar_of("transactions"), ms("UTC", 2026, 7, 1)
    began = time.process_time()
    for second in range(600):
        calendar.events_due(1.0, at - 3_600_000, at + second * 1000)
    assert (time.process_time() - began) / 600 < 0.005


def test_each_topic_is_fed_by_the_stores_that_can_feed_it() -> None:
    online = sum(store.is_virtual for store in stores())
    on_map = len(stores()) - online
    fed = {
        event.name: sum(each.stores for each in calendar_of(event.name).hours) for event in EVENTS
    }
    assert fed == {"inventory": on_map, "transactions": on_map + online, "clickstream": online}
    assert on_map > online > 0
