"""What the warehouse says at one moment, and the raw rows behind it.

Here: reading views together with the snapshots they have folded, and opening those snapshots. Not
here: the comparison (`check.py`).
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retail_lakehouse.contracts.tables import DATABASE, DIMENSIONS, EVENT_TABLES
from retail_lakehouse.contracts.views import MART_SCHEMA, MATERIALIZED_VIEWS, view_named
from retail_lakehouse.local.duckdb_extensions import load_extensions
from retail_lakehouse.local.warehouse.paths import local_path
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.client import Session

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.table import Table

_DETAIL = "SELECT name, base FROM local_mv_detail WHERE schema_name = %s"
_SHOWN = "SELECT GETDATE(), shown.* FROM {view} AS shown"
_MEMORY_MB = 1024


class SnapshotGone(RuntimeError):  # noqa: N818 - a state of the table
    """A snapshot that a view has folded has expired: its rows can no longer be told apart."""


@contextmanager
def one_moment(session: Session) -> Iterator[None]:
    """A transaction: refreshes and commits by others meanwhile do not show in it."""
    session.execute("BEGIN")
    try:
        yield
    finally:
        session.execute("COMMIT")


def folded_snapshots(session: Session) -> dict[str, int | None]:
    """The snapshot that each materialized view has folded, None for an empty one.

    `LOCAL_MV_DETAIL` is the stand-in's own: this tool is not for AWS.
    """
    return _folded(dict(session.rows(_DETAIL, (MART_SCHEMA,))))


def shown_rows(session: Session, view: str) -> tuple[datetime, list[tuple[Any, ...]]]:
    """The view's rows, and GETDATE() of the statement that read them, UTC."""
    name = view_named(view).qualified_name
    found = session.rows(_SHOWN.replace("{view}", name))
    if not found:
        ((now,),) = session.rows("SELECT GETDATE()")
        return now, []
    return found[0][0], [row[1:] for row in found]


def _folded(detail: Mapping[str, str]) -> dict[str, int | None]:
    answer: dict[str, int | None] = {}
    for view in MATERIALIZED_VIEWS:
        (table,) = view.source_tables
        base = json.loads(detail[view.name]).get(f"{DATABASE}.{table}", {})
        answer[view.name] = base.get("snapshot_id")
    return answer


@contextmanager
def raw_rows(
    settings: Settings, folded: Mapping[str, int | None]
) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A DuckDB with the dimensions and, by each materialized view's name, the raw rows it folded.

    Raises:
        SnapshotGone: one of the snapshots has expired.
    """
    from retail_lakehouse.tables.catalog import open_catalog

    catalog = open_catalog(settings)
    tables = {c.name: catalog.load_table(c.identifier) for c in EVENT_TABLES}
    with tempfile.TemporaryDirectory(prefix="retail-lakehouse-recompute-") as folder:
        # DuckDB reads a metadata file at each query, and a table that takes a commit every few
        # seconds has deleted it before a long comparison ends. What the file names stays.
        copies = {
            name: _copied(table.metadata_location, Path(folder)) for name, table in tables.items()
        }
        connection = _connected()
        try:
            for view in MATERIALIZED_VIEWS:
                (source,) = view.source_tables
                _register(connection, view.name, tables[source], folded[view.name], copies[source])
            yield connection
        finally:
            connection.close()


def _connected() -> "duckdb.DuckDBPyConnection":
    import duckdb

    from retail_lakehouse.tables.dimensions import dimension_rows

    connection = duckdb.connect(
        config={"memory_limit": f"{_MEMORY_MB}MB", "threads": 1, "autoload_known_extensions": False}
    )
    connection.execute("SET TimeZone = 'UTC'")
    load_extensions(connection)
    for contract in DIMENSIONS:
        connection.register(contract.name, dimension_rows(contract))
    return connection


def _copied(location: str, folder: Path) -> str:
    source = local_path(location)
    try:
        return shutil.copy(str(source), str(folder / source.name))
    except FileNotFoundError:
        raise SnapshotGone(
            f"{source} was deleted by later commits before it could be copied. Check again."
        ) from None


def _register(
    connection: "duckdb.DuckDBPyConnection",
    view: str,
    table: "Table",
    snapshot: int | None,
    metadata: str,
) -> None:
    if snapshot is None:
        connection.register(view, table.schema().as_arrow().empty_table())
        return
    if table.snapshot_by_id(snapshot) is None:
        raise SnapshotGone(
            f"{view} has folded snapshot {snapshot} of {table.name()[-1]}, which has expired. "
            "Check again after the next refresh, or keep snapshots for longer."
        )
    location = metadata.replace("'", "''")
    connection.execute(
        f"CREATE VIEW {view} AS SELECT * "  # noqa: S608 - names of the contract
        f"FROM iceberg_scan('{location}', snapshot_from_id := {snapshot})"
    )
