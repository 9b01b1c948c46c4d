"""What the last refresh of each view left: a file that button, sensor and `status` share.

Here: reading and writing the file. Not here: refreshing, or what is due (`views.py`). Without the
file every view is due once; nothing else is lost with it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

_LOCK_SECONDS = 10.0


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
    base_snapshots: dict[str, int | None]


def read_records(root: Path) -> dict[str, ViewRecord]:
    """The last refresh of each view, by its name; none where the file is missing or damaged."""
    from retail_lakehouse.local.facts import refreshes_file

    try:
        told = json.loads(refreshes_file(root).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    records = ((name, _record(raw)) for name, raw in told.items()) if isinstance(told, dict) else ()
    return {name: record for name, record in records if record is not None}


def write_records(root: Path, new: Mapping[str, ViewRecord]) -> None:
    """Puts the new records beside those of the other views; readers see all of it or nothing."""
    from retail_lakehouse.local.facts import refreshes_file
    from retail_lakehouse.local.file_lock import exclusive_lock

    path = refreshes_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(root / "locks" / "view-refreshes", _LOCK_SECONDS):
        records = read_records(root) | dict(new)
        text = json.dumps({name: asdict(record) for name, record in sorted(records.items())})
        beside = path.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)


def _record(raw: Any) -> ViewRecord | None:
    try:
        return ViewRecord(**{field.name: raw[field.name] for field in fields(ViewRecord)})
    except (KeyError, TypeError):
        return None
