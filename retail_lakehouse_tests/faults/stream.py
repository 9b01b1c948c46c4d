"""One topic, its two tables and its job, and what must be in the tables whatever happens.

Here: producing, running the job (here, or in a process that can be killed), and the check. Not
here: the scenarios.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.contracts.events import INVENTORY, EventContract
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.job_settings import job_arguments
from retail_lakehouse.kafka.admin import describe_topics
from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics
from retail_lakehouse.local.java import JavaHome
from retail_lakehouse.local.keeper import CommandUnit
from retail_lakehouse.local.process_record import ProcessRecord, read_record
from retail_lakehouse.local.processes import (
    Command,
    end_session,
    log_path,
    record_path,
    session_members,
)
from retail_lakehouse.local.spark import job_command
from retail_lakehouse.local.supervisor import Supervisor
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming import driver
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse_tests.conformance.landed import (
    Landed,
    assert_is,
    assert_marks_hold,
    read_tables,
)
from retail_lakehouse_tests.conformance.records import Record, event
from retail_lakehouse_tests.conformance.reference import expected
from retail_lakehouse_tests.faults.job_with_fault import Fault

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CATCH_UP_SECONDS = 180
BATCH_RECORDS = 60


@dataclass
class JobSession:
    """A job in processes of its own, and what it has written to its log."""

    log: Path
    record: ProcessRecord

    def members(self) -> list[Any]:
        """What still lives of its session: the driver, the JVM, Python workers."""
        return session_members(self.record)

    def wait_until_stopped(self, victim: str, seconds: float = 240) -> None:
        """Waits until its driver, its JVM or both stand still under SIGSTOP."""
        wanted = {"driver": {True}, "jvm": {False}, "both": {True, False}}[victim]

        def stopped() -> set[bool]:
            found = set()
            for member in self.members():
                with suppress(psutil.NoSuchProcess):
                    leads = member.pid == self.record.pid
                    if member.status() == psutil.STATUS_STOPPED and (
                        leads or member.name() == "java"
                    ):
                        found.add(leads)
            return found

        _wait(lambda: stopped() == wanted, seconds, f"see {self.log}")


@dataclass
class SpawnedJob(JobSession):
    """A job that this process has started and nobody keeps."""

    process: subprocess.Popen[bytes]

    def wait(self, seconds: float = 240) -> int:
        """Its exit status; a negative one is the signal that ended it."""
        return self.process.wait(seconds)

    def wait_until_gone(self, seconds: float = 20) -> None:
        """Waits until nothing of it lives, by itself.

        But for one case: a JVM that is killed while it starts a program leaves Java's helper, which
        waits for ever for what to run and keeps the sockets open that Python workers wait on. The
        supervisor ends such a session before its next start, and so does this.
        """
        _wait(lambda: not self.members() or self._helper_hangs(), seconds, f"{self.members()} live")
        if self.members():
            end_session(self.record, grace_seconds=0.0)

    def _helper_hangs(self) -> bool:
        if self.process.poll() is None:
            return False
        names = []
        for member in self.members():
            with suppress(psutil.NoSuchProcess):
                names.append(member.name())
        return "jspawnhelper" in names and "java" not in names


@dataclass
class Stream:
    """A topic of the inventory event with tables of its own."""

    spark: "SparkSession"
    settings: Settings
    java: JavaHome
    jars: Sequence[Path]
    topic: str
    topic_id: str = ""
    partitions: int = 3
    records: list[Record] = field(default_factory=list)
    _produced: int = 0

    @property
    def contract(self) -> EventContract:
        """The inventory contract over this topic."""
        return replace(INVENTORY, topic=self.topic)

    @property
    def client(self) -> dict[str, str | int | float | bool]:
        """Configuration of a Kafka client."""
        return {"bootstrap.servers": self.settings.kafka_bootstrap}

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint."""
        return Path(self.settings.checkpoints) / INVENTORY.name

    def produce(self, count: int, only_good: bool = False) -> list[Record]:
        """Produces good, malformed and doubled events; every record is acknowledged."""
        from confluent_kafka import Producer

        producer = Producer(self.client | {"acks": "all", "enable.idempotence": "true"})
        sent: list[Record] = []

        def acknowledged(error: Any, message: Any) -> None:
            assert error is None, error
            _, timestamp_ms = message.timestamp()
            sent.append(
                Record(
                    message.partition(),
                    message.offset(),
                    timestamp_ms,
                    message.key(),
                    message.value(),
                )
            )

        for _ in range(count):
            number = self._produced
            self._produced += 1
            value = event(f"e{number}", int(time.time() * 1000))
            if number % 10 == 3 and not only_good:
                value = value[:-1]
            elif number % 10 == 7 and self.records and not only_good:
                # A copy of any record before: both share a partition.
                value = self.records[number * 31 % len(self.records)].value or value
            partition = self._partition_of(value, number)
            producer.produce(self.topic, value, b"k", partition, on_delivery=acknowledged)
        assert producer.flush(30) == 0
        self.records += sorted(sent, key=lambda r: (r.partition, r.offset))
        return sent

    def _partition_of(self, value: bytes, number: int) -> int:
        same = (r.partition for r in self.records if r.value == value)
        return next(same, number % self.partitions)

    def run(self, monkeypatch: pytest.MonkeyPatch, *, ends_by_itself: bool = False) -> int:
        """Runs the job in this process until it has caught up, then ends it by SIGTERM.

        `ends_by_itself`: it is told nothing, whoever has caught up meanwhile.
        """
        from pyspark.sql import SparkSession

        ended = threading.Event()

        def stop_when_caught_up() -> None:
            deadline = time.monotonic() + CATCH_UP_SECONDS
            while not ended.wait(0.2):
                if (
                    self.caught_up() and self._spark_has_committed()
                ) or time.monotonic() > deadline:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

        handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
        watcher = threading.Thread(target=stop_when_caught_up)
        with monkeypatch.context() as patch:
            patch.setattr(driver, "spark_session", lambda arguments: self.spark)
            patch.setattr(driver, "event_named", lambda name: self.contract)
            patch.setattr(SparkSession, "stop", lambda session: None)
            # How soon it sees that it is asked to stop.
            patch.setattr(driver, "_POLL_SECONDS", 0.1)
            signal.signal(signal.SIGTERM, lambda *_: None)
            if ends_by_itself:
                ended.set()
            watcher.start()
            try:
                arguments = job_arguments(self.settings, INVENTORY.name).to_argv()
                return driver.run_streaming_job(INVENTORY.name, arguments)
            finally:
                ended.set()
                watcher.join()
                for number, handler in handlers.items():
                    signal.signal(number, handler)

    @contextmanager
    def spawned(self, fault: Fault | None = None) -> Iterator[SpawnedJob]:
        """The job in a process of its own; nothing of it is left at the end."""
        command = self._command(fault)
        log = self.settings.root / f"job-{uuid.uuid4().hex[:8]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command.argv,
                env=command.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        record = ProcessRecord(process.pid, psutil.Process(process.pid).create_time())
        try:
            yield SpawnedJob(log, record, process)
        finally:
            for member in session_members(record):
                member.kill()
            process.wait(10)

    @contextmanager
    def supervised(self, fault: Fault) -> Iterator[tuple[Supervisor, JobSession]]:
        """The job as the platform's supervisor keeps it: only its first process has the fault."""
        faults = chain([fault], repeat(None))
        root, name = self.settings.root, INVENTORY.name
        supervisor = Supervisor(
            root, [CommandUnit(root, name, lambda: self._command(next(faults)))]
        )
        # A JVM that stands still uses up all the time that its driver is given.
        supervisor._keepers[name].grace_seconds = 2.0
        supervisor.open()
        try:
            supervisor.request("start", name)
            record = read_record(record_path(root, name))
            assert record is not None
            yield supervisor, JobSession(log_path(root, name), record)
        finally:
            supervisor.close()

    def _command(self, fault: Fault | None) -> Command:
        command = job_command(self.settings, INVENTORY.name, self.java, self.jars)
        module = "retail_lakehouse_tests.faults.job_with_fault"
        told = fault.to_json() if fault else "null"
        argv = [sys.executable, "-m", module, told, self.topic, *command.argv[2:]]
        return Command(argv, command.env)

    def caught_up(self, until: dict[int, int] | None = None) -> bool:
        """Whether the event table's mark covers `until`, or all that was produced."""
        mark = last_mark(open_catalog(self.settings).load_table(event_table(INVENTORY).identifier))
        wanted = self.end() if until is None else until
        return (
            mark is not None
            and mark.topic_id == self.topic_id
            and all(mark.until.get(p, 0) >= offset for p, offset in wanted.items())
        )

    def _spark_has_committed(self) -> bool:
        """Whether the checkpoint has caught up as well, which it does after the table."""
        last = [
            max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=-1)
            for folder in (self.checkpoint / "offsets", self.checkpoint / "commits")
        ]
        return last[0] == last[1]

    def wait_until_caught_up(self, seconds: float = CATCH_UP_SECONDS) -> None:
        """Waits for a job in another process."""
        _wait(self.caught_up, seconds, "the job does not catch up")

    def end(self) -> dict[int, int]:
        """Where the topic ends, by what was acknowledged."""
        return {
            p: max(r.offset for r in self.records if r.partition == p) + 1
            for p in {r.partition for r in self.records}
        }

    def check(self) -> Landed:
        """0 lost, 0 doubled, in both tables; every mark adds up."""
        landed = read_tables(self.settings, INVENTORY)
        wanted = expected(self.records, INVENTORY, self.settings.dedupe_horizon_hours)
        assert_is(landed, wanted, self.records)
        assert_marks_hold(landed)
        assert landed.last_mark.total.read == len(self.records)
        return landed


