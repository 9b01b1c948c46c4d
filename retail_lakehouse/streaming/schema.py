"""Spark types derived from the contracts.

Here: how each `Kind` is spelt in Spark, and the schema of a judged batch. Not here: columns.
"""

from pyspark.sql import types as t

from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.fields import Column, Field, Kind

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
            t.StructField("kafka_partition", t.IntegerType()),
            t.StructField("kafka_offset", t.LongType()),
            t.StructField("kafka_timestamp", t.TimestampNTZType()),
            t.StructField("kafka_key", t.BinaryType()),
            t.StructField("raw", t.BinaryType()),
            t.StructField("reason", t.StringType()),
            t.StructField("detail", t.StringType()),
            *(t.StructField(field.name, spark_type(field)) for field in event.fields),
            t.StructField("event_ts", t.TimestampNTZType()),
            t.StructField("extra", t.StringType()),
        ]
    )
