"""Rules of the simulator against a real broker: every record in the topics is in the ledger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from retail_lakehouse.contracts.canonical import HASH_MODULUS, content_hash
from retail_lakehouse.contracts.events import EVENTS, EventContract
from retail_lakehouse.contracts.judge import Good, judge
from retail_lakehouse.kafka.admin import describe_topics
from retail_lakehouse.local.broker import Broker
from retail_lakehouse.local.ledger import Ledger
from retail_lakehouse.local.simulator import Shares, SimulatorOptions, run_simulator
from retail_lakehouse.local.simulator.resolution import bind_to_kafka, resolve_open
from retail_lakehouse_tests.local.simulator.conftest import NAMES, PARTITIONS, client_of

pytestmark = pytest.mark.stack

SHARES = Shares(malformed=0.05, late=0.05, duplicate=0.05, conflict_of_malformed=0.5)
HORIZON_HOURS = 24


def _options(broker: Broker, folder: Path, **changes: Any) -> SimulatorOptions:
    return SimulatorOptions(
        ledger_folder=folder,
        kafka=client_of(broker),
        shares=SHARES,
        seed=5,
        dedupe_horizon_hours=HORIZON_HOURS,
        **changes,
    )


def _records(
    kafka: Mapping[str, Any], event: EventContract
) -> list[tuple[int, int, int, bytes | None]]:
    """(partition, offset, broker time, body) of every record of the topic."""
    (topic,) = describe_topics(kafka, [event.topic])
    left = {p: end for p, end in topic.end_offsets.items() if end}
    consumer = Consumer({**kafka, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(event.topic, p, 0) for p in left])
    records: list[tuple[int, int, int, bytes | None]] = []
    while left:
        for message in consumer.consume(10_000, timeout=0.3):
            assert message.error() is None
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            records.append((partition, offset, message.timestamp()[1], message.value()))
            if offset + 1 >= left.get(partition, 0):
                left.pop(partition, None)
    consumer.close()
    return sorted(records, key=lambda record: record[:2])


def _assert_ledger_is_right(kafka: Mapping[str, Any], folder: Path) -> int:
    """Compares the ledger with every byte in the topics; returns how many records there are."""
    every = 0
    with Ledger(folder) as ledger:
        bind_to_kafka(ledger, kafka, NAMES)
        resolve_open(ledger, kafka)
        for event in EVENTS:
            totals = ledger.totals(event.topic)
            seen: dict[str, str] = {}
            bad: set[tuple[int, int]] = set()
            duplicates, copied = 0, []
            records = _records(kafka, event)
            for partition, offset, broker_ms, body in records:
                verdict = judge(body, broker_ms, event)
                if not isinstance(verdict, Good):
                    bad.add((partition, offset))
                    continue
                event_id = str(verdict.values["event_id"])
                if event_id not in seen:
                    seen[event_id] = verdict.canonical
                elif _is_past_horizon(verdict, broker_ms):
                    copied.append(verdict.canonical)
                elif seen[event_id] == verdict.canonical:
                    duplicates += 1
                else:
                    bad.add((partition, offset))
            assert totals.acknowledged == len(records)
            assert totals.distinct == len(seen)
            assert totals.duplicates == duplicates
            assert totals.copies_past_horizon == len(copied)
            landed = [*seen.values(), *copied]
            assert totals.content_hash == sum(map(content_hash, landed)) % HASH_MODULUS
            found = ledger.coordinates(event.topic)
            assert {(int(c["partition"]), int(c["offset"])) for c in found} == bad
            assert ledger.unresolved(event.topic) == 0
            every += len(records)
    return every


def _is_past_horizon(verdict: Good, broker_ms: int) -> bool:
    hour = int(str(verdict.values["event_timestamp"])) // 3_600_000
    return hour * 3_600_000 < broker_ms - HORIZON_HOURS * 3_600_000


def _start_in_a_process(broker: Broker, folder: Path, rate: float) -> subprocess.Popen[bytes]:
    program = f"""
        from pathlib import Path
        from retail_lakehouse.local.simulator import *
        run_until_signalled(SimulatorOptions(
            ledger_folder=Path({str(folder)!r}),
            kafka={client_of(broker)!r},
            shares={SHARES!r},
            events_per_second={rate},
            seed=5,
            dedupe_horizon_hours={HORIZON_HOURS},
        ))
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])