def new_stream(
    spark: "SparkSession",
    settings: Settings,
    java: JavaHome,
    jars: Sequence[Path],
    bootstrap_servers: str,
) -> Stream:
    """A new topic, and the session's tables and job folders emptied for it."""
    settings = settings.model_copy(
        update={
            "bootstrap_servers": bootstrap_servers,
            # Each batch waits for the next whole multiple of it.
            "trigger_seconds": 0.2,
            "max_offsets_per_trigger": BATCH_RECORDS,
        }
    )
    catalog = open_catalog(settings)
    for contract in (event_table(INVENTORY), quarantine_table(INVENTORY)):
        if catalog.table_exists(contract.identifier):
            catalog.drop_table(contract.identifier)
    ensure_tables(catalog, settings)
    for folder in ("checkpoints", "index", "locks"):
        shutil.rmtree(settings.root / folder, ignore_errors=True)
    topic = f"faults.{uuid.uuid4().hex[:8]}"
    stream = Stream(spark, settings, java, jars, topic)
    make_topic(stream)
    return stream


def make_topic(stream: Stream) -> None:
    """Makes the stream's topic as the contract has it."""
    spec = TopicSpec(
        stream.topic, stream.partitions, 1, {"message.timestamp.type": "LogAppendTime"}
    )
    ensure_topics(stream.client, [spec], timeout_seconds=60)
    (description,) = describe_topics(stream.client, [stream.topic])
    stream.topic_id = description.topic_id


def _wait(condition: Any, seconds: float, failure: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.2)
