"""What the warehouse holds: schemas, views and materialized views, in the server's own tables.

Here: reading and writing those records through a session's cursor, so that they take part in its
transaction. Not here: what a refresh computes (`refresh.py`), or name resolution (`binding.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb

from retail_lakehouse.local.warehouse.identifiers import quoted
from retail_lakehouse.local.warehouse.statements import Name
from retail_lakehouse.local.warehouse.store import statement_text

OWN_SCHEMAS = frozenset({"bookkeeping", "segments", "main", "information_schema", "pg_catalog"})


@dataclass(frozen=True, slots=True)
class PlainView:
    """A view that is its text: it is put into the query that reads it."""

    name: Name
    definition: str
    late_binding: bool
    owner: str


@dataclass(frozen=True, slots=True)
class Base:
    """How far a materialized view has folded one base table.

    `until` maps Kafka partitions to the first offset that is not folded, `records` is the table's
    count of rows at that snapshot; both are None where the table carries no marks. `types` are the
    Redshift types of the columns that the view reads.
    """

    uuid: str
    snapshot_id: int | None
    topic_id: str | None = None
    until: Mapping[int, int] | None = None
    records: int | None = None
    types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MaterializedView:
    """A materialized view's record; see sql/bookkeeping.sql."""

    view_id: int
    name: Name
    owner: str
    definition: str
    layout: str
    state: int
    mutable: bool
    generation: int
    segment_count: int = 0
    segment_rows: int = 0
    base: Mapping[str, Base] = field(default_factory=dict)
    note: str = ""

    @property
    def segment_table(self) -> str:
        """The DuckDB table that holds the view's rows or partial aggregates."""
        return f'segments."view_{self.view_id}_{self.generation}"'


def create_schema(cursor: duckdb.DuckDBPyConnection, name: str) -> None:
    """Makes a schema for tables and views; it must not exist."""
    cursor.execute(f"CREATE SCHEMA {quoted(name)}")