def _await_records(broker: Broker, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        topics = describe_topics(client_of(broker), NAMES)
        if sum(sum(topic.end_offsets.values()) for topic in topics) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("The simulator produced too little.")


def test_the_ledger_says_what_the_topics_hold_over_two_runs(
    own_broker: Broker, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    for _ in range(2):
        options = _options(own_broker, folder, events_per_second=2_000, duration_seconds=8)
        report = run_simulator(options)
        assert report.unresolved == 0
        assert report.records == pytest.approx(16_000, rel=0.1)
    assert _assert_ledger_is_right(client_of(own_broker), folder) == pytest.approx(32_000, rel=0.1)
    with Ledger(folder) as ledger:
        kinds = {kind for name in NAMES for kind in ledger.totals(name).kinds}
    # Copies that come later wait 5 s and more: a run this short may have none of them.
    assert {"DUPLICATE_SAME_BATCH", "CONFLICT"} <= kinds


def test_keys_go_where_murmur2_sends_them(own_broker: Broker, tmp_path: Path) -> None:
    run_simulator(
        _options(own_broker, tmp_path / "ledger", events_per_second=5_000, max_events=2_000)
    )
    consumer = Consumer(
        {**client_of(own_broker), "group.id": "keys", "auto.offset.reset": "earliest"}
    )
    consumer.assign([TopicPartition(NAMES[0], p, 0) for p in range(PARTITIONS)])
    checked = 0
    for message in consumer.consume(500, timeout=5.0):
        key = message.key()
        assert isinstance(key, bytes)
        assert message.partition() == (_murmur2(key) & 0x7FFFFFFF) % PARTITIONS
        checked += 1
    consumer.close()
    assert checked > 100


def test_a_killed_simulator_leaves_a_ledger_that_the_topics_complete(
    own_broker: Broker, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    produced = 0
    for _ in range(2):
        process = _start_in_a_process(own_broker, folder, rate=20_000)
        try:
            _await_records(own_broker, produced + 12_000)
        finally:
            process.kill()
            process.wait()
        produced = _assert_ledger_is_right(client_of(own_broker), folder)


def test_a_killed_broker_neither_ends_the_simulator_nor_loses_a_record(
    own_broker: Broker, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    stop = threading.Event()
    reports = []
    options = _options(own_broker, folder, events_per_second=3_000)
    thread = threading.Thread(target=lambda: reports.append(run_simulator(options, stop)))
    thread.start()
    _await_records(own_broker, 5_000)
    pid = own_broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    time.sleep(2)
    own_broker.start(timeout_seconds=120)
    topics = describe_topics(client_of(own_broker), NAMES)
    there = sum(sum(topic.end_offsets.values()) for topic in topics)
    _await_records(own_broker, there + 6_000)
    stop.set()
    thread.join(timeout=20)
    assert reports[0].unresolved == 0
    assert _assert_ledger_is_right(client_of(own_broker), folder) == reports[0].records


def test_sigterm_ends_the_simulator_in_order_within_five_seconds(
    own_broker: Broker, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    process = _start_in_a_process(own_broker, folder, rate=5_000)
    try:
        _await_records(own_broker, 5_000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
    finally:
        process.kill()
    with Ledger(folder) as ledger:
        assert not ledger.open_batches()
    _assert_ledger_is_right(client_of(own_broker), folder)


def test_sigterm_without_a_broker_ends_it_too_and_lists_what_is_unresolved(
    own_broker: Broker, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    process = _start_in_a_process(own_broker, folder, rate=5_000)
    try:
        _await_records(own_broker, 5_000)
        pid = own_broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
    finally:
        process.kill()
    with Ledger(folder) as ledger:
        assert sum(ledger.unresolved(name) for name in NAMES) > 0
    own_broker.start(timeout_seconds=120)
    _assert_ledger_is_right(client_of(own_broker), folder)


def _murmur2(data: bytes) -> int:
    """Kafka's murmur2, from its definition (org.apache.kafka.common.utils.Utils)."""
    mixer, length = 0x5BD1E995, len(data)
    state = (0x9747B28C ^ length) & 0xFFFFFFFF
    whole = length - length % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * mixer & 0xFFFFFFFF
        k = (k ^ k >> 24) * mixer & 0xFFFFFFFF
        state = (state * mixer & 0xFFFFFFFF) ^ k
    if length % 4:
        state = (state ^ int.from_bytes(data[whole:], "little")) * mixer & 0xFFFFFFFF
    state = (state ^ state >> 13) * mixer & 0xFFFFFFFF
    return state ^ state >> 15
