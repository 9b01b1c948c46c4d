"""One Apache Kafka broker on the loopback address, in KRaft mode: started, found again, stopped.

Belongs here: the broker's process, its configuration and its data folder. Doesn't belong here:
topics (`retail_lakehouse/kafka/`), the jars it runs on (`jars.py`).

The process has a session of its own and a record in the state folder, so that any later process
that makes a `Broker` for the same folder sees, uses or stops the same broker.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from retail_lakehouse.kafka import admin
from retail_lakehouse.kafka.connection import KafkaRefusedError, KafkaUnreachableError
from retail_lakehouse.local import ports
from retail_lakehouse.local.file_lock import exclusive_lock
from retail_lakehouse.local.java import JAVA_LOCALE, JavaHome
from retail_lakehouse.local.process_record import (
    ProcessRecord,
    end_process,
    read_record,
    write_record,
)
from retail_lakehouse.local.processes import kept_environment
from retail_lakehouse.loopback import LOOPBACK

logger = logging.getLogger(__name__)

STOP_GRACE_SECONDS = 10.0
_FORMAT_TIMEOUT_SECONDS = 60.0
_START_POLL_SECONDS = 0.05
_PROBE_SECONDS = 2.0
_LOG_TAIL_LINES = 3
_LOG_TAIL_CHARACTERS = 240
_ALARMING = re.compile(r" (ERROR|FATAL) |Exception|Error:|^# |OutOfMemory")
_LOG_ROTATE_BYTES = 10 * 1024 * 1024
_NODE_ID = 1

# One broker holds the only replica of everything, hence the factors of 1. The cleaner's buffer is
# 128 MB by default, for a compaction that only Kafka's own small topics need here. A killed broker
# may register anew only when its old session is over: 9 s by default.
_PROPERTIES = """\
process.roles=broker,controller
node.id={node_id}
controller.quorum.voters={node_id}@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
log.message.timestamp.type=LogAppendTime
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=5000
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
"""

_LOGGING = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{yyyy-MM-dd'T'HH:mm:ss.SSS} %p %m (%c{1})%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
# 300 lines of settings at each start
logger.config.name=org.apache.kafka.common.config.AbstractConfig
logger.config.level=warn
"""


class BrokerError(RuntimeError):
    """The local broker is not in the state that was asked for."""


class BrokerAlreadyRunningError(BrokerError):
    """A broker of this state folder runs already."""


class BrokerDiedError(BrokerError):
    """The broker's process ended without being asked to."""


class BrokerStartTimeoutError(BrokerError):
    """The broker's process runs but does not answer."""


