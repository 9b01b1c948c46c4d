"""The external columns that Redshift shows for the Iceberg tables, derived from the contracts.

Here: how Redshift types a column of each `Kind` when it reads Iceberg, and the answer that
SVV_EXTERNAL_COLUMNS should give, to hold the warehouse's own against. Not here: the columns
themselves (`tables.py`), or what the stand-in answers (`local/warehouse/`), which reads the tables'
metadata and not the contracts.

Source: https://docs.aws.amazon.com/redshift/latest/dg/querying-iceberg-supported-data-types.html
and r_SVV_EXTERNAL_COLUMNS.html beside it. AWS documents as what type Redshift reads a column, not
how `external_type` spells that for an Iceberg table: the spelling is SQL's, in lower case.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from retail_lakehouse.contracts.fields import MAX_STRING_BYTES, Column, Kind
from retail_lakehouse.contracts.tables import TABLES, TableContract
from retail_lakehouse.contracts.view_contract import EXTERNAL_SCHEMA

MAX_VARBYTE_BYTES = 64_000

_TYPES: dict[Kind, str] = {
    Kind.STRING: f"varchar({MAX_STRING_BYTES})",
    Kind.INT: "integer",
    Kind.LONG: "bigint",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamp",
    Kind.BINARY: f"varbyte({MAX_VARBYTE_BYTES})",
    Kind.BOOLEAN: "boolean",
    Kind.DOUBLE: "double precision",
}


@dataclass(frozen=True, slots=True)
class ExternalColumn:
    """One row of SVV_EXTERNAL_COLUMNS, its columns under Redshift's names.

    `columnnum` counts from 1; `is_nullable` is "true" or "false", as text.
    """

    columnname: str
    external_type: str
    columnnum: int
    is_nullable: str


def external_type(column: Column) -> str:
    """The type as which Redshift reads the column."""
    if column.kind is Kind.DECIMAL:
        return f"decimal({column.precision},{column.scale})"
    return _TYPES[column.kind]


def external_columns(table: TableContract) -> tuple[ExternalColumn, ...]:
    """The columns of the external table, in order."""
    return tuple(
        ExternalColumn(
            column.name, external_type(column), number, "false" if column.required else "true"
        )
        for number, column in enumerate(table.columns, 1)
    )


def export_external_columns(folder: Path) -> list[Path]:
    """Writes `<schema>.<table>.columns.json` for every table into `folder`; returns the files.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in TABLES:
        path = folder / f"{EXTERNAL_SCHEMA}.{table.name}.columns.json"
        told = [asdict(column) for column in external_columns(table)]
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        written.append(path)
    return written
