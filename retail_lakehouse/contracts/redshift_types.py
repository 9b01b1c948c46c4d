"""How Redshift spells the platform's types.

Here: the column types that Redshift shows for an Iceberg table and for a view, derived from the
contracts. Not here: the columns themselves (`tables.py`, `views.py`).

Source: https://docs.aws.amazon.com/redshift/latest/dg/querying-iceberg-supported-data-types.html
"""

from collections.abc import Sequence
from dataclasses import dataclass

from retail_lakehouse.contracts.fields import Column, Kind
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.contracts.view_contract import ViewColumn, ViewContract

MAX_VARCHAR_BYTES = 16_384
"""Redshift cuts an Iceberg string at this length when it reads it."""
MAX_VARBYTE_BYTES = 64_000

_TYPES: dict[Kind, str] = {
    Kind.STRING: f"VARCHAR({MAX_VARCHAR_BYTES})",
    Kind.INT: "INTEGER",
    Kind.LONG: "BIGINT",
    Kind.DATE: "DATE",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.BINARY: f"VARBYTE({MAX_VARBYTE_BYTES})",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DOUBLE: "DOUBLE PRECISION",
}


@dataclass(frozen=True, slots=True)
class RedshiftColumn:
    """One column as Redshift names and types it."""

    name: str
    type: str


def redshift_type(column: Column | ViewColumn) -> str:
    """The type that Redshift gives the column."""
    if column.kind is Kind.DECIMAL:
        return f"DECIMAL({column.precision},{column.scale})"
    return _TYPES[column.kind]


def redshift_columns(contract: TableContract | ViewContract) -> tuple[RedshiftColumn, ...]:
    """The columns of an external table or a view, in order."""
    columns: Sequence[Column | ViewColumn] = contract.columns
    return tuple(RedshiftColumn(column.name, redshift_type(column)) for column in columns)
