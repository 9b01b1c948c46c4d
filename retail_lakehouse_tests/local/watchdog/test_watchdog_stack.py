"""The watchdog beside a real Dagster daemon and code server that are killed, stopped and mended.

Under the real supervisor, with the real notifiers to a real receiver. Limits are a few seconds;
`benchmarks/watchdog_faults.py` measures with those of the service levels.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import psutil  # type: ignore[import-untyped]
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus

from retail_lakehouse.alerts.desk import links_of
from retail_lakehouse.local.control import ControlServer, ProcessStatus
from retail_lakehouse.local.dagster_instance import dagster_home, write_instance
from retail_lakehouse.local.dagster_workspace import (
    CODE_LOCATION,
    code_server_socket,
    workspace_file,
    write_workspace,
)
from retail_lakehouse.local.keeper import CommandUnit, Unit
from retail_lakehouse.local.processes import Command
from retail_lakehouse.local.supervisor import Supervisor
from retail_lakehouse.local.watchdog.history import HistoryUnreadableError, read_history
from retail_lakehouse.local.watchdog.process import Watchdog, make_watchdog
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.telling import Teller
from retail_lakehouse_tests.alerts.build import Receiver, receiver
from retail_lakehouse_tests.local.watchdog import quick_daemon, tiny_location
from retail_lakehouse_tests.watchdog.build import LIMITS

pytestmark = pytest.mark.stack

QUICK = replace(
    LIMITS,
    daemon_silent_seconds=8.0,
    daemon_thread_silent_seconds=60.0,
    code_server_silent_seconds=8.0,
    sensor_silent_seconds=40.0,
)


@dataclass
class Stack:
    """A supervisor over Dagster's processes, and the watchdog in a thread of this one."""

    settings: Settings
    supervisor: Supervisor
    end: Receiver
    mood: Path
    watchdog: Watchdog

    def pid(self, name: str) -> int:
        pid = self.supervisor.status()[name].pid
        assert pid is not None
        return pid

    def alerts(self) -> list[tuple[str, str]]:
        """What arrived, without `control_plane`, in order."""
        return [
            (told["kind"], f"{told['asset']}:{told['check']}".removeprefix("control_plane"))
            for each in self.end.taken
            for told in each.body["alerts"]
        ]

    def sentence(self, kind: str, name: str) -> str:
        return next(
            str(told["sentence"])
            for each in self.end.taken
            for told in each.body["alerts"]
            if (told["kind"], f"{told['asset']}:{told['check']}") == (kind, f"control_plane{name}")
        )

    def wait(self, *alerts: tuple[str, str], seconds: float = 60) -> None:
        """Until exactly these have arrived since the last `forget`."""
        wait_for(lambda: len(self.alerts()) >= len(alerts), seconds, self.alerts)
        assert self.alerts() == list(alerts)

    def forget(self) -> None:
        self.end.taken.clear()
        self.end.attempts.clear()

    def is_ticking(self) -> bool:
        """Every sensor that is on has just ticked well."""
        try:
            history = read_history(dagster_home(self.settings.root))
        except HistoryUnreadableError:
            return False
        states = {state.name: state for state in history.states}
        now_ms = time.time() * 1000
        return all(
            name in states
            and any(
                tick.end.value == "well" and now_ms - tick.at_ms < 15_000
                for tick in states[name].ticks
            )
            for name in ("steady", "moody")
        )


