"""One micro-batch: judge, quarantine, deduplicate, commit.

Here: the order of the steps and their two commits. Not here: the steps themselves, or when a
batch runs (`driver.py`).

The quarantine is committed first, under its own mark; then the rows under theirs. A kill between
the two is harmless: the next run asks the quarantine which records it has already.
"""

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from retail_lakehouse.contracts.canonical import content_form
from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.mark import Mark
from retail_lakehouse.contracts.reasons import Reason
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.dedupe.decide import Verdict, by_arrival, decide, searched
from retail_lakehouse.dedupe.key_index import KeyIndex, Stamp
from retail_lakehouse.dedupe.records import HOUR_MS, Records
from retail_lakehouse.streaming import transform
from retail_lakehouse.streaming.coordinates import (
    Arrival,
    arrivals,
    collected,
    listed,
    only,
    without,
)
from retail_lakehouse.streaming.iceberg import JobTable, TableNotReadyError
from retail_lakehouse.streaming.index_sync import sync_index
from retail_lakehouse.streaming.progress import (
    BatchFacts,
    Progress,
    after_quarantine,
    after_rows,
    declared_mark,
    declared_quarantine_mark,
    quarantine_mark,
    rows_mark,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

EXPIRE_EVERY_SECONDS = 120
KEEP_HOURS_PAST_HORIZON = 6
"""Hours that the index keeps past the horizon: a partition that lags behind the others brings
records whose horizon lies further back, and rebuilding the index for each would be dear."""


class AnotherWriterError(RuntimeError):
    """Somebody else has moved a table's mark since this writer's last commit."""


class TopicWriter:
    """Writes one topic into its two tables. Its caller holds the topic's lock.

    `meanwhile` is called again and again while the index is brought to its table, and ends that by
    raising: nothing of a batch has landed by then.
    """

    def __init__(
        self,
        spark: SparkSession,
        catalog: str,
        event: EventContract,
        index: KeyIndex,
        horizon_hours: int,
        retention_minutes: int,
        run_id: str,
        meanwhile: "Callable[[], None]" = lambda: None,
    ) -> None:
        self.event = event
        self.rows = JobTable(spark, catalog, event_table(event))
        self.quarantine = JobTable(spark, catalog, quarantine_table(event))
        self._spark = spark
        self._index = index
        self._horizon_hours = horizon_hours
        self._retention_minutes = retention_minutes
        self._run_id = run_id
        self._meanwhile = meanwhile
        self._progress: Progress | None = None
        self._held: frozenset[Arrival] = frozenset()
        self._rows_spec = self.rows.landing_spec_id()
        self._quarantine_spec = self.quarantine.landing_spec_id()
        self._uuid = self.rows.uuid()
        self._expired_at = time.monotonic()

    def marks(self) -> tuple[Mark | None, Mark | None]:
        """The last marks of the two tables: rows, quarantine."""
        return self.rows.last_mark(), self.quarantine.last_mark()

    @property
    def progress(self) -> Progress:
        """Where the writer stands; `resume` must have been called."""
        assert self._progress is not None  # noqa: S101
        return self._progress

    def resume(self, progress: Progress) -> None:
        """Takes up from `progress`, with the index brought to the table's current snapshot."""
        self._progress = progress
        mark = self.rows.last_mark()
        oldest = mark.broker_time.oldest_ms if mark else None
        if oldest is not None:
            floor = self._floor(oldest)
        elif self._index.stamp is not None:
            floor = self._index.oldest_hour
        else:
            floor = self._floor(int(time.time() * 1000))
        self._sync_index(floor)
        self._held = self._quarantined_ahead()

    def declare(self, marked: Progress) -> None:
        """Commits marks without rows: progress that was moved by hand must survive this run.

        `marked` is what the tables' marks say; the quarantine is left alone where it agrees.
        """
        told = self.progress, self.event, self._run_id, int(time.time() * 1000)
        # The rows first, unlike in a batch. Killed in between, their moved offset is the one read
        # from, and the quarantine's old one at worst asks for the acceptance again. The other way
        # round, a broker that meanwhile grew past the rows' old offset would hide the records
        # below it for good.
        self._append_nothing(self.rows, declared_mark(*told), self._rows_spec)
        if self.progress.quarantine_until != marked.quarantine_until:
            mark = declared_quarantine_mark(*told)
            self._append_nothing(self.quarantine, mark, self._quarantine_spec)

    def _append_nothing(self, table: JobTable, mark: Mark, spec_id: int) -> None:
        table.append(self._spark.table(table.name).where("false"), mark, spec_id)

    def write(self, batch: DataFrame, planned_end: "Mapping[int, int]") -> None:
        """Lands one micro-batch whose end offsets (exclusive) are `planned_end`."""
        progress = self.progress
        started_ms = int(time.time() * 1000)
        if all(end <= progress.until.get(p, 0) for p, end in planned_end.items()):
            logger.info("The batch up to %s has landed before: nothing to do.", dict(planned_end))
            return
        judged = transform.judged(batch, self.event, progress.until)
        judged.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            records = collected(judged)
            facts = self._facts(records, planned_end, started_ms)
            self._commit_quarantine(judged, facts)
            self._commit_rows(judged, facts)
        finally:
            judged.unpersist()
        self._expire_now_and_then()

    def _facts(
        self, records: Records, planned_end: "Mapping[int, int]", started_ms: int
    ) -> BatchFacts:
        held = listed(records, self._held)
        records = replace(records, good=records.good & ~held)
        hours = records.event_hour[searched(records, self._horizon_hours)]
        if len(hours) and int(hours.min()) < self._index.oldest_hour:
            self._sync_index(self._floor(int(records.broker_ms.min())))
        decision = decide(records, self._index, self._horizon_hours)
        return BatchFacts(records, decision, dict(planned_end), started_ms, held)

    def _quarantined_ahead(self) -> frozenset[Arrival]:
        """The records that are in quarantine but past the rows' mark.

        A kill came between the two commits. The records are judged again, perhaps by a newer
        contract; what is in quarantine stays there and nothing goes there twice.
        After an accepted loss others may have their offsets, but not their broker times as well.
        """
        progress = self.progress
        ahead = {
            partition: (progress.until.get(partition, 0), end)
            for partition, end in progress.quarantine_until.items()
            if end > progress.until.get(partition, 0)
        }
        if not ahead:
            return frozenset()
        within = f.lit(False)
        for partition, (start, end) in ahead.items():
            within |= (f.col("kafka_partition") == partition) & f.col("kafka_offset").between(
                start, end - 1
            )
        of_topic = f.col("kafka_topic_id") == progress.topic_id
        return arrivals(self._spark.table(self.quarantine.name).where(of_topic & within))

    def _floor(self, broker_ms: int) -> int:
        """First event hour that the index keeps for records from this broker time on."""
        return broker_ms // HOUR_MS - self._horizon_hours - KEEP_HOURS_PAST_HORIZON

    def _commit_quarantine(self, judged: DataFrame, facts: BatchFacts) -> None:
        progress = self.progress
        records, verdict = facts.records, facts.decision.verdict
        conflicts = records.good & (verdict == Verdict.CONFLICT)
        bad = ~records.good & ~facts.held
        quarantined = int(np.count_nonzero(conflicts)) + int(np.count_nonzero(bad))
        if not quarantined:
            return
        mark = quarantine_mark(progress, facts, quarantined, self.event, self._run_id)
        rejected = without(
            judged.where(f.col("packed").isNull() & f.col("reason").isNotNull()),
            records.partition[facts.held],
            records.offset[facts.held],
        )
        if conflicts.any():
            contradicting = only(
                judged.where(f.col("packed").isNull() & f.col("reason").isNull()),
                records.partition[conflicts],
                records.offset[conflicts],
            )
            rejected = rejected.unionByName(
                contradicting.withColumn("reason", f.lit(Reason.CONFLICT.value)).withColumn(
                    "detail", f.lit(transform.CONFLICT_DETAIL)
                )
            )
        rows = transform.quarantine_rows(
            rejected,
            self.quarantine.contract,
            self.event,
            progress.topic_id,
            facts.started_ms,
        )
        self._refuse_another_writer(self.quarantine, progress.quarantine_until)
        self.quarantine.append(rows.coalesce(1), mark, self._quarantine_spec)
        self._progress = after_quarantine(progress, mark)

    def _commit_rows(self, judged: DataFrame, facts: BatchFacts) -> None:
        progress = self.progress
        records, verdict = facts.records, facts.decision.verdict
        mark = rows_mark(progress, facts, self.event, self._run_id)
        rejected = facts.held | (records.good & (verdict != Verdict.LANDS))
        rows = transform.landing_rows(
            without(judged, records.partition[rejected], records.offset[rejected]),
            self.rows.contract,
            self.event.topic,
            progress.topic_id,
            facts.started_ms,
        )
        self._refuse_another_writer(self.rows, progress.until)
        begun = time.monotonic()
        self.rows.append(transform.in_two_files(rows, mark.batch.landed), mark, self._rows_spec)
        commit_ms = int((time.monotonic() - begun) * 1000)
        self._progress = after_rows(progress, mark, commit_ms)
        landed = by_arrival(records, np.flatnonzero(records.good & (verdict == Verdict.LANDS)))
        self._index.add(
            records.event_hour[landed],
            np.column_stack(
                [records.key_high[landed], records.key_low[landed], records.content[landed]]
            ),
            self._stamp(),
            self._floor(int(records.broker_ms.min())) if len(records) else self._index.oldest_hour,
        )
        logger.info(
            "Landed %d of %d records in %d ms (%d quarantined, %d duplicates), commit %d ms.",
            mark.batch.landed,
            mark.batch.read,
            int(time.time() * 1000) - facts.started_ms,
            mark.batch.quarantined,
            mark.batch.duplicates,
            commit_ms,
        )

    def _refuse_another_writer(self, table: JobTable, until: "Mapping[int, int]") -> None:
        """Looks at the table's mark once more: an append never conflicts with another append.

        The topic's lock is what keeps writers apart. Where it is an assumption (on Glue, whose
        runs may overlap when it starts one by itself), two would double rows without an error.

        Raises:
            AnotherWriterError: the mark is not where this writer left it.
        """
        mark = table.last_mark()
        of_topic = mark is not None and mark.topic_id == self.progress.topic_id
        found = dict(mark.until) if mark is not None and of_topic else {}
        if found != dict(until):
            raise AnotherWriterError(
                f"The last mark of {table.name} stands at {found}, and this writer left it at "
                f"{dict(until)}: another run writes the same tables. Nothing of this batch was "
                "committed; see that one run of the job is active, then start it again."
            )

    def _sync_index(self, oldest_hour: int) -> None:
        sync_index(
            self._spark,
            self._index,
            self.rows,
            self.event,
            self._stamp(),
            oldest_hour,
            self._meanwhile,
        )

    def _stamp(self) -> Stamp:
        return Stamp(
            table_uuid=self._uuid,
            snapshot_id=self.rows.current_snapshot_id(),
            topic_id=self.progress.topic_id,
            until=dict(self.progress.until),
            content_form=content_form(self.event.fields),
        )

    def _expire_now_and_then(self) -> None:
        if time.monotonic() - self._expired_at < EXPIRE_EVERY_SECONDS:
            return
        older_than_ms = int(time.time() * 1000) - self._retention_minutes * 60_000
        self._expired_at = time.monotonic()
        for table in (self.rows, self.quarantine):
            try:
                table.expire(older_than_ms)
            except (Py4JJavaError, TableNotReadyError) as error:
                # The batch has landed; snapshots that wait for the next turn harm nobody.
                logger.warning("Expiring snapshots of %s failed: %s", table.name, error)


def progress_from(
    marks: tuple[Mark | None, Mark | None], cluster_id: str, topic_id: str
) -> Progress:
    """Progress from the two tables' last marks."""
    return Progress.of_marks(cluster_id, topic_id, *marks)


def moved(progress: Progress, until: dict[int, int], quarantine_until: dict[int, int]) -> Progress:
    """Progress whose offsets were moved past an accepted loss."""
    return replace(progress, until=until, quarantine_until=quarantine_until)
