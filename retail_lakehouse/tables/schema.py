"""Iceberg and Arrow schemas derived from the table contracts.

Here: how each `Kind` is spelt in Iceberg and Arrow, and the partition specs. Not here: columns.
"""

from typing import TYPE_CHECKING

from retail_lakehouse.contracts.fields import Column, Kind
from retail_lakehouse.contracts.tables import TableContract

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.types import IcebergType

_FIRST_PARTITION_FIELD_ID = 1000


def iceberg_type(column: Column) -> "IcebergType":
    """The column's Iceberg type."""
    from pyiceberg import types

    if column.kind is Kind.DECIMAL:
        return types.DecimalType(column.precision, column.scale)
    plain: dict[Kind, IcebergType] = {
        Kind.STRING: types.StringType(),
        Kind.INT: types.IntegerType(),
        Kind.LONG: types.LongType(),
        Kind.DATE: types.DateType(),
        Kind.TIMESTAMP: types.TimestampType(),
        Kind.BINARY: types.BinaryType(),
        Kind.BOOLEAN: types.BooleanType(),
        Kind.DOUBLE: types.DoubleType(),
    }
    return plain[column.kind]


def iceberg_schema(contract: TableContract) -> "Schema":
    """The table's Iceberg schema. Ids are placeholders: a catalog gives out its own."""
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField

    return Schema(
        *(
            NestedField(
                field_id=position,
                name=column.name,
                field_type=iceberg_type(column),
                required=column.required,
                doc=column.doc,
            )
            for position, column in enumerate(contract.columns, start=1)
        )
    )


def arrow_schema(contract: TableContract) -> "pa.Schema":
    """The table's Arrow schema, columns in contract order."""
    import pyarrow as pa

    plain = {
        Kind.STRING: pa.string(),
        Kind.INT: pa.int32(),
        Kind.LONG: pa.int64(),
        Kind.DATE: pa.date32(),
        Kind.TIMESTAMP: pa.timestamp("us"),
        Kind.BINARY: pa.binary(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.DOUBLE: pa.float64(),
    }
    return pa.schema(
        [
            pa.field(
                column.name,
                pa.decimal128(column.precision, column.scale)
                if column.kind is Kind.DECIMAL
                else plain[column.kind],
                nullable=not column.required,
            )
            for column in contract.columns
        ]
    )


def partition_spec(contract: TableContract, names: tuple[str, ...]) -> "PartitionSpec":
    """An identity partition spec over the named columns, against `iceberg_schema(contract)`."""
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.transforms import IdentityTransform

    schema = iceberg_schema(contract)
    return PartitionSpec(
        *(
            PartitionField(
                source_id=schema.find_field(name).field_id,
                field_id=_FIRST_PARTITION_FIELD_ID + position,
                transform=IdentityTransform(),
                name=name,
            )
            for position, name in enumerate(names)
        )
    )
