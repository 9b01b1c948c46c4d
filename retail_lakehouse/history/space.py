"""Gives the space of deleted history back to the disk, where the history lies in SQLite files.

Here: how large the files are, and making them smaller in short steps. Not here: what is deleted
(`prune.py`). A file whose deleted rows were simply left would not grow either: new rows take their
place. This is for what an older, larger history leaves behind.
"""

import contextlib
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

STEP_PAGES = 256
"""Pages (4 KB each) a transaction: one megabyte, some milliseconds of the write lock."""
PAUSE_SECONDS = 0.02
SPARE_SHARE = 4
"""A quarter of a file may be free: the next days' rows take it."""
REWRITE_BYTES = 64 * 1024 * 1024
"""A file that cannot shrink in steps is rewritten once, if it is at most this large: writers wait
for the length of it, about a second."""
_BUSY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of the files of a history, and those of them that nothing stands in."""

    size_bytes: int
    free_bytes: int


def history_files(home: Path) -> list[Path]:
    """The SQLite files of the instance in `home`."""
    return sorted([*home.glob("history/*.db"), *home.glob("schedules/*.db")])


def space_of(files: list[Path]) -> Space:
    """The files' space, their write-ahead logs included."""
    size = free = 0
    for file in files:
        beside = [file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))]
        for each in beside:
            with contextlib.suppress(FileNotFoundError):
                size += each.stat().st_size
        with contextlib.closing(_open(file)) as connection:
            free += _pragma(connection, "freelist_count") * _pragma(connection, "page_size")
    return Space(size, free)


def give_back(files: list[Path], budget_seconds: float) -> None:
    """Shrinks files of which more than a quarter is free, for at most about `budget_seconds`.

    A file that is locked by others for longer than a moment is left for the next time.
    """
    deadline = time.monotonic() + budget_seconds
    for file in files:
        with contextlib.closing(_open(file)) as connection, contextlib.suppress(_LockedError):
            _shrink(connection, file, deadline)


class _LockedError(Exception):
    """Others have the file."""


def _shrink(connection: sqlite3.Connection, file: Path, deadline: float) -> None:
    if _pragma(connection, "auto_vacuum") == 0:
        if file.stat().st_size <= REWRITE_BYTES:
            _execute(connection, "PRAGMA auto_vacuum = INCREMENTAL")
            _execute(connection, "VACUUM")
        return
    spare = _pragma(connection, "page_count") // SPARE_SHARE
    if _pragma(connection, "freelist_count") <= spare:
        return
    while _pragma(connection, "freelist_count") > STEP_PAGES and time.monotonic() < deadline:
        _execute(connection, f"PRAGMA incremental_vacuum({STEP_PAGES:d})")
        time.sleep(PAUSE_SECONDS)


def _open(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _execute(connection: sqlite3.Connection, statement: str) -> None:
    try:
        # `execute` takes a single step of a statement without columns: one page of so many.
        connection.executescript(statement)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        raise _LockedError from error
