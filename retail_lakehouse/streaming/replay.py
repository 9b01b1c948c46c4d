"""Judging quarantined records again, by today's contract.

Here: choosing them, judging them, landing the good ones. Not here: the asset around it.

The originals stay; what became of each is appended beside it with the replay's id. Rows are
committed before outcomes: a kill between the two is mended by the next replay, which finds a
record's arrival among the rows and only writes its outcome.

A record of an earlier topic id (the topic was made again since) is judged as any other. It came
before all records of the later ids, so it is decided before them. Its row keeps the topic id it
came by; marks count no replayed row, so the current topic's totals stay what they are.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retail_lakehouse.contracts.events import (
    EVENT_ID_FIELD,
    EVENT_TIME_FIELD,
    EventContract,
    event_named,
)
from retail_lakehouse.contracts.mark import Mark, MarkKind
from retail_lakehouse.contracts.reasons import Reason
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.dedupe.decide import Verdict, decide
from retail_lakehouse.dedupe.records import HOUR_MS, Longs, Records
from retail_lakehouse.streaming.lock import topic_lease
from retail_lakehouse.streaming.progress import ENGINE

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from retail_lakehouse.streaming.iceberg import JobTable

MAX_RECORDS = 50_000
_FOREVER_HOURS = 24 * 365 * 200
_IDENTITY = ["kafka_topic_id", "kafka_partition", "kafka_offset", "kafka_timestamp"]
"""What tells records apart: see `coordinates.Arrival`."""


class ReplayError(RuntimeError):
    """A replay that cannot be done as asked."""


@dataclass(frozen=True, slots=True)
class ReplaySelection:
    """Which quarantined records to judge again: all that match, up to `limit`.

    Those that replays have kept least often come first; of them earlier topics' before the current
    one's, by partition and offset. So a limit may let a later copy of an event land before the
    first one, which was kept: choose both, or no limit.

    `offsets` maps partitions to (from, to) with `to` exclusive; empty means every offset.
    """

    reasons: tuple[str, ...] = ()
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    limit: int = 10_000


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What became of the chosen records.

    `earlier_topics` counts those among them that came by an earlier topic id. `waiting` counts
    records that match but were not chosen, as their batch has yet to land: a running job lands it
    soon; where the broker lost its records, others have to take their offsets first.
    """

    chosen: int
    landed: int
    duplicates: int
    kept: int
    kept_by_reason: dict[str, int]
    earlier_topics: dict[str, int] = field(default_factory=dict)
    waiting: int = 0


def replay_quarantine(
    spark: "SparkSession",
    event_name: str,
    selection: ReplaySelection,
    run_id: str,
    *,
    catalog_name: str,
    topic_locks: Path | None,
) -> ReplayReport:
    """Judges chosen quarantined records by today's contract and lands the good ones.

    Holds the topic's lease meanwhile: a running job yields between two batches.

    Raises:
        ReplayError: the selection is too large, or the tables have never been written.
        NoLeaseError: the profile has no lock that a running job answers to.
        LockHeldError: the running job did not yield in time.
    """
    if not 1 <= selection.limit <= MAX_RECORDS:
        raise ReplayError(
            f"A replay takes 1 to {MAX_RECORDS} records at a time, not {selection.limit}: choose a "
            "limit in between and replay again for the rest."
        )
    event = event_named(event_name)
    with topic_lease(topic_locks, event.topic):
        return _Replay(spark, catalog_name, event, run_id).run(selection)


