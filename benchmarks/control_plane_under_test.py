"""The control plane alone, started to be broken: what arrives, when it works again, one fault.

Belongs here: the processes, a fault's course, and that nothing is left of it. Doesn't belong here:
the faults (`watchdog_faults.py`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from retail_lakehouse.build import build_defs
from retail_lakehouse.contracts.service_levels import WATCHDOG_MEASURES
from retail_lakehouse.local.control import Action, ControlServer
from retail_lakehouse.local.dagster_instance import dagster_home, make_instance
from retail_lakehouse.local.dagster_workspace import write_workspace
from retail_lakehouse.local.ports import free_ports
from retail_lakehouse.local.stack import Stack
from retail_lakehouse.local.stack_units import WATCHDOG
from retail_lakehouse.local.supervisor import Supervisor
from retail_lakehouse.local.watchdog.history import HistoryUnreadableError, read_history
from retail_lakehouse.local.watchdog.look import CODE_SERVER_PROCESS, DAEMON_PROCESS, disk_of
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.looks import TickEnd
from retail_lakehouse_tests.alerts.build import Received, Receiver, receiver

KEPT = (CODE_SERVER_PROCESS, DAEMON_PROCESS, WATCHDOG)
MIB = 1024 * 1024
SPARE_MB = 4096
"""So much others may write meanwhile on the same disk before the watchdog tells of it."""

FREQUENT_SECONDS = 60
"""Whoever ticks less often says nothing of whether the control plane works again."""

Step = Callable[[], None]


def nothing() -> None:
    """What is done where nothing has to be."""


@dataclass(frozen=True)
class Fault:
    """One fault: the incident that tells it, and what mends it once it is told.

    One that is not `is_told` heals before anybody has to be told.
    """

    name: str
    incident: str
    begin: Step
    healed_by: str
    mend: Step = nothing
    is_told: bool = True
    patience: float = 300


@dataclass(frozen=True)
class Row:
    """What came of a fault. Seconds from its beginning; None where it did not happen."""

    fault: str
    told_after_seconds: float | None
    message: str
    works_again_after_seconds: float | None
    recovery_told_after_seconds: float | None
    healed_by: str
    others_told: list[str]
    """Names of other incidents of the watchdog's that were told: each is one too many."""
    load_average: float | None = None
    """Of the machine's last minute, at the end: all of it takes longer on a busy one."""
    alerts_lost: int | None = None
    """Of the opening and the recovery, where they are to be told; None where nobody counted."""


