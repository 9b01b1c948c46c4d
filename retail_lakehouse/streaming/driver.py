"""The life of a streaming job: lock, start-up checks, query, yielding, stopping.

Here: the thin edge between Spark's query and the writer. Not here: what a batch does.
"""

import contextlib
import logging
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from py4j.protocol import Py4JJavaError, Py4JNetworkError
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from retail_lakehouse.contracts.events import EventContract, event_named
from retail_lakehouse.contracts.mark import MarkError
from retail_lakehouse.dedupe.key_index import KeyIndex
from retail_lakehouse.streaming import checkpoint, kafka, startup
from retail_lakehouse.streaming.arguments import EXIT_KEPT_OUT, EXIT_NEEDS_A_PERSON, JobArguments
from retail_lakehouse.streaming.iceberg import TableNotReadyError, java_words
from retail_lakehouse.streaming.jvm_watch import end_with_jvm
from retail_lakehouse.streaming.kafka import KafkaUnavailableError
from retail_lakehouse.streaming.lock import JvmFileLock, LockHeldError, SingleRun, TopicLock
from retail_lakehouse.streaming.session import spark_session
from retail_lakehouse.streaming.writer import (
    AnotherWriterError,
    TopicWriter,
    moved,
    progress_from,
)

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_SECONDS = 60
FINISH_BATCH_SECONDS = 6
_POLL_SECONDS = 1