class _Replay:
    def __init__(
        self, spark: "SparkSession", catalog_name: str, event: EventContract, run_id: str
    ) -> None:
        from retail_lakehouse.streaming.iceberg import JobTable

        self._spark = spark
        self._event = event
        self._run_id = run_id
        self._started_ms = int(time.time() * 1000)
        self._rows = JobTable(spark, catalog_name, event_table(event))
        self._quarantine = JobTable(spark, catalog_name, quarantine_table(event))

    def run(self, selection: ReplaySelection) -> ReplayReport:
        from pyspark.sql import functions as f

        rows_mark, quarantine_mark = self._rows.last_mark(), self._quarantine.last_mark()
        if quarantine_mark is None or rows_mark is None:
            raise ReplayError(
                f"{self._quarantine.name} or its event table has never been written: there is "
                "nothing to replay. Let the streaming job finish its first batch."
            )
        matching = self._matching(selection).withColumn("covered", _covered(rows_mark))
        waiting = matching.where("NOT covered").count()
        # Not cached: each commit to the quarantine would have Spark choose again.
        chosen = self._chosen(matching, selection.limit, rows_mark).localCheckpoint()
        outcomes: Counter[str] = Counter()
        kept_by_reason: Counter[str] = Counter()
        by_topic_id = _oldest_first(chosen, rows_mark)
        for topic_id in by_topic_id:
            of_topic = chosen.where(f.col("kafka_topic_id") == topic_id)
            told = self._judge_again(of_topic, topic_id, rows_mark, quarantine_mark)
            outcomes += told[0]
            kept_by_reason += told[1]
        return ReplayReport(
            chosen=outcomes.total(),
            landed=outcomes["landed"],
            duplicates=outcomes["duplicate"],
            kept=outcomes["kept"],
            kept_by_reason=dict(kept_by_reason),
            earlier_topics={
                topic_id: count
                for topic_id, count in by_topic_id.items()
                if topic_id != rows_mark.topic_id
            },
            waiting=waiting,
        )

    def _judge_again(
        self, chosen: "DataFrame", topic_id: str, rows_mark: Mark, quarantine_mark: Mark
    ) -> tuple[Counter[str], Counter[str]]:
        """Judges one topic id's records and commits; counts by outcome, and the kept by reason."""
        from retail_lakehouse.streaming import transform
        from retail_lakehouse.streaming.coordinates import collected, with_facts

        judged = transform.judged(chosen, self._event, {}).cache()
        try:
            records = collected(judged)
            landed_before = self._landed_before(records, topic_id)
            # Past the horizon a stream lands without a search; a replay comes after it and must
            # not double what is there, so it searches without a horizon.
            landed_keys = _TableKeys(self._rows, self._event, judged, records)
            verdict = decide(records, landed_keys, _FOREVER_HOURS).verdict
            lands = records.good & (verdict == Verdict.LANDS) & ~landed_before
            duplicate = records.good & (verdict == Verdict.DUPLICATE) & ~landed_before
            if lands.any():
                rows = transform.landing_rows(
                    with_facts(judged, records, {"lands": lands}).where("lands"),
                    self._rows.contract,
                    self._event.topic,
                    topic_id,
                    self._started_ms,
                )
                self._rows.append(
                    rows.coalesce(1), self._carried(rows_mark), self._rows.landing_spec_id()
                )
            outcome = np.select([lands | landed_before, duplicate], ["landed", "duplicate"], "kept")
            outcomes = self._outcomes(judged, chosen, records, outcome, topic_id)
            kept = self._commit_outcomes(outcomes, quarantine_mark)
        finally:
            judged.unpersist()
        return Counter(outcome.tolist()), kept

    def _commit_outcomes(self, outcomes: "DataFrame", quarantine_mark: Mark) -> Counter[str]:
        """Appends what became of each record; returns the reasons of those that are kept."""
        outcomes = outcomes.cache()
        try:
            kept = Counter(
                row["reason"]
                for row in outcomes.where("outcome = 'kept'").select("reason").collect()
            )
            self._quarantine.append(
                outcomes.coalesce(1),
                self._carried(quarantine_mark),
                self._quarantine.landing_spec_id(),
            )
        finally:
            # Left behind, it would be computed again at every later commit of this session.
            outcomes.unpersist()
        return kept

    def _carried(self, mark: Mark) -> Mark:
        return mark.carried(
            MarkKind.REPLAY,
            self._run_id,
            self._started_ms,
            engine=ENGINE,
            contract_version=self._event.version,
        )

    def _matching(self, selection: ReplaySelection) -> "DataFrame":
        """The originals that match and are not settled, each once, with how often it was kept."""
        from pyspark.sql import functions as f

        table = self._spark.table(self._quarantine.name)
        settled = table.where(f.col("outcome").isin("landed", "duplicate"))
        kept = table.where(f.col("outcome") == "kept")
        originals = table.where(f.col("outcome") == "quarantined")
        if selection.reasons:
            originals = originals.where(f.col("reason").isin(list(selection.reasons)))
        if selection.offsets:
            chosen = f.lit(False)
            for partition, (start, end) in selection.offsets.items():
                chosen = chosen | (
                    (f.col("kafka_partition") == partition)
                    & f.col("kafka_offset").between(start, end - 1)
                )
            originals = originals.where(chosen)
        times_kept = kept.groupBy(*_IDENTITY).agg(f.count("*").alias("kept"))
        return (
            originals.join(settled, _IDENTITY, "left_anti")
            .join(times_kept, _IDENTITY, "left")
            .fillna(0, "kept")
        )

    def _chosen(self, matching: "DataFrame", limit: int, rows_mark: Mark) -> "DataFrame":
        """The first of the covered ones, also under the names of Spark's Kafka source."""
        from pyspark.sql import functions as f

        is_current = f.col("kafka_topic_id") == rows_mark.topic_id
        return (
            matching.where("covered")
            # Those that no replay could land come last: they must not fill every limit to come.
            .orderBy("kept", is_current, *_IDENTITY)
            .limit(limit)
            .select(
                *_IDENTITY,
                f.col("kafka_key").alias("key"),
                f.col("raw").alias("value"),
                f.col("kafka_partition").alias("partition"),
                f.col("kafka_offset").alias("offset"),
                f.col("kafka_timestamp").cast("timestamp").alias("timestamp"),
                f.col("reason").alias("first_reason"),
            )
        )

    def _landed_before(self, records: Records, topic_id: str) -> npt.NDArray[np.bool_]:
        """Which of the records a replay has landed that was killed before it said so."""
        from pyspark.sql import functions as f

        from retail_lakehouse.streaming.coordinates import arrivals, listed, only

        table = self._spark.table(self._rows.name).where(f.col("kafka_topic_id") == topic_id)
        return listed(records, arrivals(only(table, records.partition, records.offset)))

    def _outcomes(
        self,
        judged: "DataFrame",
        chosen: "DataFrame",
        records: Records,
        outcome: npt.NDArray[np.str_],
        topic_id: str,
    ) -> "DataFrame":
        """The quarantine's rows that say what became of each record.

        One that is good now keeps the reason it was quarantined for; one that is kept has the
        reason that holds today.
        """
        from pyspark.sql import functions as f

        from retail_lakehouse.streaming import transform
        from retail_lakehouse.streaming.coordinates import with_facts

        of_record = ["kafka_partition", "kafka_offset", "kafka_timestamp"]
        first = chosen.select(*of_record, "first_reason")
        kept = f.col("decided") == "kept"
        settled = (
            with_facts(judged.where(f.col("packed").isNull()), records, {"decided": outcome})
            .join(f.broadcast(first), of_record)
            .withColumn(
                "detail",
                f.coalesce(
                    "detail",
                    f.when(kept, transform.CONFLICT_DETAIL).otherwise("Good by today's contract."),
                ),
            )
            .withColumn(
                "reason",
                f.coalesce(
                    "reason",
                    f.when(kept, Reason.CONFLICT.value).otherwise(f.col("first_reason")),
                ),
            )
            .withColumn("outcome", f.col("decided"))
            .withColumn("replay_id", f.lit(self._run_id))
        )
        return transform.quarantine_rows(
            settled, self._quarantine.contract, self._event, topic_id, self._started_ms
        )


