"""The rows that one commit added, read from its own files.

Here: which files an append added, and some of their columns as one Arrow table, up to a bound. Not
here: which commits are looked at, or what is made of the rows. A table's other files are not
opened: this costs what arrived, not what is stored.
"""

from typing import TYPE_CHECKING

from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.tables.schema import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import Table

_BATCH_ROWS = 65_536


class RowsUnreadableError(RuntimeError):
    """A file that a commit added cannot be read."""


def added_rows(
    table: "Table",
    contract: TableContract,
    snapshot_id: int,
    columns: tuple[str, ...],
    most_rows: int,
) -> "pa.Table":
    """At most `most_rows` of the rows that an append added; a column that a file lacks is NULL.

    Raises:
        RowsUnreadableError: a manifest or a data file is gone or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = arrow_schema(contract)
    wanted = pa.schema([whole.field(name).with_nullable(True) for name in columns])
    parts: list[pa.Table] = []
    left = most_rows
    try:
        for path in _added_files(table, snapshot_id):
            if left <= 0:
                break
            with table.io.new_input(path).open() as stream:
                file = pq.ParquetFile(stream)
                present = [name for name in columns if name in file.schema_arrow.names]
                for batch in file.iter_batches(min(_BATCH_ROWS, left), columns=present):
                    part = pa.Table.from_batches([batch]).slice(0, left)
                    parts.append(_typed(part, wanted))
                    left -= part.num_rows
                    if left <= 0:
                        break
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RowsUnreadableError(
            f"What snapshot {snapshot_id} added to {contract.qualified_name} cannot be read "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}). Check "
            "that the table's files are there; the next look tries again."
        ) from error
    return pa.concat_tables(parts) if parts else wanted.empty_table()


def _added_files(table: "Table", snapshot_id: int) -> list[str]:
    from pyiceberg.manifest import ManifestContent, ManifestEntryStatus

    snapshot = table.snapshot_by_id(snapshot_id)
    if snapshot is None:
        return []
    return [
        entry.data_file.file_path
        for manifest in snapshot.manifests(table.io)
        if manifest.content is ManifestContent.DATA and manifest.added_snapshot_id == snapshot_id
        for entry in manifest.fetch_manifest_entry(table.io)
        # A manifest that was merged lists what earlier commits added too.
        if entry.status is ManifestEntryStatus.ADDED and entry.snapshot_id in (None, snapshot_id)
    ]


def _typed(part: "pa.Table", wanted: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    columns = [
        part[field.name].cast(field.type)
        if field.name in part.column_names
        else pa.nulls(part.num_rows, field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)
