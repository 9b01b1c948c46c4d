"""Spark types derived from the contracts.

Here: how each `Kind` is spelt in Spark, and the schema of a judged batch. Not here: columns.
"""

from pyspark.sql import types as t

from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.fields import Column, Field, Kind
from retail_lakehouse.contracts.tables import event_table, quarantine_table

_PLAIN: dict[Kind, t.DataType] = {
    Kind.STRING: t.StringType(),
    Kind.INT: t.IntegerType(),
    Kind.LONG: t.LongType(),
    Kind.DATE: t.DateType(),
    Kind.TIMESTAMP: t.TimestampNTZType(),
    Kind.BINARY: t.BinaryType(),
    Kind.BOOLEAN: t.BooleanType(),
    Kind.DOUBLE: t.DoubleType(),
}


_OF_THE_RECORD = (
    *("kafka_partition", "kafka_offset", "kafka_timestamp", "kafka_key"),
    *("raw", "reason", "detail"),
)
_OF_THE_ROW = ("event_ts", "extra")


def spark_type(column: Column | Field) -> t.DataType:
    """The Spark type of a column or an event field."""
    if column.kind is Kind.DECIMAL:
        return t.DecimalType(column.precision, column.scale)
    return _PLAIN[column.kind]


def judged_schema(event: EventContract) -> t.StructType:
    """Schema of a judged batch: coordinates, verdict, and the event's fields (NULL when bad).

    One more row a partition carries `packed` and nothing else: the records' numbers as an Arrow
    stream, so that the driver learns them in the same pass.
    """
    return t.StructType(
        [
            t.StructField("packed", t.BinaryType()),
            *(_nullable(quarantine_table(event).column(name)) for name in _OF_THE_RECORD),
            *(_nullable(field) for field in event.fields),
            *(_nullable(event_table(event).column(name)) for name in _OF_THE_ROW),
        ]
    )


def _nullable(column: Column | Field) -> t.StructField:
    return t.StructField(column.name, spark_type(column))
