"""Bringing the dedupe index to what its table holds.

Here: catching up from the rows above the index's stamp, and rebuilding on any doubt. Not here: the
index itself (`dedupe/key_index.py`).
"""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from retail_lakehouse.contracts.canonical import canonical_text
from retail_lakehouse.contracts.events import (
    EVENT_ID_FIELD,
    EVENT_TIME_FIELD,
    EventContract,
    event_named,
)
from retail_lakehouse.contracts.mark import MarkKind
from retail_lakehouse.dedupe.key_index import KeyIndex, Stamp
from retail_lakehouse.dedupe.records import HOUR_MS, content_key, key_hash
from retail_lakehouse.streaming.iceberg import JobTable

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)


def sync_index(
    spark: SparkSession,
    index: KeyIndex,
    table: JobTable,
    event: EventContract,
    now: Stamp,
    oldest_hour: int,
) -> None:
    """Makes the index stand for `now`, by the cheapest way that is certain.

    Args:
        spark: the job's session.
        index: the opened index.
        table: the event table, whose current snapshot is `now.snapshot_id`.
        event: the contract of the table's rows.
        now: what the index has to stand for.
        oldest_hour: first event hour (since the epoch) that a coming record may be searched in.
    """
    stamp = index.stamp
    if stamp == now and index.oldest_hour <= oldest_hour:
        return
    rows = spark.table(table.name)
    missing = _rows_above(rows, table, stamp, now) if stamp is not None else None
    if missing is None or index.oldest_hour > oldest_hour:
        if now.snapshot_id is not None:
            logger.info("Building the dedupe index of %s from its rows.", table.name)
        index.clear()
        missing = rows
    if now.snapshot_id is not None:
        since = f.timestamp_seconds(f.lit(oldest_hour * 3600)).cast("timestamp_ntz")
        for numbers in keys_of(missing.where(f.col("event_ts") >= since), event.name):
            index.add_bulk(numbers[:, 0], numbers[:, 1:], oldest_hour)
    index.seal(now, oldest_hour)


def _rows_above(rows: DataFrame, table: JobTable, stamp: Stamp, now: Stamp) -> DataFrame | None:
    """The rows landed since the stamp, or None where that cannot be said from offsets alone."""
    if (stamp.table_uuid, stamp.topic_id) != (now.table_uuid, now.topic_id):
        return None
    for snapshot in table.snapshots_back():
        if snapshot.snapshot_id == stamp.snapshot_id:
            break
        if snapshot.operation == "replace":
            continue
        if snapshot.mark is None or snapshot.mark.kind is not MarkKind.STREAM:
            return None
    else:
        return None
    above = f.lit(False)
    for partition, end in now.until.items():
        start = stamp.until.get(partition, 0)
        if end > start:
            above = above | (
                (f.col("kafka_partition") == partition) & (f.col("kafka_offset") >= start)
            )
    return rows.where((f.col("kafka_topic_id") == now.topic_id) & above)


def keys_of(rows: DataFrame, event_name: str) -> "Iterator[npt.NDArray[np.int64]]":
    """Event hour, key high, key low and content of an event table's rows, chunk by chunk."""
    event = event_named(event_name)
    keys = rows.select(*(field.name for field in event.fields), "extra").mapInArrow(
        _hashing(event_name), "keys binary"
    )
    for row in keys.toLocalIterator():
        yield np.frombuffer(row["keys"], dtype=np.int64).reshape(-1, 4)


def _hashing(event_name: str) -> "Callable[[Any], Iterator[pa.RecordBatch]]":
    """The function that Spark's Python workers run: rows to (hour, key high, key low, content)."""

    def run(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        event = event_named(event_name)
        for batch in batches:
            numbers = np.empty((batch.num_rows, 4), dtype=np.int64)
            for position, values in enumerate(batch.to_pylist()):
                canonical = canonical_text(event.fields, values)
                numbers[position] = (
                    values[EVENT_TIME_FIELD] // HOUR_MS,
                    *key_hash(values[EVENT_ID_FIELD]),
                    content_key(canonical, values["extra"]),
                )
            yield pa.record_batch([pa.array([numbers.tobytes()], pa.binary())], names=["keys"])

    return run
