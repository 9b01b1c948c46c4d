"""From Kafka records to judged rows, and from judged rows to what the two tables take.

Here: pure `DataFrame -> DataFrame` functions. Not here: reading, committing, progress.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from retail_lakehouse.contracts.events import EVENT_ID_FIELD, EVENT_TIME_FIELD, EventContract
from retail_lakehouse.contracts.judge import Good, judge
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.dedupe.records import content_key, key_hash
from retail_lakehouse.streaming.schema import judged_schema

if TYPE_CHECKING:
    import pyarrow as pa

CONFLICT_DETAIL = "An event with this id and hour has landed before with other content."
LATE_AFTER = "INTERVAL 5 MINUTES"
"""How long after an hour's turn its records still count as on time for the file layout."""


def judged(records: DataFrame, event: EventContract, until: Mapping[int, int]) -> DataFrame:
    """Each Kafka record at or above its partition's `until`, judged once.

    Args:
        records: rows of Spark's Kafka source.
        event: the contract of the topic.
        until: first offset of each partition that is not covered yet; a partition that is not
            there begins at 0.
    """
    columns = records.select(
        "key", "value", "partition", "offset", f.unix_micros("timestamp").alias("broker_us")
    )
    return columns.mapInArrow(_judging(event, dict(until)), judged_schema(event))


def utc(milliseconds: int) -> Column:
    """Epoch milliseconds as a literal UTC timestamp without zone.

    Not through Python's datetime: PySpark reads that in the process's own zone.
    """
    return f.timestamp_millis(f.lit(milliseconds)).cast("timestamp_ntz")


def packed(judged_rows: DataFrame) -> DataFrame:
    """The Arrow streams of the records' numbers, one a partition that had records."""
    return judged_rows.where(f.col("packed").isNotNull()).select("packed")


def landing_rows(
    judged_rows: DataFrame,
    table: TableContract,
    topic: str,
    topic_id: str,
    ingested_ms: int,
) -> DataFrame:
    """Good judged rows with the table's columns, in its order."""
    good = judged_rows.where(f.col("packed").isNull() & f.col("reason").isNull())
    computed: dict[str, Column] = {
        "event_date": f.to_date("event_ts"),
        "event_hour": f.hour("event_ts"),
        "ingested_at": utc(ingested_ms),
        "kafka_topic": f.lit(topic),
        "kafka_topic_id": f.lit(topic_id),
    }
    return good.select(*(computed.get(c.name, f.col(c.name)).alias(c.name) for c in table.columns))


def quarantine_rows(
    judged_rows: DataFrame,
    table: TableContract,
    event: EventContract,
    topic_id: str,
    judged_ms: int,
) -> DataFrame:
    """Bad judged rows with the quarantine table's columns, in its order.

    A replay's rows bring their own `outcome` and `replay_id`.
    """
    bad = judged_rows.where(f.col("packed").isNull() & f.col("reason").isNotNull())
    computed: dict[str, Column] = {
        "kafka_topic": f.lit(event.topic),
        "kafka_topic_id": f.lit(topic_id),
        "contract_version": f.lit(event.version),
        "quarantine_date": f.to_date("kafka_timestamp"),
        "judged_at": utc(judged_ms),
        "outcome": f.lit("quarantined"),
        "replay_id": f.lit(None).cast("string"),
    }
    computed = {name: value for name, value in computed.items() if name not in bad.columns}
    return bad.select(*(computed.get(c.name, f.col(c.name)).alias(c.name) for c in table.columns))


