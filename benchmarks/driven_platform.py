"""The control plane on a real Dagster instance and real tables, under a clock that is driven.

Real are the sensors of the definitions, the checks, the alerts with their outbox, the instance with
its files, the tables with their marks. Kafka, the jobs and the warehouse are those of the tests.

Belongs here: the clock, what is real and what is stood in for, one tick as Dagster's daemon makes
it. Doesn't belong here: what lands and when (`event_log.py`, `driven_days.py`).
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from statistics import median
from typing import Self
from unittest import mock

import dagster as dg

from retail_lakehouse.build import build_defs
from retail_lakehouse.contracts.job_states import JobEvent
from retail_lakehouse.contracts.tables import EVENT_TABLES, QUARANTINE_TABLES, event_table
from retail_lakehouse.kafka.arrival import Place
from retail_lakehouse.local.dagster_instance import write_instance
from retail_lakehouse.resources.notifier import NotifierResource
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.resources.fakes import FakeJobs, FakeKafka, FakeWarehouse, Lakehouse

NEWEST_AGE_SECONDS = 5.0
"""Of the newest record of a batch when it is committed."""


class Clock:
    """Stands for the wall clock, and goes on only when it is told to."""

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms

    def forward(self, seconds: float) -> None:
        """Goes on."""
        self.at_ms += round(seconds * 1000)

    def seconds(self) -> float:
        """In the place of `time.time`."""
        return self.at_ms / 1000

    def nanoseconds(self) -> int:
        """In the place of `time.time_ns`."""
        return self.at_ms * 1_000_000

    def now(self) -> datetime:
        """In the place of Dagster's own."""
        return datetime.fromtimestamp(self.at_ms / 1000, UTC)


class _Datetime(datetime):
    """What is written in C cannot be patched: modules get this in its place."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)


@contextmanager
def driven(clock: Clock) -> Iterator[None]:
    """Everything in this process that asks for the time of day gets the clock's.

    How long something takes is measured by other clocks, which go on by themselves.
    """
    with ExitStack() as patches:
        for place, stand_in in (
            ("time.time", clock.seconds),
            ("time.time_ns", clock.nanoseconds),
            ("dagster._time._mockable_get_current_datetime", clock.now),
            ("retail_lakehouse.assets.history.datetime", _Datetime),
            ("retail_lakehouse_tests.resources.fakes.datetime", _Datetime),
        ):
            patches.enter_context(mock.patch(place, stand_in))
        yield


@dataclass(frozen=True, slots=True)
class TickCost:
    """Milliseconds of one tick: evaluating the sensor, and storing what it reported."""

    evaluated_ms: float
    stored_ms: float

    @property
    def total_ms(self) -> float:
        """Both."""
        return self.evaluated_ms + self.stored_ms


def cost_summary(costs: list[TickCost]) -> dict[str, float | int]:
    """Number of ticks; median, 95th percentile and most of their milliseconds."""
    totals = sorted(cost.total_ms for cost in costs)
    if not totals:
        return {"ticks": 0}
    return {
        "ticks": len(totals),
        "median_ms": round(median(totals), 1),
        "p95_ms": round(totals[min(len(totals) - 1, int(len(totals) * 0.95))], 1),
        "most_ms": round(totals[-1], 1),
        "median_evaluated_ms": round(median(cost.evaluated_ms for cost in costs), 1),
    }


@dataclass
class DrivenKafka(FakeKafka):
    """Topics whose records wait since an instant of their own."""

    since_ms: dict[str, int] = field(default_factory=dict)
    """By topic, the broker time of the first record that waits."""

    def arrived(self, offsets: Mapping[Place, int], at_ms: int) -> dict[Place, int]:
        """As KafkaResource answers."""
        return {place: self.since_ms[place[0]] for place in offsets if place[0] in self.since_ms}


class DrivenPlatform:
    """Sensors that are ticked by hand, one after the other; all of it under a driven clock."""

    def __init__(self, settings: Settings, clock: Clock, instance: dg.DagsterInstance) -> None:
        self.settings, self.clock, self.instance = settings, clock, instance
        self.lakehouse = Lakehouse(settings)
        self.kafka = DrivenKafka()
        self.repository = build_defs(settings).get_repository_def()
        self.costs: dict[str, list[TickCost]] = {}
        self.reported: Counter[str] = Counter()
        """Events by their kind."""
        self.failing: Counter[str] = Counter()
        """Verdicts that were reported as failed, by the check's name."""
        self.commits = 0
        self.cursors: dict[str, str | None] = {}
        self._resources: dict[str, object] = {
            "kafka": self.kafka,
            "iceberg": self.lakehouse.resource(),
            "warehouse": FakeWarehouse(),
            "streaming_jobs": FakeJobs(told=JobEvent.RUN_UP),
            "notifier": NotifierResource.of(settings),
        }
        self._merge_manifests()

    def tick(self, name: str) -> dg.SensorResult:
        """Evaluates a sensor and stores what it reports, as the daemon does.

        Raises:
            TypeError: the sensor answers something else than ours do.
        """
        sensor = self.repository.get_sensor_def(name)
        begun = time.perf_counter()
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            repository_def=self.repository,
            resources={key: self._resources[key] for key in sensor.required_resource_keys},
        ) as context:
            result = sensor(context)
        if not isinstance(result, dg.SensorResult):
            raise TypeError(f"The sensor {name} answered a {type(result).__name__}.")
        evaluated = time.perf_counter()
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
            self.reported[type(event).__name__] += 1
            if isinstance(event, dg.AssetCheckEvaluation) and not event.passed:
                self.failing[f"{'/'.join(event.asset_key.path)}:{event.check_name}"] += 1
        stored = time.perf_counter()
        self.cursors[name] = result.cursor
        cost = TickCost((evaluated - begun) * 1000, (stored - evaluated) * 1000)
        self.costs.setdefault(name, []).append(cost)
        return result

    def land(self, event: str, rows: int, quarantined: int = 0) -> None:
        """One batch of a job: what is bad first, then the rows, each under its mark."""
        if quarantined:
            self.lakehouse.quarantine(event, [b"{"] * quarantined)
            self.commits += 1
        self.lakehouse.commit(event, rows, quarantined=quarantined, age_seconds=NEWEST_AGE_SECONDS)
        self.commits += 1

    def landed(self, event: str) -> int:
        """Records of the event's topic that its table's marks cover."""
        mark = self.lakehouse.marks.get(event_table(event).name)
        return mark.until[0] if mark else 0

    def expire(self, keep_newest: int) -> None:
        """Leaves each table so many snapshots."""
        for contract in (*EVENT_TABLES, *QUARANTINE_TABLES):
            table = self.lakehouse.catalog.load_table(contract.identifier)
            going = [each.snapshot_id for each in table.metadata.snapshots][:-keep_newest]
            if going:
                table.maintenance.expire_snapshots().by_ids(going).commit()

    def _merge_manifests(self) -> None:
        # As compaction would: else each commit lists all that were before it.
        for contract in (*EVENT_TABLES, *QUARANTINE_TABLES):
            table = self.lakehouse.catalog.load_table(contract.identifier)
            with table.transaction() as transaction:
                transaction.set_properties({"commit.manifest-merge.enabled": "true"})


@contextmanager
def driven_platform(settings: Settings, start: datetime) -> Iterator[DrivenPlatform]:
    """The platform in the settings' state folder, its clock at `start`; it ends with the block."""
    clock = Clock(round(start.timestamp() * 1000))
    home = write_instance(settings.root)
    with driven(clock), dg.DagsterInstance.from_config(str(home)) as instance:
        yield DrivenPlatform(settings, clock, instance)