class Bench:
    """The processes, and what arrived."""

    def __init__(self, settings: Settings, end: Receiver) -> None:
        """Describe it; nothing is started."""
        self.settings, self.end = settings, end
        units = [unit for unit in Stack(settings).units() if unit.name in KEPT]
        self.supervisor = Supervisor(settings.root, units)
        self.frequent = {
            sensor.name
            for sensor in build_defs(settings).sensors or ()
            if (sensor.minimum_interval_seconds or 0) <= FREQUENT_SECONDS
        }
        self._arrived: list[tuple[float, str, str, str]] = []
        self._read = 0

    def answer(self, action: str, request: object) -> object:
        """The supervisor's door."""
        if action == "status":
            return {name: each.to_json() for name, each in self.supervisor.status().items()}
        actions: dict[str, Action] = {"start": "start", "stop": "stop", "restart": "restart"}
        name = request["name"] if isinstance(request, dict) else ""
        return self.supervisor.request(actions[action], str(name)).to_json()

    def pid(self, name: str) -> int:
        """The leader's process id, waited for."""
        wait(lambda: self.supervisor.status()[name].pid is not None, 120)
        pid = self.supervisor.status()[name].pid
        if pid is None:
            raise RuntimeError(f"{name} has ended again.")
        return pid

    def arrivals(self) -> list[tuple[float, str, str, str]]:
        """Time, kind, name and sentence of each alert of the watchdog's that arrived."""
        for received in self.end.taken[self._read :]:
            self._read += 1
            self._arrived += alerts_of(received)
        return self._arrived

    def works(self, since_ms: float) -> bool:
        """Every sensor that ticks within a minute has ticked well since then."""
        try:
            states = read_history(dagster_home(self.settings.root)).states
        except HistoryUnreadableError:
            return False
        well = {
            state.name
            for state in states
            if any(t.end is TickEnd.WELL and t.at_ms > since_ms for t in state.ticks)
        }
        return self.frequent <= well

    def measure(self, fault: Fault) -> Row:
        """Let the fault happen, and say what came of it.

        Raises:
            TimeoutError: the control plane did not work before it.
        """
        print(f"{time.strftime('%H:%M:%S')} {fault.name}", flush=True)  # noqa: T201
        wait(lambda: self.works(time.time() * 1000 - 60_000), 600)
        time.sleep(25)
        self.arrivals()
        self._arrived.clear()
        began, since_ms = time.monotonic(), time.time() * 1000
        fault.begin()
        told = recovered = None
        if fault.is_told:
            told = self._arrival("opened", fault.incident, began, fault.patience)
            since_ms = time.time() * 1000
            fault.mend()
        works = _seconds(lambda: self.works(since_ms), began, fault.patience)
        if fault.is_told:
            recovered = self._arrival("recovered", fault.incident, began, fault.patience)
        time.sleep(5)
        arrived = self.arrivals()
        message = next(
            (s for _, kind, n, s in arrived if (kind, n) == ("opened", fault.incident)), ""
        )
        row = Row(
            fault.name,
            told,
            # The folder is this run's alone, and cut short in places.
            message.replace(str(self.settings.root.parent), "…"),
            works,
            recovered,
            fault.healed_by,
            sorted({f"{kind} {n}" for _, kind, n, _ in arrived if n != fault.incident}),
            round(os.getloadavg()[0], 1),
            [told, recovered].count(None) if fault.is_told else 0,
        )
        print(json.dumps(asdict(row)), flush=True)  # noqa: T201
        return row

    def _arrival(self, kind: str, name: str, began: float, patience: float) -> float | None:
        def found() -> list[float]:
            return [at for at, k, n, _ in self.arrivals() if (k, n) == (kind, name)]

        if _seconds(lambda: bool(found()), began, patience) is None:
            return None
        return round(found()[0] - began, 1)


def _seconds(condition: Callable[[], bool], began: float, patience: float) -> float | None:
    """When it held; None if it did not in time."""
    try:
        wait(condition, patience)
    except TimeoutError:
        return None
    return round(time.monotonic() - began, 1)


def alerts_of(received: Received) -> Iterator[tuple[float, str, str, str]]:
    """Those that are the watchdog's; the others are the sensors'."""
    for told in received.body["alerts"]:
        if told["check"] in set(WATCHDOG_MEASURES):
            name = f"{told['asset']}:{told['check']}"
            yield received.at, told["kind"], name, told["sentence"]


def wait(condition: Callable[[], bool], seconds: float) -> None:
    """Until it holds.

    Raises:
        TimeoutError: it does not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.2)


@contextmanager
def running(folder: Path) -> Iterator[Bench]:
    """The control plane in a folder, its processes started; they are ended whatever happens."""
    ports = free_ports(4)
    with receiver() as end:
        routes = folder / "routes.toml"
        routes.write_text(f'[[route]]\nname = "hook"\nkind = "webhook"\nurl = "{end.url}/"\n')
        disk = disk_of(folder)
        free_mb = 0 if disk is None else disk.free_bytes // MIB
        settings = Settings.load(
            {
                "state_dir": folder / "state",
                "alert_routes_file": routes,
                "broker_port": ports[0],
                "controller_port": ports[1],
                "warehouse_port": ports[2],
                "dagster_port": ports[3],
                "disk_warning_mb": max(1, free_mb - SPARE_MB),
                "disk_critical_mb": 1,
            }
        )
        make_instance(settings.root)
        write_workspace(settings.root)
        bench = Bench(settings, end)
        control = ControlServer(settings.root, bench.answer)
        bench.supervisor.open()
        try:
            control.start()
            for name in KEPT:
                bench.supervisor.request("start", name)
            yield bench
        finally:
            bench.supervisor.close()
            control.close()