def _covered(rows_mark: Mark) -> "Column":
    """The quarantined records whose batch has landed.

    Above the event table's `until` a batch is still to be landed, and a replayed record would come
    before the first arrival of its key. Of an earlier topic no batch can land any more: a job takes
    up a topic that was made again by saying so in the event table's mark, before anything else.
    """
    from pyspark.sql import functions as f

    from retail_lakehouse.streaming.coordinates import below

    return (f.col("kafka_topic_id") != rows_mark.topic_id) | below(rows_mark.until)


def _oldest_first(chosen: "DataFrame", rows_mark: Mark) -> dict[str, int]:
    """How many of the chosen records came by each topic id; the current id is the last."""
    from pyspark.sql import functions as f

    found = chosen.groupBy("kafka_topic_id").agg(f.count("*"), f.min("kafka_timestamp")).collect()
    found.sort(key=lambda row: (row[0] == rows_mark.topic_id, row[2]))
    return {row[0]: row[1] for row in found}


class _TableKeys:
    """What has landed of the replayed records' keys, read from the table once."""

    def __init__(
        self, table: "JobTable", event: EventContract, judged: "DataFrame", records: Records
    ) -> None:
        from pyspark.sql import functions as f

        from retail_lakehouse.streaming.index_sync import keys_of

        self._found: dict[tuple[int, int, int], int] = {}
        hours = records.event_hour[records.good]
        if not len(hours):
            return
        good = judged.where(f.col("packed").isNull() & f.col("reason").isNull())
        span = int(hours.min()) * HOUR_MS, (int(hours.max()) + 1) * HOUR_MS - 1
        rows = (
            judged.sparkSession.table(table.name)
            .where(f.col(EVENT_TIME_FIELD).between(*span))
            .join(f.broadcast(good.select(EVENT_ID_FIELD).distinct()), EVENT_ID_FIELD, "left_semi")
        )
        for numbers in keys_of(rows, event):
            for hour, high, low, content in numbers.tolist():
                self._found.setdefault((hour, high, low), content)

    def find(
        self, hour: int, key_high: Longs, key_low: Longs
    ) -> tuple[npt.NDArray[np.bool_], Longs]:
        """For each key of the event hour: whether it has landed, and its content hash."""
        hits = [
            self._found.get((hour, high, low))
            for high, low in zip(key_high.tolist(), key_low.tolist(), strict=True)
        ]
        return (
            np.array([hit is not None for hit in hits], dtype=np.bool_),
            np.array([hit or 0 for hit in hits], dtype=np.int64),
        )
