"""What the last refresh of each view left: a file that button, sensor and `status` share.

Here: the file, reading and writing it. Not here: refreshing (`refresh.py`), counting
(`refresh_rows.py`), or what is due. Without the file every view is due once; nothing else is lost
with it.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retail_lakehouse.contracts.view_contract import ViewContract
from retail_lakehouse.contracts.views import materialized_under


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """One view's last refresh. Times in epoch milliseconds, durations in seconds.

    `base_snapshots` is the newest data snapshot of each table under the view, read before the
    refresh began: what came during it makes the view due again.
    """

    refreshed_at_ms: int
    duration_seconds: float
    rows: int | None
    newest_event_ms: int | None
    refresh_status: str
    state: int | None
    latency_seconds: float | None
    incremental: bool | None
    base_snapshots: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowCount:
    """A plain view's rows, as they were counted last. Times in epoch milliseconds.

    Both `rows` and `rows_at_ms` are None where no count ever succeeded; `tried_at_ms` is later than
    `rows_at_ms` where the last one did not.
    """

    rows: int | None
    rows_at_ms: int | None
    tried_at_ms: int


def refreshes_file(root: Path) -> Path:
    """Where the records of a state folder stand."""
    return root / "run" / "view_refreshes.json"


def read_records(root: Path) -> dict[str, ViewRecord]:
    """The last refresh of each view, by its name; none where the file is missing or damaged."""
    return {name: each for name, each in _read(root).items() if isinstance(each, ViewRecord)}


def read_row_counts(root: Path) -> dict[str, RowCount]:
    """The last count of each plain view, by its name; none where there is none to be read."""
    return {name: each for name, each in _read(root).items() if isinstance(each, RowCount)}


def newest_shown_ms(view: ViewContract, records: Mapping[str, ViewRecord]) -> int | None:
    """How new a view is by the last refreshes (epoch ms): as new as the oldest under it.

    None where one of them was never refreshed or is empty: nobody knows then what is missing.
    """
    newest = [
        record.newest_event_ms if (record := records.get(name)) is not None else None
        for name in materialized_under(view)
    ]
    known = [ms for ms in newest if ms is not None]
    return min(known) if known and len(known) == len(newest) else None


def write_records(root: Path, new: Mapping[str, ViewRecord | RowCount]) -> None:
    """Puts the new records beside those of the other views; readers see all of it or nothing."""
    path, lock = refreshes_file(root), root / "locks" / "view-refreshes"
    for folder in (path.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as held:
        # Held for one small write, and freed by the kernel if its holder dies: no deadline.
        fcntl.flock(held, fcntl.LOCK_EX)
        records = _read(root) | dict(new)
        text = json.dumps({name: asdict(record) for name, record in sorted(records.items())})
        beside = path.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)


def _read(root: Path) -> dict[str, ViewRecord | RowCount]:
    try:
        told = json.loads(refreshes_file(root).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    entries = told.items() if isinstance(told, dict) else ()
    records = ((name, _record(raw) or _row_count(raw)) for name, raw in entries)
    return {name: record for name, record in records if record is not None}


def _record(raw: Any) -> ViewRecord | None:
    """A record of what can be understood; None where not even the time of the refresh can."""
    if not isinstance(raw, dict) or _integer(raw.get("refreshed_at_ms")) is None:
        return None
    snapshots, incremental = raw.get("base_snapshots"), raw.get("incremental")
    return ViewRecord(
        refreshed_at_ms=int(raw["refreshed_at_ms"]),
        duration_seconds=_number(raw.get("duration_seconds")) or 0.0,
        rows=_integer(raw.get("rows")),
        newest_event_ms=_integer(raw.get("newest_event_ms")),
        refresh_status=str(raw.get("refresh_status") or ""),
        state=_integer(raw.get("state")),
        latency_seconds=_number(raw.get("latency_seconds")),
        incremental=incremental if isinstance(incremental, bool) else None,
        base_snapshots={name: _integer(each) for name, each in snapshots.items()}
        if isinstance(snapshots, dict)
        else {},
    )


def _row_count(raw: Any) -> RowCount | None:
    tried_at_ms = _integer(raw.get("tried_at_ms")) if isinstance(raw, dict) else None
    if tried_at_ms is None:
        return None
    return RowCount(_integer(raw.get("rows")), _integer(raw.get("rows_at_ms")), tried_at_ms)


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