def wait_for(
    condition: Callable[[], bool], seconds: float, seen: Callable[[], object] = lambda: ""
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, seen()
        time.sleep(0.1)


def units(settings: Settings, mood: Path) -> list[Unit]:
    root, python = settings.root, sys.executable
    socket = code_server_socket(root)
    environment = {"DAGSTER_HOME": str(dagster_home(root)), tiny_location.MOOD: str(mood)}
    code = ["-m", "dagster", "code-server", "start", "--socket", str(socket)]
    code += ["-m", tiny_location.__name__, "--location-name", CODE_LOCATION]
    commands = {
        "dagster-code-server": [python, *code],
        "dagster-daemon": [python, str(quick_daemon.__file__), str(workspace_file(root))],
    }
    return [
        CommandUnit(
            root,
            name,
            lambda argv=argv: Command(argv, environment),  # type: ignore[misc]
            before_start=(lambda: socket.unlink(missing_ok=True)) if "code" in name else None,
        )
        for name, argv in commands.items()
    ]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("watchdog")
    with receiver() as end:
        routes = folder / "routes.toml"
        routes.write_text(f'[[route]]\nname = "hook"\nkind = "webhook"\nurl = "{end.url}/"\n')
        settings = Settings.load(
            {
                "state_dir": folder / "state",
                "alert_routes_file": routes,
                "watchdog_seconds": 1.0,
                "disk_warning_mb": 1,
                "disk_critical_mb": 1,
            }
        )
        write_instance(settings.root)
        write_workspace(settings.root)
        supervisor = Supervisor(settings.root, units(settings, folder / "mood"))
        supervisor.open()

        def answer(action: str, request: object) -> object:
            if action == "status":
                return {name: each.to_json() for name, each in supervisor.status().items()}
            assert isinstance(request, dict)
            status: ProcessStatus = supervisor.request(action, str(request["name"]))  # type: ignore[arg-type]
            return status.to_json()

        control, ended = ControlServer(settings.root, answer), threading.Event()
        control.start()
        watchdog = make_watchdog(settings)
        watchdog.limits, watchdog.teller = QUICK, Teller(links_of(settings))
        running = threading.Thread(target=watchdog.run, args=(ended,), name="watchdog")
        try:
            for name in ("dagster-code-server", "dagster-daemon"):
                supervisor.request("start", name)
            found = Stack(settings, supervisor, end, folder / "mood", watchdog)
            wait_for(found.is_ticking, 120)
            running.start()
            yield found
        finally:
            ended.set()
            supervisor.close()
            control.close()
            if running.is_alive():
                running.join(60)


@pytest.fixture(autouse=True)
def well(stack: Stack) -> None:
    """Each test begins with a stack that ticks and with nothing told."""
    wait_for(stack.is_ticking, 90)
    # Long enough for the watchdog to have seen it, and for what it tells to arrive.
    time.sleep(3)
    stack.watchdog.asked_seconds.clear()
    stack.forget()


def test_a_stack_that_is_well_is_told_of_nothing(stack: Stack) -> None:
    time.sleep(10)
    assert stack.alerts() == []
    assert not any(each.startswith("SENSOR idle") for each in stack.watchdog.memory.failing)


def test_a_daemon_that_is_killed_is_back_before_anybody_has_to_be_told(stack: Stack) -> None:
    pid = stack.pid("dagster-daemon")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: stack.supervisor.status()["dagster-daemon"].pid not in (None, pid), 30)
    stack.watchdog.limits = replace(QUICK, daemon_silent_seconds=60.0)
    wait_for(stack.is_ticking, 60)
    time.sleep(5)
    stack.watchdog.limits = QUICK
    assert stack.alerts() == []


def test_a_daemon_that_stays_away_is_told_and_so_is_its_return(stack: Stack) -> None:
    """Its keeper tries, and the process ends at once, again and again."""
    unit = next(k for n, k in stack.supervisor._keepers.items() if n == "dagster-daemon").unit
    assert isinstance(unit, CommandUnit)
    command = unit._command
    unit._command = lambda: Command([sys.executable, "-c", "raise SystemExit('no luck')"])
    try:
        os.kill(stack.pid("dagster-daemon"), signal.SIGKILL)
        stack.wait(("opened", ":daemon_ticks"))
    finally:
        unit._command = command
    sentence = stack.sentence("opened", ":daemon_ticks")
    assert sentence.startswith("Dagster's daemon has sent no heartbeat since")
    assert "no luck" in sentence
    stack.wait(("opened", ":daemon_ticks"), ("recovered", ":daemon_ticks"), seconds=120)


