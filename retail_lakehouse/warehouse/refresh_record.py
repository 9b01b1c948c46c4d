"""What the last refresh of each view left: a file that button, sensor and `status` share.

Here: the file, reading and writing it. Not here: refreshing (`refresh.py`), or what is due. Without
the file every view is due once; nothing else is lost with it.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


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


def refreshes_file(root: Path) -> Path:
    """Where the records of a state folder stand."""
    return root / "run" / "view_refreshes.json"


def read_records(root: Path) -> dict[str, ViewRecord]:
    """The last refresh of each view, by its name; none where the file is missing or damaged."""
    try:
        told = json.loads(refreshes_file(root).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    records = ((name, _record(raw)) for name, raw in told.items()) if isinstance(told, dict) else ()
    return {name: record for name, record in records if record is not None}


def write_records(root: Path, new: Mapping[str, ViewRecord]) -> None:
    """Puts the new records beside those of the other views; readers see all of it or nothing."""
    path, lock = refreshes_file(root), root / "locks" / "view-refreshes"
    for folder in (path.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as held:
        # Held for one small write, and freed by the kernel if its holder dies: no deadline.
        fcntl.flock(held, fcntl.LOCK_EX)
        records = read_records(root) | dict(new)
        text = json.dumps({name: asdict(record) for name, record in sorted(records.items())})
        beside = path.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)


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


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
