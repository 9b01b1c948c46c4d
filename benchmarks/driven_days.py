"""Days of stores that open and close, as the control plane sees them, with or without a fault.

Belongs here: what producers send, what a job lands of it, which sensors tick in which order, what
was told. Doesn't belong here: the platform (`driven_platform.py`), which days are driven and what
must come of them (`fourteen_days.py`).
"""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from unittest import mock
from zoneinfo import ZoneInfo

from benchmarks.driven_platform import DrivenPlatform, cost_summary, driven_platform
from retail_lakehouse.contracts.events import EVENTS, INVENTORY, event_named
from retail_lakehouse.contracts.opening_hours import OpeningCalendar, calendar_of
from retail_lakehouse.contracts.reference_data import Store, stores
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.hourly_volume import WEEK_HOURS, read_hours
from retail_lakehouse_tests.alerts.build import Receiver, receiver

STEP_SECONDS = 600
"""The longest at which no rule takes two looks for a pause of the platform (`PAUSE_MS` of the
volume), and twice the longest of the alerts' (`BREAK_SECONDS`), which tick twice a step."""
WAITING_SECONDS = 20
"""After a batch, when the stream is looked at: what came meanwhile waits."""
CONNECT_SECONDS = 20 * 60
"""Stores send nothing for so long after they open: less than the calendar's grace."""
RECORDS_A_MINUTE = 20.0
"""Of each topic with every store open: 20 times what is promised, and far below any real day."""
WAVE = 0.15
"""Traffic swings by so much, out of step with the week."""
QUARANTINED_FROM = 20
"""A batch of so many records has a bad one, once an hour."""
SNAPSHOTS_KEPT = 12
FAULTY = INVENTORY
SWITCHING_ZONES = ("Europe/Berlin", "America/New_York")


class Fault(StrEnum):
    """What is injected, of the inventory's path."""

    SILENCE = "silence"
    """Producers send nothing while stores are open."""
    STALL = "stall"
    """The job commits nothing while records come."""
    NO_REFRESH = "no refresh"
    """The sensor that refreshes views does not tick, while data lands."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Days to drive; `fault` holds for the last `broken_steps`."""

    name: str
    start: datetime
    steps: int
    zones: tuple[str, ...] = ()
    """Where the stores on the map are moved to, by turns; none: they stay where they are."""
    fault: Fault | None = None
    broken_steps: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that arrived; `at_ms` by the driven clock."""

    kind: str
    name: str
    sentence: str
    at_ms: int


@dataclass
class Outcome:
    """What came of a plan."""

    name: str
    begins: str
    hours: float
    zones: list[str]
    fault: str | None
    last_healthy_ms: int | None = None
    """The last step before the fault."""
    alerts: list[Alert] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)
    """Verdicts reported as failed, by check."""
    reported: dict[str, int] = field(default_factory=dict)
    """Events in Dagster's log, by kind."""
    records: dict[str, int] = field(default_factory=dict)
    commits: int = 0
    hours_compared: dict[str, int] = field(default_factory=dict)
    """Hours whose volume had a former week to compare with, by event."""
    openings: int = 0
    closings: int = 0
    switches: dict[str, list[str]] = field(default_factory=dict)
    """By zone, the hours (UTC) at which its clock was moved."""
    ticks: dict[str, dict[str, float | int]] = field(default_factory=dict)
    took_seconds: float = 0.0

    @property
    def opened(self) -> set[str]:
        """Names of the incidents that were told."""
        return {alert.name for alert in self.alerts if alert.kind == "opened"}

    @property
    def told_after_seconds(self) -> float | None:
        """From the last healthy step to the first alert."""
        if self.last_healthy_ms is None or not self.alerts:
            return None
        return (min(alert.at_ms for alert in self.alerts) - self.last_healthy_ms) / 1000


def moved(known: Iterable[Store], zones: tuple[str, ...]) -> tuple[Store, ...]:
    """The stores on the map put into `zones` by turns, with their hours; none: all as they are."""
    return tuple(
        store
        if store.is_virtual or not zones
        else replace(store, time_zone=zones[number % len(zones)])
        for number, store in enumerate(known)
    )


@contextmanager
def stores_are(found: tuple[Store, ...]) -> Iterator[None]:
    """The calendars of all that asks for them are those of these stores."""
    with mock.patch("retail_lakehouse.contracts.opening_hours.stores", return_value=found):
        calendar_of.cache_clear()
        try:
            yield
        finally:
            calendar_of.cache_clear()


@dataclass
class Traffic:
    """What the producers of one topic send, by the hours of their stores."""

    calendar: OpeningCalendar
    _owed: float = 0.0

    def records(self, since_ms: int, until_ms: int) -> int:
        """Whole records sent in that time; what is left of one comes later."""
        if until_ms <= since_ms:
            return 0
        # The slot that begins at the end is not over.
        share = self.calendar.mean_open_share(since_ms, until_ms - 1)
        wave = 1 + WAVE * math.sin(until_ms / 3_600_000)
        self._owed += RECORDS_A_MINUTE * (until_ms - since_ms) / 60_000 * share * wave
        whole = math.floor(self._owed)
        self._owed -= whole
        return whole


def edges(shares: Iterable[float]) -> tuple[int, int]:
    """How often more stores were open than the look before, and how often fewer."""
    pairs = list(pairwise(shares))
    return sum(after > before for before, after in pairs), sum(b > a for b, a in pairs)


def switches_of(zone: str, start: datetime, hours: float) -> list[str]:
    """The hours (UTC) at which the zone's clock was moved."""
    begin = int(start.timestamp())
    offsets = [
        (at, datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone)).utcoffset())
        for at in range(begin, begin + int(hours * 3600) + 1, 3600)
    ]
    return [
        datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        for (_, before), (at, after) in pairwise(offsets)
        if before != after
    ]


