"""Reading the marks off a table's snapshots.

Here: snapshots with their marks, from metadata alone. Not here: what a mark means
(`contracts/mark.py`), or writing one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.mark import Mark

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

DATA_OPERATIONS = frozenset({"append", "overwrite", "delete"})
"""Operations that change what a reader sees; `replace` (compaction) does not."""


@dataclass(frozen=True, slots=True)
class MarkedSnapshot:
    """One snapshot of a table's main branch, with its mark where it has one."""

    snapshot_id: int
    parent_id: int | None
    timestamp_ms: int
    operation: str
    added_records: int
    added_files: int
    mark: Mark | None

    @property
    def is_news(self) -> bool:
        """Whether the snapshot changed what a reader sees."""
        return self.operation in DATA_OPERATIONS


def marked_snapshots(table: "Table", after: int | None = None) -> list[MarkedSnapshot]:
    """The snapshots of the main branch that are still there, oldest first.

    `after` stops the walk at that snapshot (exclusive); when it has expired, the walk goes to the
    oldest one left.
    """
    chain: list[MarkedSnapshot] = []
    for snapshot in newest_first(table):
        if snapshot.snapshot_id == after:
            break
        chain.append(snapshot)
    return chain[::-1]


def newest_first(table: "Table") -> Iterator[MarkedSnapshot]:
    """Walks the main branch back from its newest snapshot, reading each mark only when asked.

    For whoever needs the last hour of a table that keeps a week.
    """
    snapshot = table.current_snapshot()
    while snapshot is not None:
        yield _marked(snapshot)
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else table.snapshot_by_id(parent)


def last_mark(table: "Table") -> Mark | None:
    """The newest mark on the main branch; None when no commit carries one.

    Walks back from the current snapshot, so it does not depend on how many there are.
    """
    snapshot = table.current_snapshot()
    while snapshot is not None:
        mark = _mark(snapshot)
        if mark is not None:
            return mark
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else table.snapshot_by_id(parent)
    return None


def _summary(snapshot: "Snapshot") -> dict[str, str]:
    return dict(snapshot.summary.additional_properties) if snapshot.summary else {}


def _mark(snapshot: "Snapshot") -> Mark | None:
    return Mark.from_summary(_summary(snapshot))


def _marked(snapshot: "Snapshot") -> MarkedSnapshot:
    summary = _summary(snapshot)
    return MarkedSnapshot(
        snapshot_id=snapshot.snapshot_id,
        parent_id=snapshot.parent_snapshot_id,
        timestamp_ms=snapshot.timestamp_ms,
        operation=snapshot.summary.operation.value if snapshot.summary else "append",
        added_records=int(summary.get("added-records", 0)),
        added_files=int(summary.get("added-data-files", 0)),
        mark=Mark.from_summary(summary),
    )
