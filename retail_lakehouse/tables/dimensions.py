"""Bringing the dimension tables to what the contracts' data files say.

Here: reading the CSV files and replacing a table that differs. Not here: the data.
"""

import csv
from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.fields import Column, Kind
from retail_lakehouse.contracts.tables import DIMENSIONS, TableContract
from retail_lakehouse.tables.schema import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog


def load_dimensions(catalog: "Catalog") -> list[str]:
    """Replaces each dimension table that differs from its data file; returns their names.

    A table that is already equal gets no snapshot: a changed dimension costs every view over it a
    full recomputation.
    """
    changed = []
    for contract in DIMENSIONS:
        table = catalog.load_table(contract.identifier)
        wanted = dimension_rows(contract)
        key = [(contract.columns[0].name, "ascending"), (contract.columns[1].name, "ascending")]
        present = table.scan().to_arrow().select(wanted.schema.names).cast(wanted.schema)
        if not present.sort_by(key).equals(wanted.sort_by(key)):
            table.overwrite(wanted)
            changed.append(contract.qualified_name)
    return changed


def dimension_rows(contract: TableContract) -> "pa.Table":
    """The rows of the dimension's data file `contracts/data/<table>.csv`, typed."""
    import pyarrow as pa

    text = (files("retail_lakehouse.contracts") / "data" / f"{contract.name}.csv").read_text(
        encoding="utf-8"
    )
    rows = list(csv.DictReader(text.splitlines()))
    return pa.table(
        {
            column.name: [_typed(column, row[column.name]) for row in rows]
            for column in contract.columns
        },
        schema=arrow_schema(contract),
    )


def _typed(column: Column, text: str) -> object:
    match column.kind:
        case Kind.INT | Kind.LONG:
            return int(text)
        case Kind.DOUBLE:
            return float(text)
        case Kind.DECIMAL:
            return Decimal(text).quantize(Decimal(1).scaleb(-column.scale))
        case Kind.DATE:
            return date.fromisoformat(text)
        case Kind.BOOLEAN:
            return text.lower() == "true"
        case _:
            return text
