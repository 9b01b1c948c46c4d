"""Dagster's history on one machine, read from its SQLite files.

Here: heartbeats, states and the last ticks, read-only. Not here: what they mean. Through Dagster's
own classes the same takes its whole import; the tables and the JSON in them are those of the pinned
version, and a test reads what Dagster itself wrote.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from retail_lakehouse.watchdog.looks import (
    UNREACHED_ERRORS,
    Beat,
    History,
    State,
    Tick,
    TickEnd,
    TickerKind,
)

TICKS_READ = 6
_BUSY_SECONDS = 2.0
_ENDS = {"SUCCESS": TickEnd.WELL, "SKIPPED": TickEnd.WELL, "FAILURE": TickEnd.FAILED}
_CAUSES_MOST = 20


class HistoryUnreadableError(RuntimeError):
    """Dagster's history cannot be read; the sentence says which file and why."""


def read_history(home: Path) -> History:
    """Everything that a look needs of DAGSTER_HOME.

    Raises:
        HistoryUnreadableError: a file is not there, locked for long, or not as Dagster writes it.
    """
    runs, schedules = home / "history" / "runs.db", home / "schedules" / "schedules.db"
    with _opened(runs) as connection:
        rows = connection.execute(_sql("heartbeats")).fetchall()
        beats = tuple(_beat(json.loads(body)) for (body,) in rows)
    with _opened(schedules) as connection:
        states = tuple(
            _state(connection, selector_id, status, json.loads(body))
            for selector_id, status, body in connection.execute(_sql("states")).fetchall()
        )
    return History(beats, states)


def first_error(raw: object) -> tuple[str, bool]:
    """First line of the innermost error, and whether the code server was not reached."""
    line, unreached = "no reason is given", False
    for _ in range(_CAUSES_MOST):
        if not isinstance(raw, Mapping):
            break
        unreached = unreached or raw.get("cls_name") in UNREACHED_ERRORS
        words = str(raw.get("message") or "").strip()
        line = words.splitlines()[0].strip() if words else line
        raw = raw.get("cause")
    return line, unreached


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(_connected(path)) as connection:
            yield connection
    except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HistoryUnreadableError(f"{path} cannot be read ({error}).") from error


def _connected(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        log = path.with_name(f"{path.name}-wal")
        if not path.is_file() or (log.exists() and log.stat().st_size):
            raise
        # Nobody has it open, and on a full disk the file that readers share cannot be made. All
        # that there is stands in the one file.
        return sqlite3.connect(f"{address}&immutable=1", uri=True)
    return connection


def _state(connection: sqlite3.Connection, selector: str, status: str, raw: Any) -> State:
    kind = TickerKind(str(raw["job_type"]["__enum__"]).rpartition(".")[2])
    noted = (raw.get("job_specific_data") or {}).get("last_iteration_timestamp")
    rows = connection.execute(_sql("ticks"), (selector, TICKS_READ)).fetchall()
    return State(
        kind=kind,
        name=str(raw["origin"]["job_name"]),
        is_on={"RUNNING": True, "STOPPED": False}.get(status),
        ticks=tuple(_tick(*row) for row in rows),
        noted_ms=None if noted is None else round(float(noted) * 1000),
    )


def _tick(number: int, status: str, timestamp: str, failed_body: str | None) -> Tick:
    began = datetime.fromisoformat(timestamp).replace(tzinfo=UTC)
    at_ms, end = round(began.timestamp() * 1000), _ENDS.get(status, TickEnd.OPEN)
    if failed_body is None:
        return Tick(number, end, at_ms)
    line, unreached = first_error(json.loads(failed_body).get("error"))
    return Tick(number, TickEnd.UNREACHED if unreached else end, at_ms, line)


def _beat(raw: Any) -> Beat:
    errors = raw.get("errors") or []
    return Beat(
        thread=str(raw["daemon_type"]),
        process_id=str(raw["daemon_id"]),
        at_ms=round(float(raw["timestamp"]) * 1000),
        error=first_error(errors[0])[0] if errors else "",
    )


@cache
def _sql(name: str) -> str:
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text(encoding="utf-8")
