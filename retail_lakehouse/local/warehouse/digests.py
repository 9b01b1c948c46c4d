"""One number for all rows of each materialized view: what LOCAL_MV_DIGEST shows.

Here: the digests with how far each view has folded its tables, as of one moment. Not here: what
they are compared with (`local/recompute`).

A row's hash is DuckDB's own over its columns in order, each in the type that is told beside it;
the rows' hashes are added as HUGEINT, so order never matters and a doubled row shows.
"""

import json
from typing import Any

import duckdb

from retail_lakehouse.local.warehouse import registry
from retail_lakehouse.local.warehouse.identifiers import quoted
from retail_lakehouse.local.warehouse.store import statement_text
from retail_lakehouse.local.warehouse.translation import literal


def view_digests(cursor: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """(schema, name, base, refreshes, columns, rows, digest) of every materialized view.

    `base` is the JSON that LOCAL_MV_DETAIL shows, `refreshes` how many of the view's refreshes in
    SYS_MV_REFRESH_HISTORY brought something, `columns` JSON of [name, DuckDB type] in order. All
    of it comes from one statement, so from one moment, also between a client's transactions.
    """
    parts = [_digest(cursor, view) for view in registry.materialized_views(cursor)]
    if not parts:
        return []
    text = statement_text("local_mv_digest").replace("{digests}", "UNION ALL ".join(parts))
    return cursor.execute(text).fetchall()


def _digest(cursor: duckdb.DuckDBPyConnection, view: registry.MaterializedView) -> str:
    columns = registry.local_columns(cursor, view.name)
    filled = {
        "{view_id}": str(view.view_id),
        "{columns}": literal(json.dumps([list(column) for column in columns])),
        "{row}": ", ".join(f"{quoted(name)}::{kind}" for name, kind in columns),
        "{view}": quoted(view.name.schema, view.name.name),
    }
    text = statement_text("view_digest")
    for gap, value in filled.items():
        text = text.replace(gap, value)
    return text
