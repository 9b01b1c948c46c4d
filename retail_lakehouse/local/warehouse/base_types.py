"""The types of the columns that a materialized view reads from its external tables.

Here: which they are, and refusing a refresh once one has changed, as Redshift does: a view keeps
the types that it was built with. Not here: the record (`registry.py`), what a refusal leaves in the
history (`refreshing.py`). Source: SVV_MV_INFO.state 102 (aws.md 1.8 and 1.10).
"""

from collections.abc import Mapping

from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from retail_lakehouse.local.warehouse.binding import Bound
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.lake import LakeTable
from retail_lakehouse.local.warehouse.registry import Base

Types = Mapping[str, Mapping[str, str]]
"""Redshift type by column, by "database.table"."""


class TypeChangedError(WarehouseError):
    """A base column has another type than when the view was built."""


def read_types(bound: Bound) -> Types:
    """The types of the columns that the query reads from external tables."""
    lake: dict[tuple[str, str], LakeTable] = {
        (r.name.schema, r.name.name): r.table for r in bound.read if r.table is not None
    }
    found: dict[str, dict[str, str]] = {f"{t.database}.{t.name}": {} for t in lake.values()}
    for scope in traverse_scope(bound.tree):
        for column in scope.columns:
            source = scope.sources.get(column.table)
            table = lake.get((source.db, source.name)) if isinstance(source, exp.Table) else None
            if table is None:
                continue
            types = {c.name.lower(): c.redshift_type for c in table.columns}
            if column.name in types:
                found[f"{table.database}.{table.name}"][column.name] = types[column.name]
    return found


def refuse_changed(bases: Mapping[str, Base], types: Types) -> None:
    """Refuses a refresh once a column that the view reads has another type.

    Raises:
        TypeChangedError: one has (42804).
    """
    for table, columns in types.items():
        built_with = bases[table].types if table in bases else {}
        for column, kind in columns.items():
            before = built_with.get(column, kind)
            if before != kind:
                raise TypeChangedError(
                    "42804",
                    f'column "{column}" of {table} was {before} when the materialized view was '
                    f"created and is {kind} now",
                    hint="Drop the materialized view and create it again.",
                )
