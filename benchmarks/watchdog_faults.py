"""How long the watchdog takes to find each fault of the control plane, what it says, what heals it.

`python -m benchmarks.watchdog_faults [--out FOLDER]`: about 20 minutes, without Kafka and Spark.
The real supervisor keeps the real code server, daemon and watchdog with the limits of the service
levels; a real HTTP receiver is the notifier. Broker and warehouse are down all the while, which is
no fault of the control plane's: the watchdog must not tell of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.stack_samples import machine
from retail_lakehouse.contracts.service_levels import WATCHDOG_MEASURES
from retail_lakehouse.local.control import Action, ControlServer
from retail_lakehouse.local.dagster_instance import dagster_home, write_instance
from retail_lakehouse.local.dagster_workspace import write_workspace
from retail_lakehouse.local.ports import free_ports
from retail_lakehouse.local.stack import Stack
from retail_lakehouse.local.stack_units import WATCHDOG
from retail_lakehouse.local.supervisor import Supervisor
from retail_lakehouse.local.watchdog.history import HistoryUnreadableError, read_history
from retail_lakehouse.local.watchdog.look import (
    CODE_SERVER_PROCESS,
    DAEMON_PROCESS,
    disk_of,
)
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.looks import TickEnd
from retail_lakehouse_tests.alerts.build import Received, Receiver, receiver

KEPT = (CODE_SERVER_PROCESS, DAEMON_PROCESS, WATCHDOG)
MIB = 1024 * 1024
SPARE_MB = 4096
"""So much others may write meanwhile on the same disk before the watchdog tells of it."""


@dataclass(frozen=True)
class Row:
    """One fault. Seconds from its beginning; None where it did not happen."""

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


class Bench:
    """The processes, and what arrived."""

    def __init__(self, settings: Settings, end: Receiver, only: str) -> None:
        """Describe it; nothing is started. `only`: faults with these words."""
        self.only = only
        self.settings, self.end = settings, end
        units = [unit for unit in Stack(settings).units() if unit.name in KEPT]
        self.supervisor = Supervisor(settings.root, units)
        self.rows: list[Row] = []
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
            self._arrived += alerts_of(received, time.monotonic())
        return self._arrived

    def works(self, since_ms: float) -> bool:
        """Every sensor has ticked well since then."""
        try:
            states = read_history(dagster_home(self.settings.root)).states
        except HistoryUnreadableError:
            return False
        return len(states) >= 4 and all(
            any(t.end is TickEnd.WELL and t.at_ms > since_ms for t in state.ticks)
            for state in states
        )

    def measure(
        self,
        fault: str,
        name: str,
        begin: Callable[[], None],
        healed_by: str,
        *,
        mend: Callable[[], None] = lambda: None,
        is_told: bool = True,
        patience: float = 300,
    ) -> None:
        """Let the fault happen, and write down what comes of it."""
        if not any(words in fault for words in self.only.split("|")):
            return
        print(f"{time.strftime('%H:%M:%S')} {fault}", flush=True)  # noqa: T201
        wait(lambda: self.works(time.time() * 1000 - 60_000), 600)
        time.sleep(25)
        self.arrivals()
        self._arrived.clear()
        began, since_ms = time.monotonic(), time.time() * 1000
        begin()
        told = recovered = None
        if is_told:
            told = self._arrival("opened", name, began, patience)
            since_ms = time.time() * 1000
            mend()
        works = _seconds(lambda: self.works(since_ms), began, patience)
        if is_told:
            recovered = self._arrival("recovered", name, began, patience)
        time.sleep(5)
        message = next(
            (s for _, kind, n, s in self.arrivals() if (kind, n) == ("opened", name)), ""
        )
        # The folder is this run's alone, and cut short in places.
        message = message.replace(str(self.settings.root.parent), "…")
        others = sorted({f"{kind} {n}" for _, kind, n, _ in self.arrivals() if n != name})
        load = round(os.getloadavg()[0], 1)
        row = Row(fault, told, message, works, recovered, healed_by, others, load)
        self.rows.append(row)
        print(json.dumps(asdict(row)), flush=True)  # noqa: T201

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


def alerts_of(received: Received, at: float) -> Iterator[tuple[float, str, str, str]]:
    """Those that are the watchdog's; the others are the sensors'."""
    for told in received.body["alerts"]:
        if told["check"] in set(WATCHDOG_MEASURES):
            yield at, told["kind"], f"{told['asset']}:{told['check']}", told["sentence"]


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
def running(folder: Path, only: str) -> Iterator[Bench]:
    """The control plane in a folder, up and ticking."""
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
        write_instance(settings.root)
        write_workspace(settings.root)
        bench = Bench(settings, end, only)
        bench.supervisor.open()
        control = ControlServer(settings.root, bench.answer)
        control.start()
        try:
            for name in KEPT:
                bench.supervisor.request("start", name)
            yield bench
        finally:
            bench.supervisor.close()
            control.close()


def run(bench: Bench) -> dict[str, object]:
    """Every fault, one after the other."""
    daemon, code = "control_plane:daemon_ticks", "control_plane:code_server_answers"
    outbox = bench.settings.alerts_dir / "outbox"
    filler = bench.settings.root / "filler"
    loop = threading.Event()

    def kill(name: str) -> None:
        os.killpg(os.getpgid(bench.pid(name)), signal.SIGKILL)

    def kill_again_and_again() -> None:
        def killer() -> None:
            while not loop.wait(0.5):
                pid = bench.supervisor.status()[DAEMON_PROCESS].pid
                if pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(os.getpgid(pid), signal.SIGKILL)

        threading.Thread(target=killer, daemon=True).start()

    def kill_inner() -> None:
        (inner, *_) = psutil.Process(bench.pid(CODE_SERVER_PROCESS)).children()
        inner.kill()

    def break_outbox() -> None:
        outbox.rename(outbox.with_name("outbox.kept"))
        outbox.mkdir()

    def mend_outbox() -> None:
        outbox.rmdir()
        outbox.with_name("outbox.kept").rename(outbox)

    def stop_with_receiver_down() -> None:
        bench.end.answers = [(503, {}, "")]
        os.kill(bench.pid(DAEMON_PROCESS), signal.SIGSTOP)
        back = threading.Timer(150, lambda: bench.end.answers.__setitem__(0, (200, {}, "")))
        back.daemon = True
        back.start()

    def kill_watchdog_and_stop_daemon() -> None:
        kill(WATCHDOG)
        os.kill(bench.pid(DAEMON_PROCESS), signal.SIGSTOP)

    def fill() -> None:
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, (SPARE_MB + 1024) * MIB)

    bench.measure(
        "daemon killed", daemon, lambda: kill(DAEMON_PROCESS), "its keeper", is_told=False
    )
    bench.measure(
        "daemon killed again and again, until told",
        daemon,
        kill_again_and_again,
        "its keeper, when it is left alone",
        mend=loop.set,
    )
    bench.measure(
        "daemon under SIGSTOP",
        daemon,
        lambda: os.kill(bench.pid(DAEMON_PROCESS), signal.SIGSTOP),
        "the watchdog has it started anew",
    )
    bench.measure(
        "code server killed", code, lambda: kill(CODE_SERVER_PROCESS), "its keeper", is_told=False
    )
    bench.measure(
        "code server's inner process killed, the outer one lives",
        code,
        kill_inner,
        "the watchdog has it started anew",
    )
    bench.measure(
        "sensor send_alerts raises at every tick",
        "control_plane/send_alerts:sensor_ticks",
        break_outbox,
        "a person (the benchmark, once told)",
        mend=mend_outbox,
    )
    bench.measure(
        "daemon under SIGSTOP, notifier down for 150 s",
        daemon,
        stop_with_receiver_down,
        "the watchdog has it started anew",
    )
    bench.measure(
        "watchdog killed, daemon under SIGSTOP",
        daemon,
        kill_watchdog_and_stop_daemon,
        "the keeper starts the watchdog, that the daemon",
    )
    bench.measure(
        "disk below the first threshold",
        "control_plane:disk_space",
        fill,
        "a person (the benchmark, once told)",
        mend=lambda: filler.unlink(missing_ok=True),
    )
    process = psutil.Process(bench.pid(WATCHDOG))
    age, cpu = time.time() - process.create_time(), process.cpu_times()
    return {
        "rows": [asdict(row) for row in bench.rows],
        "watchdog_pss_mb": round(process.memory_full_info().pss / MIB, 1),
        "watchdog_cpu_percent_of_a_core": round(100 * (cpu.user + cpu.system) / age, 2),
        "watchdog_age_seconds": round(age),
        "machine": machine(),
    }


def page(result: dict[str, object], rows: list[Row]) -> str:
    """The result as a table."""
    lines = [
        "# Faults of the control plane, as the watchdog tells them",
        "",
        "Made by `python -m benchmarks.watchdog_faults`. In seconds from each beginning.",
        "",
        "| fault | told | works again | recovery told | healed by | load | message |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        told = "nobody had to be told" if row.told_after_seconds is None else row.told_after_seconds
        lines.append(
            f"| {row.fault} | {told} | {row.works_again_after_seconds} | "
            f"{row.recovery_told_after_seconds or ''} | {row.healed_by} | "
            f"{row.load_average or ''} | {row.message} |"
        )
    extra = sorted({name for row in rows for name in row.others_told})
    lines += [
        "",
        f"Other alerts of the watchdog's meanwhile: {', '.join(extra) or 'none'}.",
        "",
        f"The watchdog takes {result['watchdog_pss_mb']} MB (PSS) and "
        f"{result['watchdog_cpu_percent_of_a_core']} % of a core over "
        f"{result['watchdog_age_seconds']} s. {result['machine']}",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--only", default="", help="faults with these words alone; several with |")
    told = parser.parse_args()
    out: Path = told.out
    # Else a kill would leave the processes behind: they have sessions of their own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="watchdog-"))
    try:
        with running(folder, told.only) as bench:
            result = run(bench)
            out.mkdir(parents=True, exist_ok=True)
            (out / "watchdog_faults.json").write_text(json.dumps(result, indent=1) + "\n")
            (out / "watchdog_faults.md").write_text(page(result, bench.rows))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
