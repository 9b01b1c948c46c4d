"""How far the tables' new data has been looked at, and what was seen: a file between two looks.

Here: the file, reading and writing it. Not here: looking (`assets/new_data.py`), or what holds the
views (`warehouse/holds.py`). Without the file everything that is retained is looked at once more.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retail_lakehouse.tables.offsets import Covered

BUCKET_MS = 300_000
"""Reasons of quarantine are counted by so much time."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One table as it was looked at last. Times in epoch milliseconds.

    `rows_new` came in since the look before, and `rows_read` of them were read. `fault` is why
    something could not be looked at. `reasons`: of a quarantine, by the start of a bucket of time,
    how many records went there for which reason; the last hour's.
    """

    uuid: str
    snapshot_id: int | None
    at_ms: int
    covered: Covered | None = None
    rows_new: int = 0
    rows_read: int = 0
    fault: str = ""
    unseen_commits: bool = False
    """Commits had expired before anybody looked at them."""
    reasons: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    def top_reasons(self, since_ms: int) -> dict[str, int]:
        """Records by reason since then, most first."""
        counts: dict[str, int] = {}
        for bucket_ms, by_reason in self.reasons.items():
            if bucket_ms + BUCKET_MS > since_ms:
                for reason, count in by_reason.items():
                    counts[reason] = counts.get(reason, 0) + count
        return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def evaluated_file(root: Path) -> Path:
    """Where a state folder's looks stand."""
    return root / "run" / "evaluated.json"


def read_evaluated(root: Path) -> dict[str, Evaluated]:
    """The last look at each table, by its name; none where the file is missing or damaged."""
    try:
        told = json.loads(evaluated_file(root).read_text(encoding="utf-8"))
        return {str(name): _evaluated(raw) for name, raw in told.items()}
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def write_evaluated(root: Path, looks: Mapping[str, Evaluated]) -> None:
    """Writes the looks down; readers see all of it or nothing.

    Raises:
        OSError: it cannot be written; the same commits are looked at again then.
    """
    path = evaluated_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(
        json.dumps({name: asdict(each) for name, each in sorted(looks.items())}), encoding="utf-8"
    )
    os.replace(beside, path)


def _evaluated(raw: dict[str, Any]) -> Evaluated:
    covered = raw["covered"]
    return Evaluated(
        uuid=str(raw["uuid"]),
        snapshot_id=None if raw["snapshot_id"] is None else int(raw["snapshot_id"]),
        at_ms=int(raw["at_ms"]),
        covered=None
        if covered is None
        else Covered(
            str(covered["topic_id"]), {int(p): int(end) for p, end in covered["until"].items()}
        ),
        rows_new=int(raw["rows_new"]),
        rows_read=int(raw["rows_read"]),
        fault=str(raw["fault"]),
        unseen_commits=bool(raw["unseen_commits"]),
        reasons={
            int(bucket): {str(reason): int(count) for reason, count in counts.items()}
            for bucket, counts in raw["reasons"].items()
        },
    )