def in_two_files(rows: DataFrame, row_count: int, rows_a_file: int = 500_000) -> DataFrame:
    """`rows` laid out so that late ones never share a file with those of the running hour.

    A file's minimum and maximum are all that prunes it; one late row would widen them to days.
    """
    late = f.col("event_ts") < f.date_trunc("hour", f.col("kafka_timestamp") - f.expr(LATE_AFTER))
    files = max(1, -(-row_count // rows_a_file))
    return rows.where(~late).coalesce(files).union(rows.where(late).coalesce(1))


def _judging(
    event: EventContract, until: dict[int, int]
) -> Callable[[Any], Iterator["pa.RecordBatch"]]:
    """The function that Spark's Python workers run over a partition's Arrow batches."""

    def run(batches: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
        numbers: list[dict[str, list[Any]]] = []
        for batch in batches:
            rows, of_batch = _judge_batch(event, until, batch)
            numbers.append(of_batch)
            yield rows
        if any(part["offset"] for part in numbers):
            yield _packed_row(event, numbers)

    return run


def _judge_batch(
    event: EventContract, until: Mapping[int, int], batch: "pa.RecordBatch"
) -> tuple["pa.RecordBatch", dict[str, list[Any]]]:
    names = [field.name for field in event.fields]
    columns: dict[str, list[Any]] = {field.name: [] for field in judged_schema(event).fields}
    numbers: dict[str, list[Any]] = {name: [] for name in _NUMBER_TYPES}
    for key, value, partition, offset, broker_us in zip(
        *(batch.column(i).to_pylist() for i in range(5)), strict=True
    ):
        if offset < until.get(partition, 0):
            continue
        verdict = judge(value, broker_us // 1000, event)
        columns["kafka_partition"].append(partition)
        columns["kafka_offset"].append(offset)
        columns["kafka_timestamp"].append(broker_us)
        columns["kafka_key"].append(key)
        columns["raw"].append(value)
        if isinstance(verdict, Good):
            values = verdict.values
            event_ms: Any = values[EVENT_TIME_FIELD]
            columns["reason"].append(None)
            columns["detail"].append(None)
            for name in names:
                columns[name].append(values[name])
            columns["event_ts"].append(event_ms * 1000)
            columns["extra"].append(verdict.extra)
            high, low = key_hash(str(values[EVENT_ID_FIELD]))
            fact = (
                event_ms,
                high,
                low,
                content_key(verdict.canonical, verdict.extra),
                True,
                verdict.extra is not None,
            )
        else:
            columns["reason"].append(verdict.reason.value)
            columns["detail"].append(verdict.detail)
            for name in names:
                columns[name].append(verdict.event_id if name == EVENT_ID_FIELD else None)
            columns["event_ts"].append(None)
            columns["extra"].append(None)
            fact = (0, 0, 0, 0, False, False)
        for name, number in zip(
            _NUMBER_TYPES, (partition, offset, broker_us // 1000, *fact), strict=True
        ):
            numbers[name].append(number)
    columns["packed"] = [None] * len(columns["kafka_offset"])
    return _record_batch(event, columns), numbers


_NUMBER_TYPES: dict[str, str] = {
    "partition": "int64",
    "offset": "int64",
    "broker_ms": "int64",
    "event_ms": "int64",
    "key_high": "int64",
    "key_low": "int64",
    "content": "int64",
    "good": "bool",
    "with_extra": "bool",
}


def _packed_row(event: EventContract, numbers: list[dict[str, list[Any]]]) -> "pa.RecordBatch":
    import pyarrow as pa

    table = pa.table(
        {
            name: pa.array(
                [n for part in numbers for n in part[name]], type=pa.type_for_alias(kind)
            )
            for name, kind in _NUMBER_TYPES.items()
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    columns: dict[str, list[Any]] = {field.name: [None] for field in judged_schema(event).fields}
    columns["packed"] = [sink.getvalue().to_pybytes()]
    return _record_batch(event, columns)


def _record_batch(event: EventContract, columns: Mapping[str, list[Any]]) -> "pa.RecordBatch":
    import pyarrow as pa
    from pyspark.sql.pandas.types import to_arrow_schema

    schema = to_arrow_schema(judged_schema(event))
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[field.name], type=field.type) for field in schema], schema=schema
    )
