"""How each cause is injected into a running platform, and how a person would mend it.

Belongs here: the causes. Doesn't belong here: when, or what is noted of them
(`injected_causes.py`).
"""

import json
import os
import re
import shutil
import signal
import sqlite3
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.long_run import _call
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS, Measure
from retail_lakehouse.local import processes
from retail_lakehouse.local.control import Action, SupervisorClient
from retail_lakehouse.local.stack_settings import read_settings
from retail_lakehouse.settings import Settings

LIVE_TIMEOUT_SECONDS = 600
LOCKED_SECONDS = 240
MIB = 1024 * 1024

Mend = Callable[[], None]


class Platform:
    """The platform under test: started, asked, stopped through its own commands."""

    def __init__(self, state: Path, environment: dict[str, str]) -> None:
        """Describe it; nothing is started."""
        self.state, self.environment = state, environment

    @property
    def settings(self) -> Settings:
        """Those that it runs with."""
        return Settings.load(read_settings(self.state))

    def start(self, *options: str) -> None:
        """Until it is live; it goes on behind."""
        live = ["dev", "--until-live", "--keep", "--timeout", str(LIVE_TIMEOUT_SECONDS)]
        _call(
            [*live, "--events-per-second", "300", *options],
            self.state,
            self.environment,
            check=True,
        )

    def stop(self) -> None:
        """All of it."""
        _call(["stop"], self.state, self.environment)

    def ask(self, verb: Action, name: str) -> None:
        """The supervisor, for one process."""
        SupervisorClient(self.state).request(verb, name)

    def simulate(self, *options: str) -> None:
        """A second simulator in place of the first, to its end."""
        self.ask("stop", "simulator")
        _call(["simulate", *options], self.state, self.environment, check=True)
        self.ask("start", "simulator")

    def signal_session(self, name: str, number: int) -> None:
        """A signal to every process of one that the supervisor keeps."""
        record = processes.recorded(self.state, [name])[name]
        for member in processes.session_members(record):
            os.kill(member.pid, number)


@dataclass(frozen=True, slots=True)
class Injected:
    """One cause: the check that has to tell it, under which name, and how long that may take.

    `inject` returns what a person does once it is told; None where the platform heals itself.
    """

    name: str
    check: str
    asset: str
    cause: str
    inject: Callable[[Platform], Mend | None]
    patience_seconds: float = 420.0
    recovery_seconds: float = 600.0


def _stall(platform: Platform) -> None:
    platform.signal_session("transactions", signal.SIGSTOP)


def _rush(platform: Platform) -> None:
    # More than the jobs read in two minutes, within seconds.
    options = ("--events-per-second", "60000", "--duration", "45")
    threading.Thread(target=platform.simulate, args=options, daemon=True).start()


def _silence(platform: Platform) -> Mend:
    platform.ask("stop", "simulator")
    return lambda: platform.ask("start", "simulator")


def _clock(platform: Platform) -> None:
    bootstrap = platform.settings.kafka_bootstrap

    def send() -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": bootstrap})
        for _ in range(60):
            event = {
                "event_id": str(uuid.uuid4()),
                "store_id": "clock-test",
                "sku": "clock-test",
                "quantity_on_hand": 1,
                "quantity_reserved": 0,
                "quantity_delta": 1,
                "unit_cost": "1.00",
                "event_type": "RECEIVE",
                "event_timestamp": time.time_ns() // 1_000_000 + 60_000,
            }
            producer.produce(INVENTORY.topic, json.dumps(event), key="clock-test")
            producer.flush()
            time.sleep(1)

    threading.Thread(target=send, daemon=True).start()


def _broker_down(platform: Platform) -> Mend:
    platform.ask("stop", "broker")
    return lambda: platform.ask("start", "broker")


def _pause_refresh(platform: Platform) -> Mend:
    switch = _SensorSwitch(f"http://127.0.0.1:{platform.settings.dagster_port}")
    switch.turn(is_on=False)
    return lambda: switch.turn(is_on=True)


def _cold(platform: Platform) -> Mend:
    platform.stop()
    # Longer than the service level: no shorter start could break it.
    seconds = SERVICE_LEVELS.serving_lag_seconds + 120
    starting = threading.Thread(
        target=platform.start,
        args=("--set", f"cold_start_seconds={seconds}", "--set", "statement_timeout_seconds=880"),
        daemon=True,
    )
    starting.start()

    def mend() -> None:
        platform.stop()
        starting.join(60)
        platform.start()

    return mend