class Broker:
    """The broker of one state folder; its data survives stops, kills and reboots."""

    def __init__(
        self,
        state_dir: Path,
        java_home: JavaHome,
        jars: Sequence[Path],
        port: int,
        controller_port: int,
        heap_mb: int = 384,
    ) -> None:
        """Describe the broker; nothing is started or written.

        Args:
            state_dir: The state folder; data in `kafka/`, log in `logs/`, record in `run/`.
            java_home: What runs it.
            jars: Its class path, from `jars.resolve("broker", ...)`.
            port: Where clients reach it, on the loopback address.
            controller_port: Where it talks to its own controller.
            heap_mb: The Java heap's limit, in megabytes.
        """
        self._state_dir = state_dir.absolute()
        self._java_home = java_home
        self._jars = tuple(jars)
        self._port = port
        self._controller_port = controller_port
        self._heap_mb = heap_mb
        self._child: subprocess.Popen[bytes] | None = None
        self._home = self._state_dir / "kafka"
        self._data_dir = self._home / "data"
        self._record_path = self._state_dir / "run" / "broker.json"
        self.log_path = self._state_dir / "logs" / "broker.log"

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients: of the broker that runs, else of the one to be started."""
        record = self._living_record()
        port = record.facts.get("port", self._port) if record else self._port
        return f"{LOOPBACK}:{port}"

    @property
    def pid(self) -> int | None:
        """The process id, or None if it doesn't run."""
        record = self._living_record()
        return record.pid if record else None

    @property
    def cluster_id(self) -> str | None:
        """The cluster's id, or None before the first start; it stays with the data."""
        try:
            lines = (self._data_dir / "meta.properties").read_text().splitlines()
        except FileNotFoundError:
            return None
        found = [line.partition("=")[2] for line in lines if line.startswith("cluster.id=")]
        return found[0].strip() if found else None

    def is_running(self) -> bool:
        """Whether the broker's process lives, whoever started it."""
        return self._living_record() is not None

    def require_alive(self) -> None:
        """Refuse to go on if the broker died.

        Raises:
            BrokerDiedError: It was started, not stopped, and is gone; with its last words.
        """
        record = read_record(self._record_path)
        if record is not None and not record.is_alive():
            raise self._died(record.pid)

    def start(self, timeout_seconds: float = 60.0) -> None:
        """Start the broker and wait until it answers.

        Raises:
            BrokerAlreadyRunningError: The one of this state folder runs already.
            PortTakenError: One of its ports belongs to another program.
            BrokerDiedError: It ended while starting; with its last words.
            BrokerStartTimeoutError: It did not answer in time, and has been stopped again.
            LockHeldError: Another process has been starting or stopping it all the time.
        """
        deadline = time.monotonic() + timeout_seconds
        with exclusive_lock(self._record_path.with_suffix(".lock"), timeout_seconds):
            record = self._living_record()
            if record is not None:
                raise BrokerAlreadyRunningError(
                    f"The broker of {self._state_dir} is already running as process {record.pid} "
                    f"at {self.bootstrap_servers}. Use it as it is, or stop it first."
                )
            ports.require_free(self._port, "the broker", "RETAIL_LAKEHOUSE_BROKER_PORT")
            ports.require_free(
                self._controller_port,
                "the broker's controller",
                "RETAIL_LAKEHOUSE_CONTROLLER_PORT",
            )
            self._prepare()
            child = self._child = self._spawn()
            try:
                write_record(
                    self._record_path, child.pid, {"port": self._port, "log": str(self.log_path)}
                )
                self._await_answer(child, deadline, timeout_seconds)
            except BaseException:
                # Also when the starter is interrupted: a broker nobody waits for must not stay.
                _end_child(child)
                self._forget()
                raise

    def stop(self, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        """Stop the broker, whoever started it; one that doesn't run is no error.

        Args:
            grace_seconds: How long it may take to close its files before it is killed; a killed
                broker loses no event but checks its files at the next start.

        Raises:
            BrokerError: Even SIGKILL does not end it; its record stays.
        """
        with exclusive_lock(self._record_path.with_suffix(".lock"), grace_seconds + 60.0):
            record = self._living_record()
            if record is not None:
                end_process(record, grace_seconds)
                if record.is_alive():
                    # Forgotten it would be found by nobody, and hold ports and data all the same.
                    raise BrokerError(
                        f"The broker (process {record.pid}) does not end even by SIGKILL; it waits "
                        "for a disk or the kernel. Look at it with `ps`, and restart the machine "
                        "if it stays."
                    )
            self._forget()

    def _living_record(self) -> ProcessRecord | None:
        record = read_record(self._record_path)
        return record if record is not None and record.is_alive() else None

    def _forget(self) -> None:
        self._record_path.unlink(missing_ok=True)
        if self._child is not None and self._child.poll() is not None:
            self._child = None

    def _java(self, *options: str) -> list[str]:
        return [
            str(self._java_home.executable),
            *options,
            f"-Dlog4j2.configurationFile={self._home / 'log4j2.properties'}",
            f"-Djava.io.tmpdir={self._home / 'tmp'}",
            "-Djava.net.preferIPv4Stack=true",
            "-XX:-UsePerfData",
        ]

    def _environment(self) -> dict[str, str]:
        # In the environment, as the command line would be longer than any terminal is wide.
        return {**os.environ, **JAVA_LOCALE, "CLASSPATH": os.pathsep.join(map(str, self._jars))}

    def _prepare(self) -> None:
        """Write the configuration, and format the data folder if it is new."""
        temporary = self._home / "tmp"
        if temporary.exists():
            shutil.rmtree(temporary)  # native libraries which a killed broker left
        temporary.mkdir(parents=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_ROTATE_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        (self._home / "log4j2.properties").write_text(_LOGGING)
        properties = self._home / "server.properties"
        properties.write_text(
            _PROPERTIES.format(
                node_id=_NODE_ID,
                host=LOOPBACK,
                port=self._port,
                controller_port=self._controller_port,
                # As Java's properties have it: in ASCII, other letters as \u and four digits.
                data=json.dumps(str(self._data_dir))[1:-1],
            )
        )
        if self.cluster_id is not None:
            return
        new_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = self._java("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m")
        command += ["kafka.tools.StorageTool", "format", "--ignore-formatted"]
        # With its equals sign, as the tool would take an id that starts with - for an option.
        command += [f"--cluster-id={new_id}", f"--config={properties}"]
        formatted = subprocess.run(  # noqa: S603
            command,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=_FORMAT_TIMEOUT_SECONDS,
            check=False,
        )
        if formatted.returncode != 0:
            words = " ".join((formatted.stderr or formatted.stdout).split())[-600:]
            raise BrokerError(
                f"The broker's data folder {self._data_dir} could not be prepared: {words} "
                "Check that the folder can be written and the disk has room, then try again."
            )

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self._java(
            f"-Xmx{self._heap_mb}m",
            "-XX:+ExitOnOutOfMemoryError",
            # The optimizing compiler costs more than it gives here: 90 s at 30,000 events a second
            # on 2 cores took 14.0 s of CPU and 371 MB with it, 7.8 s and 240 MB without.
            "-XX:TieredStopAtLevel=1",
        )
        command += ["kafka.Kafka", str(self._home / "server.properties")]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                command,
                env={**self._environment(), **kept_environment(self._state_dir, "broker")},
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _await_answer(
        self, child: subprocess.Popen[bytes], deadline: float, timeout_seconds: float
    ) -> None:
        silence = f"Nothing listens on port {self._port}."
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise self._died(child.pid)
            if ports.is_answering(self._port):
                try:
                    self._probe()
                    return
                except (KafkaUnreachableError, KafkaRefusedError) as error:
                    silence = str(error)
            time.sleep(_START_POLL_SECONDS)
        raise BrokerStartTimeoutError(
            f"The broker did not answer within {timeout_seconds:g} seconds and was stopped again. "
            f"{silence} Its last words in {self.log_path}: {self._last_words()} "
            "On a busy machine, give it more time."
        )

    def _probe(self) -> None:
        """Ask it, as a client does, whether it is the cluster that our data folder belongs to."""
        servers = f"{LOOPBACK}:{self._port}"
        found = admin.cluster_id({"bootstrap.servers": servers}, _PROBE_SECONDS)
        if found != self.cluster_id:
            raise KafkaRefusedError(
                f"Another Kafka cluster ({found}) answers at {servers}; this state folder's is "
                f"{self.cluster_id}. Set RETAIL_LAKEHOUSE_BROKER_PORT to a free port."
            )

    def _died(self, pid: int) -> BrokerDiedError:
        return BrokerDiedError(
            f"The broker (process {pid}) has died. Its last words in {self.log_path}: "
            f"{self._last_words()} Start it again: its data is kept."
        )

    def _last_words(self) -> str:
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, self.log_path.stat().st_size - 8192))
                lines = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return "(no log)"
        alarming = [line for line in lines if _ALARMING.search(line)]
        chosen = (alarming or lines)[-_LOG_TAIL_LINES:]
        return " / ".join(line.strip()[:_LOG_TAIL_CHARACTERS] for line in chosen) or "(nothing)"


def _end_child(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(timeout=STOP_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