class Days:
    """A platform and the traffic that it sees."""

    def __init__(self, platform: DrivenPlatform, end: Receiver, fault: Fault | None) -> None:
        self.platform, self.end, self.fault = platform, end, fault
        self.alerts: list[Alert] = []
        self.shares: list[float] = []
        # Stores connect later than they open, and earlier than they must.
        self._traffic = {
            event.name: Traffic(replace(calendar_of(event.name), grace_seconds=CONNECT_SECONDS))
            for event in EVENTS
        }
        self._sent_until_ms = platform.clock.at_ms - STEP_SECONDS * 1000
        self._read = 0

    def step(self, number: int, *, is_broken: bool) -> None:
        """One step: a batch of each job, then the sensors in the order in which they come."""
        platform, clock = self.platform, self.platform.clock
        begun_ms, fault = clock.at_ms, self.fault if is_broken else None
        self._send(fault)
        for event in EVENTS:
            if fault is not Fault.STALL or event is not FAULTY:
                self._land(event.name, is_hour=number % (3600 // STEP_SECONDS) == 0)
        clock.forward(WAITING_SECONDS / 2)
        if fault is not Fault.NO_REFRESH:
            platform.tick("refresh_due_views")
        clock.forward(WAITING_SECONDS / 2)
        self._send(fault)
        platform.tick("watch_stream")
        clock.forward(10)
        self._tell()
        if number % (3600 // STEP_SECONDS) == 0:
            platform.tick("report_snapshots")
            platform.tick("prune_history")
            platform.expire(SNAPSHOTS_KEPT)
        clock.forward(STEP_SECONDS / 2)
        self._tell()
        self.shares.append(calendar_of(FAULTY.name).open_share(begun_ms))
        clock.forward((begun_ms - clock.at_ms) / 1000 + STEP_SECONDS)

    def _send(self, fault: Fault | None) -> None:
        """What producers sent since the last time waits in the topics."""
        since_ms, until_ms = self._sent_until_ms, self.platform.clock.at_ms
        self._sent_until_ms = until_ms
        kafka = self.platform.kafka
        for event in EVENTS:
            if fault is Fault.SILENCE and event is FAULTY:
                continue
            sent = self._traffic[event.name].records(since_ms, until_ms)
            if sent:
                kafka.ends[event.name] = kafka.ends.get(event.name, 0) + sent
                kafka.since_ms.setdefault(event.topic, since_ms)

    def _land(self, event: str, *, is_hour: bool) -> None:
        platform = self.platform
        waiting = platform.kafka.ends.get(event, 0) - platform.landed(event)
        if waiting:
            bad = int(is_hour and waiting >= QUARANTINED_FROM)
            platform.land(event, waiting - bad, bad)
            platform.kafka.since_ms.pop(event_named(event).topic, None)

    def _tell(self) -> None:
        self.platform.tick("send_alerts")
        for received in self.end.taken[self._read :]:
            self._read += 1
            for alert in received.body["alerts"]:
                name = f"{alert['asset']}:{alert['check']}"
                at_ms = self.platform.clock.at_ms
                self.alerts.append(Alert(alert["kind"], name, alert["sentence"], at_ms))


def drive(plan: Plan, folder: Path) -> Outcome:
    """Drives the days of a plan in a fresh folder, in this process."""
    hours = plan.steps * STEP_SECONDS / 3600
    outcome = Outcome(
        name=plan.name,
        begins=plan.start.strftime("%Y-%m-%d %H:%M UTC"),
        hours=round(hours, 2),
        zones=list(plan.zones),
        fault=None if plan.fault is None else plan.fault.value,
        switches={zone: switches_of(zone, plan.start, hours) for zone in plan.zones},
    )
    begun = time.perf_counter()
    with receiver() as end, stores_are(moved(stores(), plan.zones)):
        settings = _settings(folder, end.url)
        with driven_platform(settings, plan.start) as platform:
            days = Days(platform, end, plan.fault)
            first_broken = plan.steps - plan.broken_steps
            for number in range(plan.steps):
                if plan.fault is not None and number == first_broken:
                    outcome.last_healthy_ms = platform.clock.at_ms - STEP_SECONDS * 1000
                days.step(number, is_broken=number >= first_broken)
    outcome.took_seconds = round(time.perf_counter() - begun, 1)
    outcome.alerts = days.alerts
    outcome.failing, outcome.reported = dict(platform.failing), dict(platform.reported)
    outcome.records, outcome.commits = dict(platform.kafka.ends), platform.commits
    outcome.openings, outcome.closings = edges(days.shares)
    outcome.ticks = {name: cost_summary(costs) for name, costs in sorted(platform.costs.items())}
    outcome.hours_compared = {
        event: sum(hour - WEEK_HOURS in known.records for hour in known.records)
        for event, known in read_hours(settings.root).items()
    }
    return outcome


def _settings(folder: Path, url: str) -> Settings:
    """The intervals of AWS over a local catalog, and a real receiver of alerts."""
    folder.mkdir(parents=True, exist_ok=True)
    routes = folder / "routes.toml"
    routes.write_text(f'[[route]]\nname = "hook"\nkind = "webhook"\nurl = "{url}/"\n')
    return Settings.load(
        {
            "state_dir": folder / "state",
            "alert_routes_file": routes,
            "sensor_interval_seconds": 30,
            "refresh_interval_seconds": 300,
            "trigger_seconds": 60,
            "snapshot_retention_minutes": 24 * 60,
        }
    )
