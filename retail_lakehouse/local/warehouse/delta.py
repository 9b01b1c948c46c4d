"""What arrived in an Iceberg table since a view last folded it.

Here: the decision, per base table, between nothing to do, the files that append snapshots added,
the rows above the view's own `until` when its base snapshot has expired, and a recomputation; and
the SQL that reads each. Not here: running it (`refresh.py`).

Source: house plan, decisions 1 and 4; aws.md 1.1 and 1.2.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import duckdb

from retail_lakehouse.contracts.mark import Mark
from retail_lakehouse.local.warehouse.identifiers import quoted
from retail_lakehouse.local.warehouse.lake import NAME_MAPPING, Lake, LakeTable, Snapshot
from retail_lakehouse.local.warehouse.paths import local_path
from retail_lakehouse.local.warehouse.registry import Base
from retail_lakehouse.local.warehouse.translation import literal, scan


class Change(StrEnum):
    """What became of a base table."""

    NONE = "none"
    FILES = "files"
    ABOVE_UNTIL = "above until"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Delta:
    """How one base table is brought up to date.

    `files` are the added data files (FILES), `reason` says in words why it is not a plain append.
    """

    change: Change
    files: tuple[str, ...] = ()
    reason: str = ""


def folded(table: LakeTable, previous: Base | None) -> Base:
    """The record of a view that has folded `table` as it is now.

    The mark is the newest one among the snapshots that are kept; a snapshot without a mark
    (compaction) moves no offset, so what `previous` knew holds on.
    """
    current = table.current
    mark = next((m for s in table.ancestors() if (m := Mark.from_summary(s.summary))), None)
    base = Base(table.uuid, table.current_id)
    if mark is not None:
        base = replace(base, topic_id=mark.topic_id, until=mark.until)
    elif previous is not None and previous.uuid == table.uuid:
        base = replace(base, topic_id=previous.topic_id, until=previous.until)
    return replace(
        base,
        records=current.number("total-records") if current else 0,
    )


def plan(base: Base | None, table: LakeTable, lake: Lake) -> Delta:
    """How to bring a view from `base` to the table's current snapshot.

    Raises:
        OSError: a snapshot's manifests are gone; the table has moved on, so plan again.
    """
    if base is None or base.uuid != table.uuid:
        return Delta(Change.FULL, reason=f"{table.name} is another table than before")
    if base.snapshot_id == table.current_id:
        return Delta(Change.NONE)
    steps: list[Snapshot] = []
    for snapshot in table.ancestors():
        if snapshot.snapshot_id == base.snapshot_id:
            return _from_steps(steps, table, lake)
        steps.append(snapshot)
    if base.snapshot_id is None and (not steps or steps[-1].parent_id is None):
        return _from_steps(steps, table, lake)
    return _above_until(base, table)


def _from_steps(steps: list[Snapshot], table: LakeTable, lake: Lake) -> Delta:
    changing = [s for s in steps if s.operation not in ("append", "replace")]
    if changing:
        return Delta(
            Change.FULL,
            reason=f"{table.name} has a snapshot that is no append ({changing[-1].operation})",
        )
    appends = [s for s in reversed(steps) if s.operation == "append"]
    files = [path for s in appends if _adds(s) for path in lake.added_files(s)]
    return Delta(Change.FILES, tuple(files))


def _adds(snapshot: Snapshot) -> bool:
    # A batch that landed nothing still commits its mark.
    return snapshot.number("added-data-files") != 0


def _above_until(base: Base, table: LakeTable) -> Delta:
    expired = f"{table.name}'s snapshot that the view had folded has expired"
    current = table.current
    mark = next((m for s in table.ancestors() if (m := Mark.from_summary(s.summary))), None)
    if base.until is None or base.topic_id is None or mark is None or current is None:
        return Delta(Change.FULL, reason=f"{expired}, and the table carries no marks")
    if mark.topic_id != base.topic_id:
        return Delta(Change.FULL, reason=f"{expired}, and the topic is another one")
    if base.records is None or current.number("total-records") is None:
        return Delta(Change.FULL, reason=f"{expired}, and its snapshots count no records")
    if current.number("total-delete-files") != 0:
        return Delta(Change.FULL, reason=f"{expired}, and rows were deleted")
    return Delta(Change.ABOVE_UNTIL, reason=expired)


def above_until_predicate(base: Base) -> str:
    """SQL that holds for the rows that a view with this base has not folded.

    Raises:
        ValueError: the base has no marks.
    """
    if base.until is None or base.topic_id is None:
        raise ValueError("a base without marks has no offsets to go by")
    known = ", ".join(str(p) for p in sorted(base.until))
    parts = [
        f"(kafka_partition = {partition} AND kafka_offset >= {offset})"
        for partition, offset in sorted(base.until.items())
    ]
    parts.append(f"kafka_partition NOT IN ({known})" if known else "kafka_partition IS NOT NULL")
    return f"kafka_topic_id = {literal(base.topic_id)} AND ({' OR '.join(parts)})"


def above_until_source(base: Base, table: LakeTable) -> str:
    """A FROM item with the rows that the view has not folded."""
    return f"(SELECT * FROM {scan(table)} WHERE {above_until_predicate(base)})"  # noqa: S608


def above_until_is_complete(
    cursor: duckdb.DuckDBPyConnection, base: Base, table: LakeTable
) -> bool:
    """True when the rows above `until` are exactly what the table gained since `base`.

    Backfilled rows carry no offsets and replayed ones carry old ones; a rewrite changes rows
    without adding any. Each makes the count differ from what the snapshots say, and then only a
    recomputation is right.
    """
    row = cursor.execute(
        f"SELECT count(*) FROM {scan(table)} WHERE {above_until_predicate(base)}"  # noqa: S608
    ).fetchone()
    current = table.current
    total = current.number("total-records") if current else None
    if row is None or base.records is None or total is None:
        return False
    return int(row[0]) == total - base.records


def files_source(
    cursor: duckdb.DuckDBPyConnection, table: LakeTable, files: tuple[str, ...]
) -> str:
    """A FROM item with the rows of data files, columns matched by field id.

    A column that a file does not have yet is NULL. Files that were added without field ids have a
    name mapping on the table and are matched by name.
    """
    if not files:
        return scan_nothing(table)
    listed = "[" + ", ".join(literal(str(local_path(f))) for f in files) + "]"
    if NAME_MAPPING in table.properties and _lacks_field_ids(cursor, listed):
        empty = scan_nothing(table)
        return (
            f"(SELECT * FROM {empty} UNION ALL BY NAME "  # noqa: S608
            f"SELECT * FROM read_parquet({listed}, union_by_name=true))"
        )
    fields = ", ".join(
        f"{c.field_id}: {{name: {literal(c.name)}, type: {literal(c.duckdb_type)}, "
        "default_value: NULL}"
        for c in table.columns
    )
    return f"read_parquet({listed}, schema=MAP {{{fields}}})"


def scan_nothing(table: LakeTable) -> str:
    """A FROM item with the table's columns and no row."""
    columns = ", ".join(f"NULL::{c.duckdb_type} AS {quoted(c.name)}" for c in table.columns)
    return f"(SELECT {columns} WHERE false)"


def _lacks_field_ids(cursor: duckdb.DuckDBPyConnection, listed: str) -> bool:
    row = cursor.execute(
        "SELECT count(*) FROM parquet_schema("  # noqa: S608 - quoted paths of our own catalog
        f"{listed}) WHERE num_children IS NULL AND field_id IS NULL"
    ).fetchone()
    return row is not None and row[0] > 0
