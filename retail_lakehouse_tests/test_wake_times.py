"""Rules of when the warehouse is woken: windows, zones, cron lines, and their refusals."""

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import cast

import pytest
from dagster._utils.schedules import is_valid_cron_schedule, schedule_execution_time_iterator

from retail_lakehouse.settings import Settings, SettingsError
from retail_lakehouse.wake_times import QuietWindow, WakeTimes, is_quiet

BERLIN = "Europe/Berlin"


def window(text: str) -> QuietWindow:
    found = QuietWindow.from_text(text)
    assert found is not None
    return found


def quiet_minutes(day: datetime, hours: int, zone: str, text: str) -> list[datetime]:
    """The quiet minutes of so many hours from an instant."""
    minutes = (day + timedelta(minutes=minute) for minute in range(hours * 60))
    return [minute for minute in minutes if is_quiet(minute, zone, window(text))]


@pytest.mark.parametrize(
    "text, quiet, awake",
    [
        ("00:00-06:00", ["00:00", "05:59"], ["06:00", "12:00", "23:59"]),
        ("22:30-05:00", ["22:30", "23:59", "00:00", "04:59"], ["22:29", "05:00", "12:00"]),
        ("23:00-00:00", ["23:00", "23:59"], ["00:00", "22:59"]),
    ],
)
def test_the_first_minute_of_a_window_is_quiet_and_that_of_its_end_is_not(
    text: str, quiet: list[str], awake: list[str]
) -> None:
    for told, expected in ((quiet, True), (awake, False)):
        for clock in told:
            at = datetime.fromisoformat(f"2026-11-23T{clock}:30+00:00")
            assert is_quiet(at, "UTC", window(text)) is expected, clock


def test_without_a_window_no_instant_is_quiet() -> None:
    assert QuietWindow.from_text("") is None
    assert not is_quiet(datetime(2026, 11, 23, 3, tzinfo=UTC), "UTC", None)


def test_a_window_is_that_of_the_zones_wall_clock_wherever_the_instant_was_read() -> None:
    at = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)  # 01:30 in Kolkata
    assert is_quiet(at, "Asia/Kolkata", window("00:00-06:00"))
    assert not is_quiet(at, "UTC", window("00:00-06:00"))
    assert is_quiet(datetime.fromisoformat("2026-11-24T01:30+05:30"), "UTC", window("20:00-20:01"))


@pytest.mark.parametrize(
    "day, text, minutes",
    [
        # 25 October 2026: at 03:00 the clocks of Berlin go back to 02:00.
        ("2026-10-24T22:00+00:00", "00:00-06:00", 7 * 60),
        ("2026-10-24T22:00+00:00", "02:00-03:00", 2 * 60),
        ("2026-10-24T22:00+00:00", "03:00-04:00", 60),
        # 29 March 2026: at 02:00 they go forward to 03:00.
        ("2026-03-28T23:00+00:00", "00:00-06:00", 5 * 60),
        ("2026-03-28T23:00+00:00", "02:00-03:00", 0),
        ("2026-03-28T23:00+00:00", "01:30-03:30", 60),
    ],
)
def test_a_switch_of_summer_time_lengthens_and_shortens_a_window_as_the_wall_clock_says(
    day: str, text: str, minutes: int
) -> None:
    assert len(quiet_minutes(datetime.fromisoformat(day), 12, BERLIN, text)) == minutes


def test_a_window_over_midnight_of_a_switch_is_one_stretch() -> None:
    evening = datetime(2026, 10, 24, 18, 0, tzinfo=UTC)  # 20:00 in Berlin
    quiet = quiet_minutes(evening, 14, BERLIN, "22:00-06:00")
    assert quiet[0] == datetime(2026, 10, 24, 20, 0, tzinfo=UTC)
    assert quiet[-1] == datetime(2026, 10, 25, 4, 59, tzinfo=UTC)
    assert len(quiet) == 9 * 60


@pytest.mark.parametrize(
    "cron, a_week",
    [
        ("0 */4 * * *", 4 * 7),
        ("*/15 * * * *", 18 * 4 * 7),
        ("45 6 * * mon-sat", 6),
        ("45 6 * * 1-5", 5),
        ("30 5,7,9-11 * * 0", 4),
        ("0 8-20/4 * * 7,6", 8),
        ("0 8-20/4 * * SUN,Sat", 8),
    ],
)
def test_the_wakings_of_a_week_are_those_that_dagster_makes_outside_the_window(
    cron: str, a_week: int
) -> None:
    times, quiet = WakeTimes.from_cron(cron), window("00:00-06:00")
    assert times is not None
    assert times.a_week(quiet) == a_week
    assert is_valid_cron_schedule(cron)
    begins = datetime(2026, 11, 23, tzinfo=UTC)
    due = takewhile(
        lambda at: at < begins + timedelta(days=7),
        schedule_execution_time_iterator(begins.timestamp(), cron, "UTC"),
    )
    assert sum(not is_quiet(at, "UTC", quiet) for at in islice(due, 20_000)) == a_week


@pytest.mark.parametrize(
    "name, value, parts",
    [
        ("keep_warm_time_zone", "Asia/Calcuta", ["no such time zone", "nearest is Asia/Calcutta"]),
        ("keep_warm_time_zone", "Europe", ["no such time zone"]),
        ("keep_warm_time_zone", "../../etc/passwd", ["no such time zone"]),
        ("keep_warm_time_zone", "", ["no such time zone"]),
        ("keep_warm_quiet", "0-6", ["not HH:MM-HH:MM", "00:00-06:00"]),
        ("keep_warm_quiet", "22:00-24:00", ["not HH:MM-HH:MM"]),
        ("keep_warm_quiet", "06:00-06:00", ["ends when it begins", "leave it empty"]),
        ("keep_warm_cron", "0 */4 * *", ["4 fields and not five"]),
        ("keep_warm_cron", "0 25 * * *", ["'25' as its hour", "0 to 23"]),
        ("keep_warm_cron", "*/0 * * * *", ["'*/0' as its minute"]),
        ("keep_warm_cron", "0 8 1 * *", ["day of the month", "stay *"]),
        ("keep_warm_cron", "0 8 * * monday", ["as its weekday"]),
        ("keep_warm_cron", "@hourly", ["1 fields and not five"]),
        ("warehouse_base_rpu", 7, ["4 RPU, 8 to 512 in steps of 8"]),
    ],
)
def test_what_spells_no_zone_window_or_cron_is_refused_in_one_sentence(
    name: str, value: object, parts: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({name: value})
    told = str(caught.value)
    assert "\n" not in told
    for part in [f"The setting {name} is wrong", f"it was {value!r}", *parts]:
        assert part in told


def test_a_cron_line_that_is_due_in_the_quiet_window_only_is_refused() -> None:
    with pytest.raises(SettingsError, match="due in the quiet window only"):
        Settings.load({"keep_warm_cron": "0 0-5 * * *"})
    late = {"keep_warm_cron": "0 0-5 * * *", "keep_warm_quiet": ""}
    assert cast(WakeTimes, Settings.load(late).wake_times).a_week(None) == 42


def test_nothing_is_woken_unless_it_is_asked_for() -> None:
    settings = Settings.load()
    assert settings.wake_times is None
    assert settings.quiet_window == QuietWindow(0, 6 * 60)