def schemas(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """The names of the local schemas."""
    rows = cursor.execute(
        "SELECT schema_name FROM duckdb_schemas() "
        "WHERE database_name = current_database() AND NOT internal ORDER BY 1"
    ).fetchall()
    return [row[0] for row in rows if row[0] not in OWN_SCHEMAS]


def external_schemas(cursor: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Database of the data catalog by external schema."""
    query = "SELECT name, database FROM bookkeeping.external_schemas ORDER BY name"
    return dict(cursor.execute(query).fetchall())


def add_external_schema(
    cursor: duckdb.DuckDBPyConnection, name: str, database: str, owner: str
) -> None:
    """Records an external schema."""
    cursor.execute(
        "INSERT INTO bookkeeping.external_schemas VALUES (?, ?, ?)", [name, database, owner]
    )


def drop_external_schema(cursor: duckdb.DuckDBPyConnection, name: str) -> None:
    """Forgets an external schema; the tables stay."""
    cursor.execute("DELETE FROM bookkeeping.external_schemas WHERE name = ?", [name])


def plain_view(cursor: duckdb.DuckDBPyConnection, name: Name) -> PlainView | None:
    """The plain view of that name."""
    row = cursor.execute(
        "SELECT definition, late_binding, owner FROM bookkeeping.plain_views "
        "WHERE schema_name = ? AND name = ?",
        [name.schema, name.name],
    ).fetchone()
    return None if row is None else PlainView(name, *row)


def plain_views(cursor: duckdb.DuckDBPyConnection) -> list[PlainView]:
    """All plain views."""
    rows = cursor.execute(
        "SELECT schema_name, name, definition, late_binding, owner FROM bookkeeping.plain_views "
        "ORDER BY 1, 2"
    ).fetchall()
    return [PlainView(Name(row[0], row[1]), *row[2:]) for row in rows]


def put_plain_view(cursor: duckdb.DuckDBPyConnection, view: PlainView) -> None:
    """Records a plain view, in place of the one of that name."""
    drop_plain_view(cursor, view.name)
    cursor.execute(
        "INSERT INTO bookkeeping.plain_views VALUES (?, ?, ?, ?, ?)",
        [view.name.schema, view.name.name, view.definition, view.late_binding, view.owner],
    )


def drop_plain_view(cursor: duckdb.DuckDBPyConnection, name: Name) -> None:
    """Forgets a plain view."""
    cursor.execute(
        "DELETE FROM bookkeeping.plain_views WHERE schema_name = ? AND name = ?",
        [name.schema, name.name],
    )


_COLUMNS = (
    "view_id, schema_name, name, owner, definition, layout, state, mutable, generation, "
    "segment_count, segment_rows, base, note"
)


def materialized_view(cursor: duckdb.DuckDBPyConnection, name: Name) -> MaterializedView | None:
    """The materialized view of that name."""
    row = cursor.execute(
        f"SELECT {_COLUMNS} FROM bookkeeping.materialized_views "  # noqa: S608 - our own columns
        "WHERE schema_name = ? AND name = ?",
        [name.schema, name.name],
    ).fetchone()
    return None if row is None else _materialized(row)


def materialized_views(cursor: duckdb.DuckDBPyConnection) -> list[MaterializedView]:
    """All materialized views."""
    rows = cursor.execute(
        f"SELECT {_COLUMNS} FROM bookkeeping.materialized_views ORDER BY 2, 3"  # noqa: S608
    ).fetchall()
    return [_materialized(row) for row in rows]


def _materialized(row: tuple[Any, ...]) -> MaterializedView:
    base = {table: _base(raw) for table, raw in json.loads(row[11]).items()}
    view_id, schema, name, owner, definition, layout, state, mutable, generation = row[:9]
    return MaterializedView(
        view_id=view_id,
        name=Name(schema, name),
        owner=owner,
        definition=definition,
        layout=layout,
        state=state,
        mutable=mutable,
        generation=generation,
        segment_count=row[9],
        segment_rows=row[10],
        base=base,
        note=row[12],
    )


def _base(raw: dict[str, Any]) -> Base:
    until = raw.pop("until")
    folded = None if until is None else {int(p): int(offset) for p, offset in until.items()}
    return Base(until=folded, **raw)


def next_view_id(cursor: duckdb.DuckDBPyConnection) -> int:
    """An id that no materialized view ever had."""
    ((view_id,),) = cursor.execute("SELECT nextval('bookkeeping.view_ids')").fetchall()
    return int(view_id)


def put_materialized_view(cursor: duckdb.DuckDBPyConnection, view: MaterializedView) -> None:
    """Records a materialized view, in place of the one of that id."""
    base = json.dumps({table: asdict(b) for table, b in view.base.items()}, sort_keys=True)
    cursor.execute("DELETE FROM bookkeeping.materialized_views WHERE view_id = ?", [view.view_id])
    cursor.execute(
        f"INSERT INTO bookkeeping.materialized_views ({_COLUMNS}) "  # noqa: S608 - our own columns
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            view.view_id,
            view.name.schema,
            view.name.name,
            view.owner,
            view.definition,
            view.layout,
            view.state,
            view.mutable,
            view.generation,
            view.segment_count,
            view.segment_rows,
            base,
            view.note,
        ],
    )


def drop_materialized_view(cursor: duckdb.DuckDBPyConnection, view: MaterializedView) -> None:
    """Removes a materialized view with its rows."""
    cursor.execute(f"DROP VIEW IF EXISTS {quoted(view.name.schema, view.name.name)}")
    cursor.execute(f"DROP TABLE IF EXISTS {view.segment_table}")
    cursor.execute("DELETE FROM bookkeeping.materialized_views WHERE view_id = ?", [view.view_id])


def local_columns(cursor: duckdb.DuckDBPyConnection, name: Name) -> list[tuple[str, str]]:
    """(name, DuckDB type) of a local table's or materialized view's columns, if there is one."""
    return cursor.execute(statement_text("local_columns"), [name.schema, name.name]).fetchall()


def add_grant(
    cursor: duckdb.DuckDBPyConnection, privilege: str, kind: str, name: Name, grantee: str
) -> None:
    """Records a grant; the stand-in has one user, so nothing else follows from it."""
    cursor.execute(
        "INSERT INTO bookkeeping.grants VALUES (?, ?, ?, ?)", [privilege, kind, str(name), grantee]
    )


def remove_grant(
    cursor: duckdb.DuckDBPyConnection, privilege: str, name: Name, grantee: str
) -> None:
    """Takes a grant back."""
    cursor.execute(
        "DELETE FROM bookkeeping.grants WHERE privilege = ? AND object = ? AND grantee = ?",
        [privilege, str(name), grantee],
    )
