"""Bringing the dedupe index to what its table holds.

Here: catching up from the files added since the index's stamp, and rebuilding on any doubt. Not
here: the index itself (`dedupe/key_index.py`).
"""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from retail_lakehouse.contracts.canonical import canonical_text
from retail_lakehouse.contracts.events import EVENT_ID_FIELD, EVENT_TIME_FIELD, EventContract
from retail_lakehouse.contracts.judge import as_of_today
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
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Makes the index stand for `now`, by the cheapest way that is certain.

    Args:
        spark: the job's session.
        index: the opened index.
        table: the event table, whose current snapshot is `now.snapshot_id`.
        event: the contract of the table's rows.
        now: what the index has to stand for.
        oldest_hour: first event hour (since the epoch) that a coming record may be searched in.
        meanwhile: called again and again while rows are read, and ends that by raising; what was
            read does not count then.
    """
    stamp = index.stamp
    if stamp == now and index.oldest_hour <= oldest_hour:
        return
    catches_up = stamp is not None and _continues(table, stamp, now)
    if not catches_up or index.oldest_hour > oldest_hour:
        if now.snapshot_id is not None:
            logger.info("Building the dedupe index of %s from its rows.", table.name)
        index.clear()
        stamp = None
    since_snapshot = stamp.snapshot_id if stamp is not None else None
    if now.snapshot_id not in (None, since_snapshot):
        missing = _added(spark, table, since_snapshot, now.snapshot_id)
        since = f.timestamp_seconds(f.lit(oldest_hour * 3600)).cast("timestamp_ntz")
        for numbers in keys_of(missing.where(f.col("event_ts") >= since), event):
            meanwhile()
            index.add_bulk(numbers[:, 0], numbers[:, 1:], oldest_hour)
    index.seal(now, oldest_hour)


def _continues(table: JobTable, stamp: Stamp, now: Stamp) -> bool:
    """Whether all that happened to the table since the stamp is that rows were added or erased.

    The keys of erased rows stay: a copy that a producer sends again would bring the customer back.
    An index that is built anew does not know them.
    """
    if (stamp.table_uuid, stamp.content_form) != (now.table_uuid, now.content_form):
        return False
    is_erasure = False
    for snapshot in table.snapshots_back():
        if snapshot.snapshot_id == stamp.snapshot_id:
            return True
        if snapshot.mark is not None:
            # An erasure closes with a mark of its own, on top of its delete.
            is_erasure = snapshot.mark.kind is MarkKind.ERASURE
        if snapshot.operation not in ("append", "replace") and not is_erasure:
            return False
    return stamp.snapshot_id is None


def _added(spark: SparkSession, table: JobTable, since: int | None, to: int | None) -> DataFrame:
    """The rows appended after the snapshot `since` (None: all rows), up to `to`.

    By files and not by offsets: what a backfill or a replay has added has none, or low ones.
    Their files are there for as long as the older snapshot `since` has not expired.
    """
    if since is None:
        return spark.table(table.name)
    reader = spark.read.format("iceberg").option("start-snapshot-id", str(since))
    return reader.option("end-snapshot-id", str(to)).load(table.name)


def keys_of(rows: DataFrame, event: EventContract) -> "Iterator[npt.NDArray[np.int64]]":
    """Event hour, key high, key low and content of an event table's rows, chunk by chunk."""
    keys = rows.select(*(field.name for field in event.fields), "extra").mapInArrow(
        _hashing(event), "keys binary"
    )
    for row in keys.toLocalIterator():
        yield np.frombuffer(row["keys"], dtype=np.int64).reshape(-1, 4)


def _hashing(event: EventContract) -> "Callable[[Any], Iterator[pa.RecordBatch]]":
    """The function that Spark's Python workers run: rows to (hour, key high, key low, content)."""

    def run(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        for batch in batches:
            numbers = np.empty((batch.num_rows, 4), dtype=np.int64)
            for position, row in enumerate(batch.to_pylist()):
                values, extra = row, row["extra"]
                if extra is not None:
                    # Else a copy of a record that landed before the contract knew its field would
                    # be taken for a conflict.
                    values, extra = as_of_today(event, row, extra)
                canonical = canonical_text(event.fields, values)
                numbers[position] = (
                    values[EVENT_TIME_FIELD] // HOUR_MS,
                    *key_hash(values[EVENT_ID_FIELD]),
                    content_key(canonical, extra),
                )
            yield pa.record_batch([pa.array([numbers.tobytes()], pa.binary())], names=["keys"])

    return run
