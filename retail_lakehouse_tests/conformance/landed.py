"""What is in the tables, read with pyiceberg: no engine looks at its own work.

Here: rows, quarantine and marks as plain values. Not here: what they should be.
"""

from dataclasses import dataclass
from typing import Any

from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.mark import Mark, MarkKind
from retail_lakehouse.contracts.tables import TableContract, event_table, quarantine_table
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.marks import MarkedSnapshot, marked_snapshots
from retail_lakehouse_tests.conformance.records import Batch, Record
from retail_lakehouse_tests.conformance.reference import Expected

_WHEN_WRITTEN = {"ingested_at", "judged_at"}


@dataclass
class Landed:
    """The two tables of a topic: rows in order of coordinates, and their snapshots."""

    rows: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    row_commits: list[MarkedSnapshot]
    quarantine_commits: list[MarkedSnapshot]

    @property
    def content(self) -> tuple[object, ...]:
        """All that must not depend on how the stream was cut."""
        return (
            [_without_clock(row) for row in self.rows],
            [_without_clock(row) for row in self.quarantine],
            self.last_mark.until,
            self.last_mark.total,
        )

    @property
    def last_mark(self) -> Mark:
        """The event table's last mark."""
        mark = self.row_commits[-1].mark
        assert mark is not None
        return mark


def read_tables(settings: Settings, contract: EventContract) -> Landed:
    """Both tables as they are now."""
    rows, row_commits = _read(settings, event_table(contract))
    quarantine, quarantine_commits = _read(settings, quarantine_table(contract))
    return Landed(rows, quarantine, row_commits, quarantine_commits)


def assert_is(landed: Landed, wanted: Expected, records: list[Record]) -> None:
    """Every row, value, reason and count as the reference says, nothing doubled or lost."""
    coordinates = [_at(row) for row in landed.rows]
    assert coordinates == sorted(wanted.rows)
    for row in landed.rows:
        values = wanted.rows[_at(row)]
        assert {name: row[name] for name in values} == values
        assert row["extra"] == wanted.extra[_at(row)]
    assert [_at(row) for row in landed.quarantine] == sorted(wanted.quarantine)
    by_coordinates = {(r.partition, r.offset): r for r in records}
    for row in landed.quarantine:
        record = by_coordinates[_at(row)]
        assert (row["reason"], row["raw"], row["kafka_key"]) == (
            wanted.quarantine[_at(row)],
            record.value,
            record.key,
        )
    assert landed.last_mark.total == wanted.counts


def assert_marks_hold(landed: Landed) -> None:
    """Contiguous ranges, sums that add up, and a landed count that is Iceberg's own."""
    total = 0
    for commits in (landed.row_commits, landed.quarantine_commits):
        until: dict[int, int] = {}
        for commit in commits:
            mark = commit.mark
            assert mark is not None
            assert mark.kind is MarkKind.STREAM
            for partition, (start, end) in mark.ranges.items():
                assert start == until.get(partition, 0)
                assert end > start
                until[partition] = end
            assert mark.until == until
            counts = mark.batch
            assert counts.read == counts.landed + counts.quarantined + counts.duplicates
    for commit in landed.row_commits:
        assert commit.mark is not None
        assert commit.added_records == commit.mark.batch.landed
        total += commit.added_records
    assert total == landed.last_mark.total.landed
    for commit in landed.quarantine_commits:
        assert commit.mark is not None
        assert commit.added_records == commit.mark.batch.quarantined


def shuffled_within(batch: Batch) -> Batch:
    """The batch as a source may deliver it: partitions interleaved, the last offset first."""
    return sorted(batch, key=lambda r: (-r.offset, r.partition))


def _read(
    settings: Settings, contract: TableContract
) -> tuple[list[dict[str, Any]], list[MarkedSnapshot]]:
    table = open_catalog(settings).load_table(contract.identifier)
    rows = sorted(table.scan().to_arrow().to_pylist(), key=_at)
    return rows, marked_snapshots(table)


def _at(row: dict[str, Any]) -> tuple[int, int]:
    return row["kafka_partition"], row["kafka_offset"]


def _without_clock(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _WHEN_WRITTEN}
