"""The system views that a client reads: what they are called, their columns, and their rows.

Here: SVV_MV_INFO, SYS_MV_REFRESH_HISTORY, SYS_QUERY_HISTORY, the SVV_* lists of schemas, tables
and columns, and two that exist only here, never for code that also runs on AWS: LOCAL_MV_DETAIL
(for `status` and tests) and LOCAL_MV_DIGEST (for long runs). Not here: how they are put into a
query (`translation.py`).

Source: aws.md 1.10 for columns and texts; SVV_MV_INFO tells the truth about `is_stale`, which
Redshift may not.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from retail_lakehouse.local.warehouse import datatypes, registry
from retail_lakehouse.local.warehouse.digests import view_digests
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.history import QueryHistory
from retail_lakehouse.local.warehouse.lake import Lake
from retail_lakehouse.local.warehouse.statements import Name
from retail_lakehouse.local.warehouse.store import statement_text
from retail_lakehouse.local.warehouse.translation import literal

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Sources:
    """What the system views are made of."""

    cursor: duckdb.DuckDBPyConnection
    lake: Lake
    database: str
    history: QueryHistory


def _mv_info(s: Sources) -> Rows:
    return [
        (
            s.database,
            view.name.schema,
            view.owner,
            view.name.name,
            "t" if is_stale(view, s.lake) else "f",
            view.state,
            "f",
            "f",
        )
        for view in registry.materialized_views(s.cursor)
    ]


def is_stale(view: registry.MaterializedView, lake: Lake) -> bool:
    """True when a base table has moved on, and always for a view with a mutable function."""
    if view.mutable or not view.base:
        return True
    for key, base in view.base.items():
        database, _, name = key.partition(".")
        try:
            table = lake.table(database, name)
        except WarehouseError:
            return True
        if (table.uuid, table.current_id) != (base.uuid, base.snapshot_id):
            return True
    return False


def _detail(s: Sources) -> Rows:
    return [
        (
            view.name.schema,
            view.name.name,
            view.generation,
            view.segment_count,
            view.segment_rows,
            json.dumps({k: asdict(b) for k, b in view.base.items()}, sort_keys=True),
            view.note,
        )
        for view in registry.materialized_views(s.cursor)
    ]


def _digests(s: Sources) -> Rows:
    return view_digests(s.cursor)


def _query_history(s: Sources) -> Rows:
    return [
        (
            100,
            q.query_id,
            q.label,
            q.transaction_id,
            q.session_id,
            s.database,
            q.query_type,
            q.status,
            q.start_time,
            q.end_time,
            q.elapsed_us,
            q.returned_rows,
            q.error,
            q.text,
        )
        for q in s.history.entries()
    ]


def _external_schemas(s: Sources) -> Rows:
    return [
        (1, name, 100, database, json.dumps({"IAM_ROLE": "default"}))
        for name, database in registry.external_schemas(s.cursor).items()
    ]


def _external_tables(s: Sources) -> Rows:
    return [
        (s.database, schema, table.name, table.metadata_location, "iceberg")
        for schema, database in registry.external_schemas(s.cursor).items()
        for table in (s.lake.table(database, name) for name in s.lake.tables(database))
    ]


def _external_columns(s: Sources) -> Rows:
    return [
        (
            *(s.database, schema, table.name, column.name, column.redshift_type, number, 0),
            "false" if column.is_required else "true",
        )
        for schema, database in registry.external_schemas(s.cursor).items()
        for table in (s.lake.table(database, name) for name in s.lake.tables(database))
        for number, column in enumerate(table.columns, 1)
    ]


def _local_relations(s: Sources) -> list[tuple[str, str, str]]:
    schemas = set(registry.schemas(s.cursor))
    rows = s.cursor.execute(
        "SELECT schema_name, table_name, 'TABLE' FROM duckdb_tables() "
        "UNION ALL SELECT schema_name, view_name, 'VIEW' FROM duckdb_views() WHERE NOT internal"
    ).fetchall()
    views = [(v.name.schema, v.name.name, "VIEW") for v in registry.plain_views(s.cursor)]
    return sorted({r for r in [*rows, *views] if r[0] in schemas})


def _tables(s: Sources) -> Rows:
    external = [(row[1], row[2], "EXTERNAL TABLE") for row in _external_tables(s)]
    return [(s.database, *row, "") for row in [*_local_relations(s), *external]]


def _columns(s: Sources) -> Rows:
    rows: Rows = []
    for schema, name, _ in _local_relations(s):
        columns = registry.local_columns(s.cursor, Name(schema, name))
        for number, (column, kind) in enumerate(columns, 1):
            declared = datatypes.from_duckdb(kind).name
            rows.append((s.database, schema, name, column, number, declared, "YES"))
    rows += [(*r[:4], r[5], r[4], "NO" if r[7] == "false" else "YES") for r in _external_columns(s)]
    return rows


def _all_schemas(s: Sources) -> Rows:
    local = [(s.database, name, 100, "local", "") for name in registry.schemas(s.cursor)]
    external = [
        (s.database, name, 100, "external", database)
        for name, database in registry.external_schemas(s.cursor).items()
    ]
    return local + external


@dataclass(frozen=True, slots=True)
class SystemView:
    """A system view: columns as (name, Redshift type), and what gives its rows.

    None: the rows come straight from a table, by the SQL file of the view's name.
    """

    columns: tuple[tuple[str, str], ...]
    rows: Callable[[Sources], Rows] | None


def _columns_of(text: str) -> tuple[tuple[str, str], ...]:
    """Columns from "name:type name:type"; without a type it is varchar."""
    pairs = (item.partition(":") for item in text.split())
    return tuple((name, kind or "varchar") for name, _, kind in pairs)


_MV_INFO = "database_name schema_name user_name name is_stale state:int autorefresh autorewrite"
_TABLES = "database_name schema_name table_name table_type remarks"
_COLUMNS = (
    "database_name schema_name table_name column_name ordinal_position:int data_type is_nullable"
)

SYSTEM_VIEWS: Mapping[str, SystemView] = {
    "svv_mv_info": SystemView(_columns_of(_MV_INFO), _mv_info),
    "sys_mv_refresh_history": SystemView(
        _columns_of(
            "user_id:int session_id:bigint transaction_id:bigint database_name schema_name "
            "mv_id:bigint mv_name refresh_type status start_time:timestamp end_time:timestamp "
            "duration:bigint consumer_account consumer_region consumer_namespace"
        ),
        None,
    ),
    "sys_query_history": SystemView(
        _columns_of(
            "user_id:int query_id:bigint query_label transaction_id:bigint session_id:bigint "
            "database_name query_type status start_time:timestamp end_time:timestamp "
            "elapsed_time:bigint returned_rows:bigint error_message query_text"
        ),
        _query_history,
    ),
    "local_mv_detail": SystemView(
        _columns_of(
            "schema_name name generation:bigint segment_count:bigint segment_rows:bigint base note"
        ),
        _detail,
    ),
    "local_mv_digest": SystemView(
        _columns_of("schema_name name base refresh_count:bigint columns row_count:bigint digest"),
        _digests,
    ),
    "svv_external_schemas": SystemView(
        _columns_of("eskind:int schemaname esowner:int databasename esoptions"), _external_schemas
    ),
    "svv_external_tables": SystemView(
        _columns_of("redshift_database_name schemaname tablename location tabletype"),
        _external_tables,
    ),
    "svv_external_columns": SystemView(
        _columns_of(
            "redshift_database_name schemaname tablename columnname external_type columnnum:int "
            "part_key:int is_nullable"
        ),
        _external_columns,
    ),
    "svv_tables": SystemView(
        _columns_of(
            _TABLES.replace("database_name", "table_catalog", 1).replace(
                "schema_name", "table_schema", 1
            )
        ),
        _tables,
    ),
    "svv_all_tables": SystemView(_columns_of(_TABLES), _tables),
    "svv_redshift_tables": SystemView(_columns_of(_TABLES), _tables),
    "svv_all_columns": SystemView(_columns_of(_COLUMNS), _columns),
    "svv_redshift_columns": SystemView(_columns_of(_COLUMNS), _columns),
    "svv_all_schemas": SystemView(
        _columns_of("database_name schema_name schema_owner:int schema_type source_database"),
        _all_schemas,
    ),
}
COLUMNS: Mapping[str, Sequence[tuple[str, str]]] = {
    name: view.columns for name, view in SYSTEM_VIEWS.items()
}


_DUCKDB_TYPES = {"varchar": "VARCHAR", "int": "INTEGER", "bigint": "BIGINT"}


def padded_columns(views: Sequence[str]) -> frozenset[str]:
    """Columns that a query over these views returns as CHAR(128), when it keeps their names.

    Only on the wire: inside a query Redshift compares CHAR without the blanks at its end.
    """
    if "svv_mv_info" not in views:
        return frozenset()
    return frozenset({"database_name", "schema_name", "user_name", "name"})


def source(name: str, rows: str, database: str) -> str:
    """A FROM item with the view's columns; `rows` is SQL for a list of its rows."""
    if SYSTEM_VIEWS[name].rows is None:
        return f"({statement_text(name).replace('{database}', literal(database))})"
    fields = ", ".join(
        f'"{column}" {_DUCKDB_TYPES.get(kind, "TIMESTAMP")}'
        for column, kind in SYSTEM_VIEWS[name].columns
    )
    return f"(SELECT unnest(CAST({rows} AS STRUCT({fields})[]), recursive := true))"


def rows_of(name: str, sources: Sources) -> list[dict[str, Any]] | None:
    """The view's present rows; None when they come straight from a table."""
    view = SYSTEM_VIEWS[name]
    if view.rows is None:
        return None
    columns = [column for column, _ in view.columns]
    return [dict(zip(columns, row, strict=True)) for row in view.rows(sources)]


def utc_now() -> datetime:
    """Now, in UTC without zone, as every time in the warehouse is kept."""
    return datetime.now(UTC).replace(tzinfo=None)
