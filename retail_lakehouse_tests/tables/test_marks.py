"""Rules of reading marks: the last one is the truth, whatever was compacted or has expired."""

from dataclasses import replace
from pathlib import Path

import pytest
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate

from retail_lakehouse.contracts.fields import Column, Kind
from retail_lakehouse.contracts.mark import MarkError, MarkKind
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse.tables.marks import last_mark, marked_snapshots, newest_first
from retail_lakehouse.tables.schema import arrow_schema
from retail_lakehouse_tests.contracts.test_mark import example_mark

CONTRACT = TableContract("t", "doc", (Column("n", Kind.LONG, "N."),))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    settings = Settings.load({"state_dir": tmp_path})
    prepare_catalog(settings)
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings, [CONTRACT])
    return catalog.load_table(CONTRACT.identifier)


def append(table: Table, number: int | None, rows: int = 1) -> None:
    import pyarrow as pa

    mark = None if number is None else replace(example_mark(), until={0: number})
    append_marked(table, pa.table({"n": list(range(rows))}, arrow_schema(CONTRACT)), mark)


def compact(table: Table) -> None:
    """Commits a `replace` snapshot of the present rows; pyiceberg has no verb for it.

    As Iceberg's rewrite_data_files leaves it: the same rows, a new snapshot, no mark.
    """
    current = table.current_snapshot()
    assert current is not None
    snapshot = current.model_copy(
        update={
            "snapshot_id": current.snapshot_id % 2**62 + 1,
            "parent_snapshot_id": current.snapshot_id,
            "sequence_number": (current.sequence_number or 0) + 1,
            "timestamp_ms": current.timestamp_ms + 1,
            "summary": Summary(Operation.REPLACE),
        }
    )
    updates = (
        AddSnapshotUpdate(snapshot=snapshot),
        SetSnapshotRefUpdate.model_validate(
            {
                "action": "set-snapshot-ref",
                "ref-name": "main",
                "type": "branch",
                "snapshot-id": snapshot.snapshot_id,
            }
        ),
    )
    table.catalog.commit_table(table, (), updates)
    table.refresh()


def test_a_table_without_commits_has_no_mark(table: Table) -> None:
    assert last_mark(table) is None
    assert marked_snapshots(table) == []


def test_snapshots_come_oldest_first_with_their_marks(table: Table) -> None:
    for number in (1, None, 3):
        append(table, number, rows=2)
    told = marked_snapshots(table)
    assert [s.mark.until[0] if s.mark else None for s in told] == [1, None, 3]
    assert [s.added_records for s in told] == [2, 2, 2]
    assert [s.parent_id for s in told] == [None, *(s.snapshot_id for s in told[:-1])]
    assert all(s.is_news for s in told)
    assert list(newest_first(table)) == told[::-1]
    assert marked_snapshots(table, after=told[0].snapshot_id) == told[1:]


def test_the_last_mark_stands_behind_commits_that_carry_none(table: Table) -> None:
    append(table, 7)
    append(table, None)
    append(table, None)
    mark = last_mark(table)
    assert mark is not None
    assert mark.until == {0: 7}


def test_when_parents_have_expired_the_walk_ends_at_the_oldest_left(table: Table) -> None:
    for number in (1, 2, 3, 4):
        append(table, number)
    told = marked_snapshots(table)
    table.maintenance.expire_snapshots().by_ids([s.snapshot_id for s in told[:2]]).commit()
    left = marked_snapshots(table)
    assert [s.mark.until[0] for s in left if s.mark] == [3, 4]
    # What a reader knew last has expired: it gets all that is left and not nothing.
    assert marked_snapshots(table, after=told[0].snapshot_id) == left
    assert last_mark(table) == told[-1].mark


def test_a_damaged_mark_is_never_stepped_over(table: Table) -> None:
    import pyarrow as pa

    append(table, 1)
    table.append(
        pa.table({"n": [1]}, arrow_schema(CONTRACT)),
        snapshot_properties={"retail-lakehouse.mark": "{"},
    )
    with pytest.raises(MarkError):
        last_mark(table)


def test_a_carried_mark_keeps_offsets_and_totals(table: Table) -> None:
    append(table, 9)
    before = last_mark(table)
    assert before is not None
    carried = before.carried(MarkKind.BACKFILL, "b", 5, engine="x", contract_version=1)
    import pyarrow as pa

    append_marked(table, pa.table({"n": [1]}, arrow_schema(CONTRACT)), carried)
    after = last_mark(table)
    assert after is not None
    assert (after.kind, after.until, after.total) == (MarkKind.BACKFILL, {0: 9}, before.total)


def test_compaction_is_no_news(table: Table) -> None:
    append(table, 1, rows=2)
    compact(table)
    append(table, 2)
    compact(table)
    told = marked_snapshots(table)
    assert [s.operation for s in told] == ["append", "replace", "append", "replace"]
    assert [s.is_news for s in told] == [True, False, True, False]
    assert [s.mark.until[0] if s.mark else None for s in told] == [1, None, 2, None]
    assert last_mark(table) == told[2].mark
    assert table.scan().count() == 3
