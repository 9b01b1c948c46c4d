"""From Kafka records to judged rows, and from judged rows to what the two tables take.

Here: pure `DataFrame -> DataFrame` functions. Not here: reading, committing, progress.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from retail_lakehouse.contracts.events import EVENT_ID_FIELD, EVENT_TIME_FIELD, EventContract
from retail_lakehouse.contracts.judge import Bad, Good, judge
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.dedupe.records import Records, concatenated, content_key, key_hash
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
        numbers: list[Records] = []
        for batch in batches:
            rows, of_batch = _judge_batch(event, until, batch)
            numbers.append(of_batch)
            yield rows
        if any(len(part) for part in numbers):
            yield _packed_row(event, concatenated(numbers))

    return run


def _judge_batch(
    event: EventContract, until: Mapping[int, int], batch: "pa.RecordBatch"
) -> tuple["pa.RecordBatch", Records]:
    """The judged rows of one Arrow batch, and their numbers."""
    import pyarrow as pa

    key, value, partition, offset, broker_us = _not_covered(until, batch).columns
    broker_ms = broker_us.to_numpy() // 1000
    bodies = zip(value.to_pylist(), broker_ms.tolist(), strict=True)
    verdicts = [judge(body, at_ms, event) for body, at_ms in bodies]
    rejected = dict.fromkeys(field.name for field in event.fields)
    values: list[Mapping[str, Any]] = [
        verdict.values
        if isinstance(verdict, Good)
        else rejected | {EVENT_ID_FIELD: verdict.event_id}
        for verdict in verdicts
    ]
    event_ms = [row[EVENT_TIME_FIELD] for row in values]
    extra = [verdict.extra if isinstance(verdict, Good) else None for verdict in verdicts]
    columns: dict[str, Any] = {
        "packed": pa.nulls(len(verdicts), pa.binary()),
        "kafka_partition": partition,
        "kafka_offset": offset,
        "kafka_timestamp": broker_us.cast(pa.timestamp("us")),
        "kafka_key": key,
        "raw": value,
        "reason": [None if isinstance(v, Good) else v.reason.value for v in verdicts],
        "detail": [None if isinstance(v, Good) else v.detail for v in verdicts],
        **{field.name: [row[field.name] for row in values] for field in event.fields},
        "event_ts": pa.array(event_ms, pa.timestamp("ms")).cast(pa.timestamp("us")),
        "extra": extra,
    }
    hashes = np.array([_hashes(verdict) for verdict in verdicts], np.int64).reshape(-1, 3)
    numbers = Records(
        partition=partition.to_numpy().astype(np.int64),
        offset=offset.to_numpy(),
        broker_ms=broker_ms,
        event_ms=np.array([ms or 0 for ms in event_ms], np.int64),
        key_high=hashes[:, 0],
        key_low=hashes[:, 1],
        content=hashes[:, 2],
        good=np.array([isinstance(verdict, Good) for verdict in verdicts], np.bool_),
        with_extra=np.array([text is not None for text in extra], np.bool_),
    )
    return _record_batch(event, columns), numbers


def _not_covered(until: Mapping[int, int], batch: "pa.RecordBatch") -> "pa.RecordBatch":
    import pyarrow as pa

    partition, offset = (batch.column(i).to_numpy() for i in (2, 3))
    covered = np.zeros(batch.num_rows, np.bool_)
    for number, end in until.items():
        covered |= (partition == number) & (offset < end)
    return batch.filter(pa.array(~covered)) if covered.any() else batch


def _hashes(verdict: Good | Bad) -> tuple[int, int, int]:
    if isinstance(verdict, Bad):
        return 0, 0, 0
    key = key_hash(str(verdict.values[EVENT_ID_FIELD]))
    return (*key, content_key(verdict.canonical, verdict.extra))


def _packed_row(event: EventContract, numbers: Records) -> "pa.RecordBatch":
    import pyarrow as pa

    table = pa.table({name: getattr(numbers, name) for name in Records.__dataclass_fields__})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    columns: dict[str, Any] = {field.name: [None] for field in judged_schema(event).fields}
    columns["packed"] = [sink.getvalue().to_pybytes()]
    return _record_batch(event, columns)


def _record_batch(event: EventContract, columns: Mapping[str, Any]) -> "pa.RecordBatch":
    import pyarrow as pa
    from pyspark.sql.pandas.types import to_arrow_schema

    schema = to_arrow_schema(judged_schema(event))
    arrays = []
    for field in schema:
        column = columns[field.name]
        arrays.append(column if isinstance(column, pa.Array) else pa.array(column, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
