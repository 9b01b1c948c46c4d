"""How each cause is injected into a running platform, and how a person would mend it.

Belongs here: the causes. Doesn't belong here: when, or what is noted of them
(`injected_causes.py`), how the platform is asked (`platform_under_test.py`).
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.platform_under_test import Platform, SensorSwitch
from retail_lakehouse.checks.causes import Cause
from retail_lakehouse.contracts.events import INVENTORY, TRANSACTIONS
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS, Measure
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.local.stack import Stack

LOCKED_SECONDS = 240
AHEAD_SECONDS = 60
AHEAD_FOR_SECONDS = 90
NOTIFIER_DOWN_SECONDS = 240
COLD_SECONDS = SERVICE_LEVELS.serving_lag_seconds + 120
"""No shorter start could break the service level: a real one of 25 to 40 s wakes nobody."""
MIB = 1024 * 1024
SMALL_DISK_MB = 3072
SMALL_DISK_WARNING_MB = 768
SMALL_DISK_CRITICAL_MB = 384

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Injection:
    """What is to be done once a cause has been injected; each None where nothing is."""

    mend: Step | None = None
    """What a person does once it is told; without it the platform heals itself."""
    once_told: Step | None = None
    """What ends the injection: the cause goes away by itself, nobody of the platform's does it."""
    once_over: Step | None = None
    """What brings the platform back to where it was, after its recovery."""


@dataclass(frozen=True, slots=True)
class Injected:
    """One cause: the check that has to tell it, under which name, and how long that may take."""

    name: str
    check: str
    asset: str
    """How the asset's name ends; empty for any."""
    cause: str
    """The guilty stage that must be named, and no other; empty where none has to be."""
    inject: Callable[[Platform], Injection]
    patience_seconds: float = 420.0
    recovery_seconds: float = 600.0
    on_a_fresh_platform: bool = False
    """Not after the others: a check that has opened three times within the hour is told a quarter
    of an hour later, and several causes open the same."""
    on_a_small_disk: bool = False


def _stall(platform: Platform) -> Injection:
    platform.signal_session("transactions", signal.SIGSTOP)
    return Injection()


def _rush(platform: Platform) -> Injection:
    # More than the jobs read, whatever the machine, until somebody is told.
    end = platform.simulate("--events-per-second", "48000", "--duration", "300")
    return Injection(once_told=end)


def _silence(platform: Platform) -> Injection:
    platform.ask("stop", "simulator")
    return Injection(mend=lambda: platform.ask("start", "simulator"))


def _clock(platform: Platform) -> Injection:
    bootstrap = platform.settings.kafka_bootstrap

    def send() -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": bootstrap})
        for _ in range(AHEAD_FOR_SECONDS):
            producer.produce(INVENTORY.topic, json.dumps(_event_ahead()), key="clock-test")
            producer.flush(10)
            time.sleep(1)

    threading.Thread(target=send, daemon=True).start()
    return Injection()


def _event_ahead() -> dict[str, object]:
    """A good event of a producer whose clock is ahead."""
    return {
        "event_id": str(uuid.uuid4()),
        "store_id": "clock-test",
        "sku": "clock-test",
        "quantity_on_hand": 1,
        "quantity_reserved": 0,
        "quantity_delta": 1,
        "unit_cost": "1.00",
        "event_type": "RECEIVE",
        "event_timestamp": time.time_ns() // 1_000_000 + AHEAD_SECONDS * 1000,
    }


def _broker_down(platform: Platform) -> Injection:
    platform.ask("stop", "broker")
    return Injection(mend=lambda: platform.ask("start", "broker"))


def _pause_refresh(platform: Platform) -> Injection:
    switch = SensorSwitch(platform.settings)
    switch.turn(is_on=False)
    return Injection(mend=lambda: switch.turn(is_on=True))


def _cold(platform: Platform) -> Injection:
    """A warehouse of another start in place of the platform's, which sleeps at first.

    The sensor is off meanwhile: a refresh that finds no warehouse at all is told at once, as that.
    """
    settings = platform.settings.model_copy(update={"cold_start_seconds": float(COLD_SECONDS)})
    (cold,) = [unit for unit in Stack(settings).units() if unit.name == "warehouse"]
    switch = SensorSwitch(platform.settings)
    switch.turn(is_on=False)
    # A tick that is under way ends.
    time.sleep(10)
    platform.ask("stop", "warehouse")
    cold.start()
    _await_port(platform.settings.warehouse_port)
    switch.turn(is_on=True)

    def put_back() -> None:
        switch.turn(is_on=False)
        time.sleep(10)
        cold.stop(8.0, threading.Event())
        platform.ask("start", "warehouse")
        _await_port(platform.settings.warehouse_port)
        switch.turn(is_on=True)

    return Injection(once_over=put_back)


def _await_port(port: int) -> None:
    from retail_lakehouse.local.ports import is_answering

    deadline = time.monotonic() + 60
    while not is_answering(port):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Nothing answers at port {port}.")
        time.sleep(0.2)


def _malformed(platform: Platform) -> Injection:
    end = platform.simulate("--malformed-share", "0.2", "--events-per-second", "1000")
    return Injection(once_told=end)


