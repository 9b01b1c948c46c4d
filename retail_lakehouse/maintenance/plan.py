"""Which files of a table are due for compaction.

Here: a pure function of what the table's metadata says of its files, and of the clock. Not here:
reading the metadata (`table_files.py`), rewriting (`compaction.py`). There is no state beside the
table: a partition that late rows reopened shows it by its files.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from retail_lakehouse.contracts.maintenance import HOUR_CLOSES_AFTER_MINUTES, SMALL_FILE_SHARE

_LAST_HOUR = 23


@dataclass(frozen=True, slots=True)
class TableFile:
    """One live data file, by what its manifest entry says.

    A landing file lies in its day and may hold rows of any hour from `first_hour` to `last_hour`; a
    compacted one lies in its partition. A table that is partitioned by day has hours 0 and 23.
    """

    path: str
    day: date
    first_hour: int
    last_hour: int
    is_landing: bool
    size_bytes: int
    rows: int
    has_deletes: bool = False


@dataclass(frozen=True, slots=True)
class DayPlan:
    """The files of one day that are rewritten together."""

    day: date
    files: tuple[TableFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes to read."""
        return sum(file.size_bytes for file in self.files)


def closed(day: date, last_hour: int, now: datetime) -> bool:
    """Whether a partition that ends with `last_hour` is over, its margin included. `now` is UTC."""
    end = datetime.combine(day, time()) + timedelta(hours=last_hour + 1)
    return end + timedelta(minutes=HOUR_CLOSES_AFTER_MINUTES) <= now


def due_files(
    files: Iterable[TableFile],
    now: datetime,
    *,
    target_bytes: int,
    hourly: bool,
    reopened: bool,
) -> list[DayPlan]:
    """The files to rewrite now, oldest day first; none where nothing is gained.

    Args:
        files: every live data file of the table.
        now: UTC, without zone.
        target_bytes: the table's target file size.
        hourly: partitions are hours; else days, and the running day's files are merged as well.
        reopened: also partitions that were compacted before and have late rows since.
    """
    by_day: dict[date, list[TableFile]] = defaultdict(list)
    for file in files:
        by_day[file.day].append(file)
    chosen = [
        DayPlan(
            day,
            _of_hours(day, of_day, now, target_bytes, reopened)
            if hourly
            else _of_day(day, of_day, now, target_bytes, reopened),
        )
        for day, of_day in sorted(by_day.items())
    ]
    return [plan for plan in chosen if plan.files]


def with_deletes(files: Iterable[TableFile]) -> list[DayPlan]:
    """The files that deletes apply to, whether their partition is closed or not."""
    by_day: dict[date, list[TableFile]] = defaultdict(list)
    for file in files:
        if file.has_deletes:
            by_day[file.day].append(file)
    return [DayPlan(day, tuple(of_day)) for day, of_day in sorted(by_day.items())]


def _of_hours(
    day: date, files: list[TableFile], now: datetime, target_bytes: int, reopened: bool
) -> tuple[TableFile, ...]:
    compacted = [f for f in files if not f.is_landing and closed(day, f.last_hour, now)]
    known_hours = {file.last_hour for file in files if not file.is_landing}
    # One that reaches into an open hour waits: rewritten now, its newest rows would be written once
    # more when that hour is closed.
    landing = [
        file
        for file in files
        if file.is_landing
        and closed(day, file.last_hour, now)
        and (reopened or file.has_deletes or file.last_hour not in known_hours)
    ]
    merged: list[TableFile] = []
    small: dict[int, list[TableFile]] = defaultdict(list)
    for file in compacted:
        if file.has_deletes:
            merged.append(file)
        elif _is_small(file, target_bytes):
            small[file.last_hour].append(file)
    if reopened:
        joined = {
            hour
            for file in (*landing, *merged)
            for hour in range(file.first_hour, file.last_hour + 1)
        }
        for hour, of_hour in small.items():
            if hour in joined or len(of_hour) > 1:
                merged += of_hour
    return (*landing, *merged)


def _of_day(
    day: date, files: list[TableFile], now: datetime, target_bytes: int, reopened: bool
) -> tuple[TableFile, ...]:
    if not (reopened or closed(day, _LAST_HOUR, now)):
        return ()
    deleted = [file for file in files if file.has_deletes]
    small = [file for file in files if not file.has_deletes and _is_small(file, target_bytes)]
    return (*deleted, *small) if deleted or len(small) > 1 else ()


def _is_small(file: TableFile, target_bytes: int) -> bool:
    return file.size_bytes < SMALL_FILE_SHARE * target_bytes