def test_a_daemon_under_sigstop_is_told_started_anew_and_its_return_told(stack: Stack) -> None:
    pid = stack.pid("dagster-daemon")
    os.kill(pid, signal.SIGSTOP)
    stack.wait(("opened", ":daemon_ticks"))
    assert stack.sentence("opened", ":daemon_ticks").endswith("Its process is there, so it hangs.")
    stack.wait(("opened", ":daemon_ticks"), ("recovered", ":daemon_ticks"), seconds=120)
    assert stack.pid("dagster-daemon") != pid


def test_a_code_server_whose_inner_process_is_killed_is_told_as_the_cause_and_nothing_else(
    stack: Stack,
) -> None:
    """The outer one lives on, so that no keeper sees it."""
    outer = psutil.Process(stack.pid("dagster-code-server"))
    (inner,) = [each for each in outer.children() if "grpc" in " ".join(each.cmdline())]
    inner.kill()
    stack.wait(("opened", ":code_server_answers"))
    sentence = stack.sentence("opened", ":code_server_answers")
    assert "has not answered for" in sentence
    assert sentence.endswith("Its process is there, so it hangs.")
    stack.supervisor.request("restart", "dagster-code-server")
    stack.wait(("opened", ":code_server_answers"), ("recovered", ":code_server_answers"))


def test_a_code_server_that_is_killed_whole_is_back_by_its_keeper(stack: Stack) -> None:
    stack.watchdog.limits = replace(QUICK, code_server_silent_seconds=60.0)
    os.killpg(os.getpgid(stack.pid("dagster-code-server")), signal.SIGKILL)
    time.sleep(3)
    wait_for(stack.is_ticking, 90)
    time.sleep(5)
    stack.watchdog.limits = QUICK
    assert stack.alerts() == []


def test_one_sensor_that_raises_at_every_tick_is_told_by_name_with_its_error(stack: Stack) -> None:
    stack.mood.touch()
    stack.wait(("opened", "/moody:sensor_ticks"))
    sentence = stack.sentence("opened", "/moody:sensor_ticks")
    # The watchdog may come by later than the third.
    found = re.match(r"The sensor moody failed in its last (\d+) ticks, since ", sentence)
    assert found is not None
    assert int(found[1]) >= 3
    assert sentence.endswith("UTC: ValueError: the shelf is empty")
    stack.mood.unlink()
    stack.wait(("opened", "/moody:sensor_ticks"), ("recovered", "/moody:sensor_ticks"))


def test_with_the_receiver_down_nothing_is_lost_and_all_comes_in_order(stack: Stack) -> None:
    stack.end.answers = [(503, {}, "")]
    stack.mood.touch()
    wait_for(lambda: len(stack.end.attempts) > 1, 60)
    stack.mood.unlink()
    wait_for(lambda: stack.watchdog.teller.waiting == 2, 60)
    assert stack.alerts() == []
    stack.end.answers = [(200, {}, "")]
    stack.wait(("opened", "/moody:sensor_ticks"), ("recovered", "/moody:sensor_ticks"), seconds=120)


def test_a_sensor_that_is_switched_off_is_no_alarm(stack: Stack) -> None:
    with dg.DagsterInstance.from_config(str(dagster_home(stack.settings.root))) as instance:
        (state,) = [s for s in instance.all_instigator_state() if s.instigator_name == "moody"]
        instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
        stack.watchdog.limits = replace(QUICK, sensor_silent_seconds=5.0)
        time.sleep(15)
        stack.watchdog.limits = QUICK
        # Of this one: beside other work a tick of the other may well be 5 s late.
        assert not any("moody" in name for _, name in stack.alerts())
        instance.update_instigator_state(state.with_status(InstigatorStatus.DECLARED_IN_CODE))
