"""Small appends from Python: backfill and dimensions.

Here: one Arrow table, one commit. Not here: streaming writes, which are the engines'.
"""

from typing import TYPE_CHECKING

from retail_lakehouse.contracts.mark import Mark

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import Table


def append_marked(table: "Table", rows: "pa.Table", mark: Mark | None) -> None:
    """Appends `rows` in one commit whose summary carries `mark` (none for a dimension)."""
    table.append(rows, snapshot_properties=mark.to_summary() if mark else {})
