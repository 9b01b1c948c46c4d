"""The engines under test, behind one interface.

Here: what the suite asks of an engine, and the Spark engine in that form. Not here: the tests.
An engine that joins adds one class and its name to `ENGINES`.
"""

import itertools
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.conformance.records import HORIZON_HOURS, Batch, end_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CLUSTER_ID = "cluster-of-the-suite"
TOPIC_ID = "topic-of-the-suite"


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the engine's may catch it."""


class Kill(Enum):
    """Where an engine dies while it writes a batch."""

    BEFORE_QUARANTINE = "before the quarantine's commit"
    BETWEEN_COMMITS = "between the quarantine's commit and the rows'"
    AFTER_ROWS = "after the rows' commit"


class Engine(Protocol):
    """One writer of one topic's tables, from its start on."""

    def write(self, batch: Batch, kill: Kill | None = None) -> None:
        """Lands one batch, which ends at the last offset of each of its partitions.

        With `kill` it raises Killed there, and is not used any more.
        """
        ...

    def replay(self, run_id: str) -> None:
        """Judges all quarantined records again; the engine is not used any more."""
        ...


StartEngine = Callable[[Settings, EventContract], Engine]
"""Starts an engine over the tables as they are, from their marks."""


class SparkEngine:
    """The Spark engine without Kafka: batches are DataFrames of the source's shape."""

    def __init__(
        self,
        spark: "SparkSession",
        settings: Settings,
        contract: EventContract,
        index: Path,
        topic_id: str = TOPIC_ID,
    ) -> None:
        from retail_lakehouse.dedupe.key_index import KeyIndex
        from retail_lakehouse.streaming.writer import TopicWriter, progress_from

        self._spark = spark
        self._settings = settings
        self._contract = contract
        keys = KeyIndex(index)
        keys.open()
        self._writer = TopicWriter(
            spark,
            settings.catalog_name,
            contract,
            keys,
            HORIZON_HOURS,
            settings.retention_minutes,
            run_id="conformance",
        )
        self._writer.resume(progress_from(self._writer.marks(), CLUSTER_ID, topic_id))

    def write(self, batch: Batch, kill: Kill | None = None) -> None:
        """Lands one batch."""
        if kill is Kill.BEFORE_QUARANTINE:
            self._die_at(self._writer.quarantine, after=False)
        if kill is Kill.BETWEEN_COMMITS:
            self._die_at(self._writer.rows, after=False)
        if kill is Kill.AFTER_ROWS:
            self._die_at(self._writer.rows, after=True)
        self._writer.write(self._frame(batch), end_of(batch))

    def replay(self, run_id: str) -> None:
        """Judges all quarantined records again."""
        from retail_lakehouse.streaming.replay import ReplaySelection, replay_quarantine

        replay_quarantine(
            self._spark,
            self._contract.name,
            ReplaySelection(),
            run_id,
            catalog_name=self._settings.catalog_name,
            topic_locks=self._settings.topic_locks,
        )

    def _die_at(self, table: Any, *, after: bool) -> None:
        append = table.append

        def dying(*arguments: Any) -> None:
            if after:
                append(*arguments)
            raise Killed

        table.append = dying

    def _frame(self, batch: Batch) -> "DataFrame":
        from pyspark.sql import functions as f

        rows = [
            (r.key, r.value, self._contract.topic, r.partition, r.offset, r.timestamp_ms)
            for r in batch
        ]
        frame = self._spark.createDataFrame(
            rows, "key binary, value binary, topic string, partition int, offset long, ms long"
        )
        return frame.withColumn("timestamp", f.timestamp_millis("ms")).drop("ms")


def spark_engine(spark: "SparkSession", folder: Path, topic_id: str = TOPIC_ID) -> StartEngine:
    """Starts Spark engines, each with an index of its own: a cold one must be as good."""
    numbers = itertools.count()

    def start(settings: Settings, contract: EventContract) -> Engine:
        return SparkEngine(
            spark, settings, contract, folder / f"{topic_id}-index-{next(numbers)}", topic_id
        )

    return start


def land(
    start: StartEngine, settings: Settings, contract: EventContract, batches: Sequence[Batch]
) -> None:
    """Lands all batches in one run of the engine."""
    engine = start(settings, contract)
    for batch in batches:
        engine.write(batch)
