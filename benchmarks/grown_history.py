"""Dagster's history made as old as it gets: an hour that was really reported, again and again.

Belongs here: the rows of one hour copied to later ones, and how many bytes are in use. Doesn't
belong here: the hour itself, what is measured on it (`event_log.py`). A copy differs from its hour
in its ids and in the times that rows are found by; the events' own texts are the same.
"""

import contextlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from retail_lakehouse.local.dagster_instance import event_log_file

_SQL = Path(__file__).with_name("sql")
_BUSY_SECONDS = 30.0
_OF_EVENTS = ("copy_events", "copy_event_tags", "copy_check_results")


@dataclass(frozen=True, slots=True)
class Newest:
    """The greatest id of the events and of the ticks."""

    event: int
    tick: int


def ticks_file(home: Path) -> Path:
    """The file of all ticks of the instance in `home`."""
    return home / "schedules" / "schedules.db"


def runs_file(home: Path) -> Path:
    """The file of all runs of the instance in `home`."""
    return home / "history" / "runs.db"


def newest(home: Path) -> Newest:
    """How far the history goes by now."""
    with _opened(event_log_file(home)) as events, _opened(ticks_file(home)) as ticks:
        return Newest(_greatest(events, "event_logs"), _greatest(ticks, "job_ticks"))


def copy_events(home: Path, since: Newest, until: Newest, hours_later: Iterable[int]) -> None:
    """Copies the events between the two, with their tags and results, so many hours later each."""
    with _opened(event_log_file(home)) as connection, connection:
        for hours in hours_later:
            told = {
                "first": since.event,
                "last": until.event,
                "ids": _greatest(connection, "event_logs") - since.event,
                "later": f"+{hours * 3600} seconds",
            }
            for name in _OF_EVENTS:
                connection.execute(_statement(name), told)


def copy_ticks(home: Path, since: Newest, until: Newest, hours_later: Iterable[int]) -> None:
    """The same of the ticks."""
    with _opened(ticks_file(home)) as connection, connection:
        for hours in hours_later:
            later = f"+{hours * 3600} seconds"
            told = {"first": since.tick, "last": until.tick, "later": later}
            connection.execute(_statement("copy_ticks"), told)


def used_bytes(file: Path) -> int:
    """Bytes of a SQLite file in which something stands, its write-ahead log included."""
    with _opened(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size


def _greatest(connection: sqlite3.Connection, table: str) -> int:
    (found,) = connection.execute(f"SELECT max(id) FROM {table}").fetchone()  # noqa: S608
    return int(found or 0)


def _statement(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text(encoding="utf-8")


def _opened(file: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(file, timeout=_BUSY_SECONDS))
