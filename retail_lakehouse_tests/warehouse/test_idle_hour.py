"""Nothing connects to the warehouse just to look: every query bills on Redshift.

Here: an hour in which nothing arrives, lived through by all that runs by itself (every sensor) and
all that people and scripts ask again and again (checks, status, doctor), against the real broker,
catalog and stand-in server, whose connections are counted. The clock is simulated, the intervals
are those of AWS. Not here: what a refresh does.
"""

import importlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dagster as dg
import pytest
from confluent_kafka.admin import AdminClient

from retail_lakehouse.assets.keys import topic_key, view_key
from retail_lakehouse.build import build_defs
from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.contracts.views import VIEWS
from retail_lakehouse.kafka.topics import TopicSpec, ensure_topics
from retail_lakehouse.local.broker import Broker
from retail_lakehouse.local.dagster_instance import write_instance
from retail_lakehouse.local.doctor import examine
from retail_lakehouse.local.facts import TableReader
from retail_lakehouse.local.status import collect_status
from retail_lakehouse.sensors.views import SESSION_LABEL
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.client import WarehouseClient
from retail_lakehouse.warehouse.ddl import ensure_schemas, ensure_views
from retail_lakehouse_tests.resources import fakes
from retail_lakehouse_tests.warehouse.conftest import make_lakehouse

pytestmark = pytest.mark.stack

AWS_INTERVALS = {"sensor_interval_seconds": 30, "refresh_interval_seconds": 300}
STATUS_SECONDS = 300
CHECKS_SECONDS = 900
HOUR_SECONDS = 3600


@dataclass(frozen=True)
class Log:
    """Who had connected to the server by a look, which was the connection numbered `until`."""

    until: int
    label_of: dict[int, str]
    statements: Counter[int]

    def since(self, before: "Log") -> list[tuple[str, int]]:
        """Label and statements of each connection between two looks, a silent one's too."""
        return [
            (self.label_of.get(number, ""), self.statements[number])
            for number in range(before.until + 1, self.until)
        ]


@dataclass
class Platform:
    """All that runs by itself, over a lakehouse in which nothing arrives unless a test lands it."""

    settings: Settings
    tables: fakes.Lakehouse
    instance: dg.DagsterInstance
    cursors: dict[str, str | None] = field(default_factory=dict)
    seconds: float = 0.0
    """How far the simulated clock is ahead of the real one."""

    def __post_init__(self) -> None:
        checks = dg.define_asset_job("checks", selection=dg.AssetSelection.all_asset_checks())
        defs = dg.Definitions.merge(build_defs(self.settings), dg.Definitions(jobs=[checks]))
        self.repository = defs.get_repository_def()
        self.checks = defs.resolve_job_def("checks")

    def log(self) -> Log:
        """Who connected so far, in the order of connecting."""
        with WarehouseClient.from_settings(self.settings).session("tests:log") as session:
            rows = session.rows("SELECT session_id, query_label FROM sys_query_history")
        # A session's first statements give it its label.
        label_of = {int(number): str(label).strip() for number, label in rows}
        statements = Counter(int(number) for number, _ in rows)
        return Log(max(label_of), label_of, statements)

    def tick(self, sensor: dg.SensorDefinition) -> list[Any]:
        """One tick as the daemon makes it; returns its events."""
        resources = self.repository.get_top_level_resources()
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(sensor.name),
            repository_def=self.repository,
            resources={name: resources[name] for name in sensor.required_resource_keys},
        ) as context:
            told = sensor.evaluate_tick(context)
        assert not told.run_requests
        self.cursors[sensor.name] = told.cursor
        return list(told.asset_events)

    def tick_all(self) -> dict[str, list[Any]]:
        """One tick of each sensor: whatever was due is done then. Returns the events of each."""
        return {sensor.name: self.tick(sensor) for sensor in self.repository.sensor_defs}

    def check(self) -> int:
        """Evaluates every check that there is; returns how many."""
        result = self.checks.execute_in_process(instance=self.instance)
        return len(result.get_asset_check_evaluations())

    def live(self, seconds: int) -> Counter[str]:
        """Lets `seconds` pass; returns how often each thing happened."""
        reader, happened = TableReader(self.settings), Counter[str]()
        routine: list[tuple[str, int, Callable[[], object]]] = [
            (sensor.name, sensor.minimum_interval_seconds or 30, partial(self.tick, sensor))
            for sensor in self.repository.sensor_defs
        ]
        routine += [
            ("status", STATUS_SECONDS, lambda: collect_status(self.settings)),
            ("live line", STATUS_SECONDS, reader.read),
            ("checks", CHECKS_SECONDS, self.check),
            ("doctor", CHECKS_SECONDS, lambda: examine(self.settings)),
        ]
        due = sorted(
            (at, name, act)
            for name, every, act in routine
            for at in range(min(every, seconds), seconds + 1, every)
        )
        passed = 0
        for at, name, act in due:
            self.seconds += at - passed
            passed = at
            act()
            happened[name] += 1
        return happened