def _malformed(platform: Platform) -> None:
    options = ("--malformed-share", "0.2", "--events-per-second", "1000", "--duration", "180")
    threading.Thread(target=platform.simulate, args=options, daemon=True).start()


def _lock_catalog(platform: Platform) -> None:
    path = platform.settings.catalog_db

    def hold() -> None:
        with sqlite3.connect(path, timeout=60, isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(LOCKED_SECONDS)
            connection.execute("ROLLBACK")

    threading.Thread(target=hold, daemon=True).start()


def _topic_made_again(platform: Platform) -> Mend:
    from confluent_kafka.admin import AdminClient

    from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics

    settings = platform.settings
    (topic,) = [each for each in settings.topics if each.name == INVENTORY.topic]
    replicas = settings.replication_factor(topic)
    wished = TopicSpec(topic.name, settings.partitions(topic), replicas, topic.configs(replicas))
    config = {"bootstrap.servers": settings.kafka_bootstrap}
    client = AdminClient(dict(config))
    client.delete_topics([topic.name])[topic.name].result(30)
    time.sleep(2)
    ensure_topics(config, [wished])

    def accept() -> None:
        log = (platform.state / "logs" / "inventory.log").read_text(errors="replace")
        code = re.findall(r"accept_loss=([0-9a-f]{12})", log)[-1]
        platform.stop()
        platform.start("--set", f"accept_loss={code}")

    return accept


def _fill_disk(platform: Platform) -> Mend:
    filler = platform.state / "filler"
    with filler.open("wb", buffering=0) as file:
        free = shutil.disk_usage(platform.state).free
        os.posix_fallocate(file.fileno(), 0, max(MIB, free - 4 * MIB))
        try:
            while file.write(b"x" * 65_536):
                pass
        except OSError:
            pass
    return filler.unlink


class _SensorSwitch:
    """The switch of the sensor that refreshes views, as the page has it."""

    def __init__(self, address: str) -> None:
        """The web server's address."""
        self._address = f"{address}/graphql"

    def turn(self, *, is_on: bool) -> None:
        """On or off."""
        found = self._ask(
            "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } "
            "sensors { id name } } } } }",
            {},
        )["repositoriesOrError"]["nodes"]
        (node,) = found
        (sensor,) = [each for each in node["sensors"] if each["name"] == "refresh_due_views"]
        if is_on:
            selector = {
                "repositoryName": node["name"],
                "repositoryLocationName": node["location"]["name"],
                "sensorName": sensor["name"],
            }
            mutation = (
                "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
            )
            self._ask(mutation, {"s": selector})
        else:
            mutation = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"
            self._ask(mutation, {"id": sensor["id"]})

    def _ask(self, query: str, variables: dict[str, object]) -> dict[str, object]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310 - our own server on the loopback
            self._address, body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)["data"]


CAUSES: tuple[Injected, ...] = (
    Injected("a stalled job (SIGSTOP)", Measure.INGEST_LAG, "transactions", "stalled job", _stall),
    Injected("a slow job (a rush)", Measure.INGEST_LAG, "", "slow job", _rush, 420, 900),
    Injected("a clock that is ahead by a minute", Measure.PRODUCER_CLOCK, "inventory", "", _clock),
    Injected("a broker that is down", Measure.INGEST_LAG, "inventory", "broker down", _broker_down),
    Injected(
        "a stopped producer",
        Measure.EVENTS_ARRIVE,
        "",
        "stopped producer",
        _silence,
        SERVICE_LEVELS.silence_seconds + 300,
    ),
    Injected(
        "a paused refresh",
        Measure.SERVING_LAG,
        "",
        "paused refresh",
        _pause_refresh,
        SERVICE_LEVELS.serving_lag_seconds + 300,
    ),
    Injected("a locked catalog", Measure.INGEST_LAG, "", "stalled job", _lock_catalog),
    Injected(
        "a topic deleted and made again",
        Measure.STREAMING_JOB_HEALTHY,
        "inventory",
        "",
        _topic_made_again,
    ),
    Injected(
        "a cold warehouse",
        Measure.SERVING_LAG,
        "",
        "cold warehouse",
        _cold,
        SERVICE_LEVELS.serving_lag_seconds + 600,
    ),
    Injected("a full disk", Measure.DISK_NEARLY_FULL, "", "", _fill_disk),
    # The share is of an hour: it takes that long until they are out of it.
    Injected("20% malformed events", Measure.QUARANTINE_SHARE, "", "", _malformed, 420, 4500),
)