def run_streaming_job(event_name: str, argv: Sequence[str]) -> int:
    """Runs the event's streaming job until it is told to stop; returns the exit status.

    0: stopped when asked. 1: failed, start it again. 3: records are lost, a mark cannot be read, or
    a checkpoint cannot be moved aside; a person has to look. 4: another job keeps the topic's lock.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    for noisy in ("py4j", "numexpr"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    arguments = JobArguments.parse(argv)
    spark = spark_session(arguments)
    end_with_jvm(spark, event_name)
    try:
        return StreamingJob(spark, arguments, event_named(event_name)).run()
    except (startup.LossError, MarkError, checkpoint.CheckpointStuckError) as error:
        logger.error("%s", error)
        return EXIT_NEEDS_A_PERSON
    except LockHeldError as error:
        logger.error("%s", error)
        return EXIT_KEPT_OUT
    except (
        KafkaUnavailableError,
        TableNotReadyError,
        StaleProgressError,
        AnotherWriterError,
    ) as error:
        logger.error("%s", error)
        return 1
    except StreamingQueryException as error:
        logger.error("The query of %s failed: %s", event_name, str(error).strip())
        return 1
    except (Py4JNetworkError, ConnectionError) as error:
        logger.error("The JVM of %s is gone (%s). Start the job again.", event_name, error)
        return 1
    except (Py4JJavaError, PySparkException) as error:
        # Such as a checkpoint's folder that the role may not read.
        logger.error(
            "The job of %s failed (%s). Mend what that names, then start the job again.",
            event_name,
            java_words(error),
        )
        return 1
    finally:
        # A JVM that is gone has nothing left to stop, and must not hide why the job ends.
        with contextlib.suppress(Py4JNetworkError, ConnectionError):
            spark.stop()


class StopRequestedError(RuntimeError):
    """The job was asked to stop; what it has not landed is left to its next run."""


class StaleProgressError(RuntimeError):
    """The marks moved under a running query, which has to start again from them."""


class StreamingJob:
    """One run of one topic's job."""

    def __init__(self, spark: SparkSession, arguments: JobArguments, event: EventContract) -> None:
        self._spark = spark
        self._arguments = arguments
        self._event = event
        self._stop = threading.Event()
        # Held while a batch runs: whoever takes it stands between two batches.
        self._between_batches = threading.Lock()
        jvm: Any = spark._jvm
        self._lock: TopicLock = (
            JvmFileLock(jvm, Path(arguments.lock_dir), event.topic)
            if arguments.lock_dir
            else SingleRun()
        )
        self._index = KeyIndex(Path(arguments.index_dir))
        self._files = checkpoint.CheckpointFiles(spark, arguments.checkpoint)
        self._writer: TopicWriter | None = None
        self._topic_ids: kafka.TopicIdWatch | None = None

    def run(self) -> int:
        """Takes the lock, checks, and streams until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        try:
            if self._take_lock():
                self._stream()
        except StopRequestedError as asked:
            logger.info("%s", asked)
        return 0

    def _stream(self) -> None:
        query: StreamingQuery | None = None
        try:
            with self._jobs_end_with_a_stop():
                query = self._start()
            self._watch(query)
        finally:
            # From here on no batch may begin: the writer's progress may be stale, and after a
            # yield the lock another's.
            self._stop.set()
            if query is not None and query.isActive:
                query.stop()
            self._index.close()
            if query is None or not query.isActive:
                # Else a commit may still run in the JVM: the lock goes with its process.
                self._lock.release()

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    @contextlib.contextmanager
    def _jobs_end_with_a_stop(self) -> Iterator[None]:
        """Ends Spark's jobs when a stop is asked for: one that builds the index may take minutes.

        A thread of its own does it: this one may be waiting for the JVM's answer.
        """
        done = threading.Event()

        def cancel() -> None:
            self._stop.wait()
            if not done.is_set():
                # A JVM that is gone has no jobs left.
                with contextlib.suppress(Py4JJavaError, Py4JNetworkError, ConnectionError):
                    self._spark.sparkContext.cancelAllJobs()

        threading.Thread(target=cancel, name="cancel-jobs", daemon=True).start()
        try:
            yield
        except (Py4JJavaError, PySparkException):
            self._refuse_when_stopping()
            raise
        finally:
            done.set()

    def _start(self) -> StreamingQuery:
        arguments, event = self._arguments, self._event
        writer = TopicWriter(
            self._spark,
            arguments.catalog_name,
            event,
            self._index,
            arguments.dedupe_horizon_hours,
            arguments.snapshot_retention_minutes,
            run_id=f"{arguments.job_name}-{uuid.uuid4().hex[:12]}",
            meanwhile=self._refuse_when_stopping,
        )
        self._writer = writer
        live = kafka.topic_facts(self._spark, arguments, event.topic)
        self._resume(live)
        self._topic_ids = kafka.TopicIdWatch(self._spark, arguments, event.topic)
        until = writer.progress.until
        self._reconcile_checkpoint(until, live.end)
        records = kafka.read_topic(
            self._spark, arguments, event.topic, startup.starting_offsets(live, until)
        )
        logger.info("Streaming %s from %s.", event.topic, until or "its first record")
        return (
            records.writeStream.queryName(arguments.job_name)
            .foreachBatch(self._on_batch)
            .option("checkpointLocation", arguments.checkpoint)
            .trigger(processingTime=f"{int(arguments.trigger_seconds * 1000)} milliseconds")
            .start()
        )

    def _resume(self, live: kafka.TopicFacts) -> None:
        writer, topic = self._require_writer(), self._event.topic
        marks = writer.marks()
        told = self._arguments.accept_loss
        acceptance = startup.Acceptance.of(topic, live.topic_id, marks, told)
        startup.check_topic(topic, live, *marks, acceptance)
        startup.check_rows_have_mark(writer.rows.name, marks[0], writer.rows.row_count())
        marked = progress_from(marks, live.cluster_id, live.topic_id)
        until = startup.check_offsets(
            topic,
            live,
            marked.until,
            acceptance,
            from_the_first=startup.has_begun(marks[0], live.topic_id),
        )
        quarantine_until = startup.check_quarantine_offsets(
            topic, live, marked.until, until, marked.quarantine_until, acceptance
        )
        self._index.open()
        progress = moved(marked, until, quarantine_until)
        writer.resume(progress)
        made_again = marks[0] is not None and marks[0].topic_id != live.topic_id
        if progress != marked or made_again:
            writer.declare(marked)

    def _reconcile_checkpoint(self, until: dict[int, int], end: dict[int, int]) -> None:
        files = self._files
        if not files.exists():
            return
        try:
            why = self._disagreement(checkpoint.read_state(files, self._event.topic), until, end)
            if not why:
                return
        except checkpoint.CheckpointDamagedError as error:
            why = str(error)
        aside = files.move_aside(time.strftime("aside-%Y%m%dT%H%M%SZ", time.gmtime()))
        logger.warning(
            "The checkpoint of %s does not agree with its table (%s): it was moved to %s, and the "
            "job starts from the table's marks. Nothing is lost.",
            self._event.topic,
            why,
            aside,
        )

    def _disagreement(
        self, state: checkpoint.CheckpointState, until: dict[int, int], end: dict[int, int]
    ) -> str:
        """Why the checkpoint has to go; empty where the job may go on from it."""
        if not checkpoint.agrees(state, until):
            return f"it stands at {state.committed} and the table at {until}"
        beyond = checkpoint.planned_beyond(state, end)
        if beyond:
            return f"its next batch was to end at {beyond}, past Kafka's end"
        most = self._arguments.max_offsets_per_trigger
        planned = checkpoint.planned_records(state, until)
        # Spark rounds each partition's share up.
        if planned > most + len(until):
            # Who makes batches smaller may do so because this very one is too large to get through.
            return f"its next batch was to have {planned} records, and a batch has {most} by now"
        return ""

    def _on_batch(self, batch: DataFrame, batch_id: int) -> None:
        # The one who stops the query holds this lock meanwhile: waiting for it without an end would
        # keep the query from stopping.
        while not self._between_batches.acquire(timeout=_POLL_SECONDS):
            self._refuse_when_stopping()
        try:
            self._refuse_when_stopping()
            self._refuse_another_topic()
            planned = checkpoint.planned_end(self._files, self._event.topic, batch_id)
            self._require_writer().write(batch, planned)
        finally:
            self._between_batches.release()

    def _refuse_when_stopping(self) -> None:
        if self._stop.is_set():
            # Returning would let Spark record a batch that has not landed.
            raise StopRequestedError(
                "The job was asked to stop: what it has not landed is left to its next run."
            )

    def _refuse_another_topic(self) -> None:
        assert self._topic_ids is not None  # noqa: S101
        topic_id = self._topic_ids.current_id()
        if topic_id != self._require_writer().progress.topic_id:
            raise StaleProgressError(
                f"The topic {self._event.topic} was made again while the job ran (its id is now "
                f"{topic_id}); the batch is left, and the next start says what is lost."
            )

    def _watch(self, query: StreamingQuery) -> None:
        while not self._stop.is_set():
            try:
                if query.awaitTermination(_POLL_SECONDS):
                    return
            except StreamingQueryException:
                if self._stop.is_set():  # the batch that began while the signal came in
                    return
                raise
            if self._lock.yield_wanted():
                self._yield_lock()
        logger.info("Asked to stop: finishing the running batch.")
        finished = self._between_batches.acquire(timeout=FINISH_BATCH_SECONDS)
        query.stop()
        if finished:
            self._between_batches.release()

    def _take_lock(self) -> bool:
        """Takes the topic's lock once nobody asks for it; False when it is asked to stop before.

        A lease may last for as long as what is written under it: whoever waits for one says so,
        second after second, and neither dies nor is taken for one that hangs. One who writes and
        has not asked is another job, which never ends by itself.

        Raises:
            LockHeldError: somebody who does not ask for it keeps the lock.
        """
        unasked_since = time.monotonic()
        is_told = False
        while not self._stop.is_set():
            if self._lock.yield_wanted():
                if not is_told:
                    topic = self._event.topic
                    logger.info("Another process writes the tables of %s: standing aside.", topic)
                    is_told = True
                self._lock.note_yield()
                time.sleep(_POLL_SECONDS)
                unasked_since = time.monotonic()
                continue
            try:
                self._lock.acquire(_POLL_SECONDS)
            except LockHeldError:
                if time.monotonic() - unasked_since > LOCK_TIMEOUT_SECONDS:
                    raise
            else:
                return True
        return False

    def _yield_lock(self) -> None:
        """Lets another process write between two batches, then takes up from the new marks."""
        with self._between_batches, self._no_batch_after_a_failure():
            logger.info("Another process asks for the tables of %s: yielding.", self._event.topic)
            self._lock.release()
            if self._take_lock():
                self._take_up_again()

    @contextlib.contextmanager
    def _no_batch_after_a_failure(self) -> Iterator[None]:
        """Ends the query before a batch that waits may begin: it has no lock, or stale progress."""
        try:
            yield
        except BaseException:
            self._stop.set()
            raise

    def _take_up_again(self) -> None:
        before = self._require_writer().progress
        self._resume(kafka.topic_facts(self._spark, self._arguments, self._event.topic))
        after = self._require_writer().progress
        if (before.topic_id, before.until) != (after.topic_id, after.until):
            # The running query would go on from where it was.
            raise StaleProgressError(
                f"The offsets of {self._event.topic} moved while another process wrote its "
                "tables; the job ends and its next start takes up from them."
            )

    def _require_writer(self) -> TopicWriter:
        assert self._writer is not None  # noqa: S101
        return self._writer