@pytest.fixture(scope="module")
def platform(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform with rows in each event table and views that were never refreshed."""
    client: dict[str, Any] = {"bootstrap.servers": broker.bootstrap_servers}
    admin = AdminClient(client)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as ended:
        names = [topic.name for topic in TOPICS]
        ensure_topics(client, [TopicSpec(topic.name, 3, 1, topic.configs(1)) for topic in TOPICS])
        ended.callback(_delete, admin, names)
        lakehouse = make_lakehouse(
            tmp_path_factory.mktemp("idle") / "state",
            bootstrap_servers=broker.bootstrap_servers,
            **AWS_INTERVALS,
        )
        ended.callback(lakehouse.stop)
        with lakehouse.client.session("tests:views") as session:
            ensure_schemas(session)
            ensure_views(session)
        tables = fakes.Lakehouse(lakehouse.settings)
        for event in EVENTS:
            tables.commit(event.name, 5)
        # One in memory has no ticks, which are pruned too.
        home = write_instance(lakehouse.settings.root)
        instance = ended.enter_context(dg.DagsterInstance.from_config(str(home)))
        made = Platform(lakehouse.settings, tables, instance)
        real_time, real_time_ns = time.time, time.time_ns
        patch.setattr(time, "time", lambda: real_time() + made.seconds)
        patch.setattr(time, "time_ns", lambda: real_time_ns() + int(made.seconds * 10**9))
        yield made


def _delete(admin: AdminClient, names: list[str]) -> None:
    for done in admin.delete_topics(names, operation_timeout=20).values():
        done.result(timeout=30)


def test_the_first_refresh_counts_every_view_in_its_one_session(platform: Platform) -> None:
    before = platform.log()
    events = platform.tick_all()
    ((label, _),) = platform.log().since(before)
    assert label == SESSION_LABEL
    refreshed = {e.asset_key for e in events["refresh_due_views"] if is_materialization(e)}
    assert refreshed == {view_key(view) for view in VIEWS}
    # The other sensors see a live stream, not an outage that would spare them the work.
    observed = {e.asset_key for e in events["watch_stream"] if isinstance(e, dg.AssetObservation)}
    assert observed >= {topic_key(event) for event in EVENTS}
    assert len([e for e in events["report_snapshots"] if is_materialization(e)]) >= len(EVENTS)

    told = collect_status(platform.settings)["views"]
    assert isinstance(told, dict)
    with WarehouseClient.from_settings(platform.settings).session("tests:rows") as session:
        for view in VIEWS:
            ((rows,),) = session.rows(f"SELECT COUNT(*) FROM {view.qualified_name}")
            assert told[view.qualified_name]["rows"] == rows, view.name
            assert told[view.qualified_name]["rows_age_seconds"] is not None, view.name


def test_an_idle_hour_sends_the_warehouse_no_statement_and_opens_no_connection(
    platform: Platform,
) -> None:
    platform.tick_all()
    # What runs by itself beside sensors is maintenance: nothing that it is given leads there.
    maintenance = [
        platform.repository.get_job(schedule.job_name)
        for schedule in platform.repository.schedule_defs
    ]
    given = {key for job in maintenance for key in job.required_resource_keys}
    assert given == {"maintenance", "io_manager"}
    assert platform.check() == len(platform.repository.asset_graph.asset_check_keys)
    before, cursors = platform.log(), dict(platform.cursors)
    assert platform.live(HOUR_SECONDS) == {
        "watch_stream": 120,
        "report_snapshots": 120,
        "refresh_due_views": 12,
        "send_alerts": 120,
        "prune_history": 1,
        "status": 12,
        "live line": 12,
        "checks": 4,
        "doctor": 4,
    }
    # They did look, and went on with their heartbeats.
    for name in ("watch_stream", "refresh_due_views"):
        assert platform.cursors[name] != cursors[name]
    # Not even a refresh: nothing is due while nothing arrives.
    assert platform.log().since(before) == []


def test_what_arrives_opens_one_session_however_often_it_is_looked_at(platform: Platform) -> None:
    platform.tick_all()
    before = platform.log()
    platform.tables.commit("inventory", 1)
    platform.tables.commit("clickstream", 1)
    platform.live(2 * AWS_INTERVALS["refresh_interval_seconds"])
    ((label, statements),) = platform.log().since(before)
    assert label == SESSION_LABEL
    assert statements > 0


@pytest.mark.parametrize(
    "culprit",
    [
        "retail_lakehouse.sensors.stream.look_at_stream",
        "retail_lakehouse.sensors.views.read_records",
        "retail_lakehouse.checks.views.read_records",
        "retail_lakehouse.local.status.read_views",
        "retail_lakehouse.local.doctor.holder_pid",
    ],
)
def test_a_look_that_opens_a_session_is_found_out(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, culprit: str
) -> None:
    module, _, name = culprit.rpartition(".")
    innocent = getattr(importlib.import_module(module), name)

    def looks(*arguments: object) -> object:
        with WarehouseClient.from_settings(platform.settings).session("looks"):
            return innocent(*arguments)

    platform.tick_all()
    before = platform.log()
    monkeypatch.setattr(culprit, looks)
    platform.live(60)
    assert {label for label, _ in platform.log().since(before)} == {"looks"}


def is_materialization(event: object) -> bool:
    return isinstance(event, dg.AssetMaterialization)
