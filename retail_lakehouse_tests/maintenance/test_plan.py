"""Rules of what is due: hours once they are closed, reopened ones at their turn, nothing twice."""

from dataclasses import replace
from datetime import date, datetime

import pytest

from retail_lakehouse.maintenance.plan import TableFile, closed, due_files, with_deletes

DAY, YESTERDAY = date(2026, 11, 23), date(2026, 11, 22)
NOW = datetime(2026, 11, 23, 10, 15)  # noqa: DTZ001 - UTC without zone
TARGET = 1_000
_made = iter(range(10_000))


def landed(first: int, last: int, day: date = DAY, *, size: int = 10) -> TableFile:
    return TableFile(f"l{next(_made)}", day, first, last, True, size, 5)


def compacted(hour: int, day: date = DAY, *, size: int = 10) -> TableFile:
    return TableFile(f"c{next(_made)}", day, hour, hour, False, size, 5)


def of_day(day: date = DAY, *, size: int = 10) -> TableFile:
    return TableFile(f"q{next(_made)}", day, 0, 23, False, size, 5)


def due(*files: TableFile, reopened: bool = True, hourly: bool = True) -> set[str]:
    plans = due_files(files, NOW, target_bytes=TARGET, hourly=hourly, reopened=reopened)
    assert [plan.day for plan in plans] == sorted({plan.day for plan in plans})
    paths = [file.path for plan in plans for file in plan.files]
    assert len(paths) == len(set(paths))
    return set(paths)


@pytest.mark.parametrize(
    "hour, minute, is_closed", [(9, 9, False), (9, 10, True), (8, 59, False), (23, 0, True)]
)
def test_an_hour_is_closed_ten_minutes_after_its_end(
    hour: int, minute: int, is_closed: bool
) -> None:
    assert closed(DAY, 8, datetime(2026, 11, 23, hour, minute)) is is_closed  # noqa: DTZ001


def test_the_last_hour_of_a_day_closes_on_the_next_day() -> None:
    assert not closed(YESTERDAY, 23, datetime(2026, 11, 23, 0, 9))  # noqa: DTZ001
    assert closed(YESTERDAY, 23, datetime(2026, 11, 23, 0, 10))  # noqa: DTZ001


@pytest.mark.parametrize("reopened", [True, False])
def test_landing_files_of_the_hour_closed_last_are_due_and_those_of_the_open_one_are_not(
    reopened: bool,
) -> None:
    last, straddling, running = landed(9, 9), landed(9, 10), landed(10, 10)
    assert due(last, straddling, running, reopened=reopened) == {last.path}


def test_late_rows_reopen_their_hours_at_the_six_hourly_run_and_not_before() -> None:
    hours = [compacted(hour) for hour in range(10)]
    late = landed(3, 5)
    assert due(*hours, late, reopened=False) == set()
    assert due(*hours, late) == {late.path, *(hours[hour].path for hour in (3, 4, 5))}


def test_full_files_of_a_reopened_hour_are_left_alone() -> None:
    full, rest, late = compacted(4, size=750), compacted(4, size=749), landed(4, 4)
    assert due(full, rest, late) == {rest.path, late.path}


def test_what_is_compacted_is_not_due_again() -> None:
    one_each = [compacted(hour, day) for hour in range(24) for day in (YESTERDAY,)]
    several = [compacted(7, size=900), compacted(7, size=900), compacted(7, size=100)]
    assert due(*one_each, *several) == set()


def test_two_small_files_of_a_closed_hour_are_merged_and_those_of_an_open_hour_are_not() -> None:
    one, other = compacted(2), compacted(2)
    assert due(one, other, compacted(10), compacted(10)) == {one.path, other.path}


def test_a_landing_file_without_bounds_reopens_its_whole_day() -> None:
    hours = [compacted(hour, YESTERDAY) for hour in range(24)]
    late = landed(0, 23, YESTERDAY)
    assert due(*hours, late) == {late.path, *(file.path for file in hours)}


@pytest.mark.parametrize("reopened", [True, False])
def test_a_closed_file_with_deletes_is_always_due(reopened: bool) -> None:
    full = replace(compacted(4, size=2 * TARGET), has_deletes=True)
    running = replace(landed(10, 10), has_deletes=True)
    assert due(full, running, reopened=reopened) == {full.path}
    cleaned = [
        file.path for plan in with_deletes([full, running, compacted(5)]) for file in plan.files
    ]
    assert cleaned == [full.path, running.path]


def test_a_quarantine_is_merged_by_day_and_the_running_day_at_the_six_hourly_run() -> None:
    old, new = [of_day(YESTERDAY), of_day(YESTERDAY)], [of_day(), of_day()]
    both = {file.path for file in (*old, *new)}
    assert due(*old, *new, hourly=False, reopened=False) == {file.path for file in old}
    assert due(*old, *new, hourly=False) == both
    assert due(of_day(YESTERDAY), of_day(), hourly=False) == set()


def test_deletes_are_cleaned_by_the_next_run_where_nothing_else_is_due() -> None:
    alone = replace(of_day(YESTERDAY), has_deletes=True)
    assert due(alone, hourly=False, reopened=False) == {alone.path}
    late = replace(landed(3, 5), has_deletes=True)
    assert due(*(compacted(hour) for hour in range(10)), late, reopened=False) == {late.path}