def _lock_catalog(platform: Platform) -> Injection:
    path = platform.settings.catalog_db

    def hold() -> None:
        connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        with contextlib.closing(connection):
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(LOCKED_SECONDS)
            connection.execute("ROLLBACK")

    threading.Thread(target=hold, daemon=True).start()
    return Injection()


def _topic_made_again(platform: Platform) -> Injection:
    from confluent_kafka.admin import AdminClient

    from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics

    settings = platform.settings
    (topic,) = [each for each in settings.topics if each.name == INVENTORY.topic]
    replicas = settings.replication_factor(topic)
    wished = TopicSpec(topic.name, settings.partitions(topic), replicas, topic.configs(replicas))
    config = {"bootstrap.servers": settings.kafka_bootstrap}
    client = AdminClient(dict(config))
    client.delete_topics([topic.name])[topic.name].result(30)
    deadline = time.monotonic() + 30
    while topic.name in client.list_topics(timeout=10).topics:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{topic.name} is still there, though Kafka has deleted it.")
        time.sleep(0.2)
    ensure_topics(config, [wished])

    def accept() -> None:
        log = (platform.state / "logs" / "inventory.log").read_text(errors="replace")
        codes = re.findall(r"accept_loss=([0-9a-f]{12})", log)
        if not codes:
            raise RuntimeError("The job's log names no code by which the loss could be accepted.")
        platform.stop()
        # The simulator's account is of the topic that is gone: the page has it moved aside.
        ledger = platform.state / "ledger"
        ledger.rename(ledger.with_name("ledger.aside"))
        platform.start("--set", f"accept_loss={codes[-1]}")

    return Injection(mend=accept)


def _notifier_down(platform: Platform) -> Injection:
    """Nobody can be told while a job stalls: it is told, and its recovery, when they can again."""
    platform.end.answers = [(503, {}, "")]

    def up() -> None:
        platform.end.answers = []

    back = threading.Timer(NOTIFIER_DOWN_SECONDS, up)
    back.daemon = True
    back.start()
    return _stall(platform)


def _fill_disk(platform: Platform) -> Injection:
    filler = platform.state / "filler"
    with filler.open("wb", buffering=0) as file:
        free = shutil.disk_usage(platform.state).free
        os.posix_fallocate(file.fileno(), 0, max(MIB, free - 4 * MIB))
        file.seek(0, os.SEEK_END)
        with contextlib.suppress(OSError):
            while file.write(b"x" * 65_536):
                pass
    return Injection(mend=filler.unlink)


CAUSES: tuple[Injected, ...] = (
    Injected(
        "a stalled job (SIGSTOP)",
        Measure.INGEST_LAG,
        event_table(TRANSACTIONS).name,
        Cause.STALLED_JOB,
        _stall,
    ),
    Injected("a slow job (a rush)", Measure.INGEST_LAG, "", Cause.SLOW_JOB, _rush, 420, 1500),
    Injected(
        "a clock that is ahead by a minute",
        Measure.PRODUCER_CLOCK,
        event_table(INVENTORY).name,
        Cause.CLOCK_AHEAD,
        _clock,
    ),
    Injected(
        "a broker that is down",
        Measure.INGEST_LAG,
        "",
        Cause.BROKER_DOWN,
        _broker_down,
        on_a_fresh_platform=True,
    ),
    Injected(
        "a stopped producer",
        Measure.EVENTS_ARRIVE,
        "",
        Cause.STOPPED_PRODUCER,
        _silence,
        SERVICE_LEVELS.silence_seconds + 300,
    ),
    Injected(
        "a paused refresh",
        Measure.SERVING_LAG,
        "",
        Cause.PAUSED_REFRESH,
        _pause_refresh,
        SERVICE_LEVELS.serving_lag_seconds + 300,
    ),
    Injected(
        "a cold warehouse",
        Measure.SERVING_LAG,
        "",
        Cause.COLD_WAREHOUSE,
        _cold,
        SERVICE_LEVELS.serving_lag_seconds + 300,
    ),
    # Which of the two it is depends on where a job stands when it waits for the lock: it ends and
    # is started again.
    Injected(
        "a locked catalog",
        Measure.INGEST_LAG,
        "",
        "",
        _lock_catalog,
        recovery_seconds=900,
        on_a_fresh_platform=True,
    ),
    Injected(
        "a topic deleted and made again",
        Measure.STREAMING_JOB_HEALTHY,
        f"{INVENTORY.name}_streaming",
        "",
        _topic_made_again,
        on_a_fresh_platform=True,
    ),
    Injected(
        "a notifier that is down",
        Measure.INGEST_LAG,
        event_table(TRANSACTIONS).name,
        Cause.STALLED_JOB,
        _notifier_down,
        NOTIFIER_DOWN_SECONDS + 420,
        on_a_fresh_platform=True,
    ),
    # The share is of an hour, as far as snapshots are kept: it takes that long until it is past.
    Injected(
        "20% malformed events",
        Measure.QUARANTINE_SHARE,
        "",
        "",
        _malformed,
        600,
        4500,
        on_a_fresh_platform=True,
    ),
    Injected(
        "a full disk",
        Measure.DISK_NEARLY_FULL,
        "",
        "",
        _fill_disk,
        on_a_small_disk=True,
    ),
)
