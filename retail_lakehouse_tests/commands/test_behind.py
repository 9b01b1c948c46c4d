"""What `dev --keep` starts and tells, and what it ends when the platform did not get live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.commands import behind
from retail_lakehouse.commands.behind import start_behind
from retail_lakehouse.commands.options import Exit
from retail_lakehouse.local import ports, processes
from retail_lakehouse.local.state_folder import hold
from retail_lakehouse.settings import Settings

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(300)
"""


def test_what_a_killed_supervisor_leaves_is_ended_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(behind, "_STOP_SECONDS", 0.2)
    sleeper = processes.Command([sys.executable, "-c", "import time; time.sleep(300)"])
    left = processes.spawn(tmp_path, "simulator", sleeper)
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"deaf\n"
        behind._stop(supervisor, tmp_path)
    assert left.wait(timeout=5) != 0
    assert "what it left has been ended: simulator." in capsys.readouterr().err


LIVE = """
import os, sys, time
from pathlib import Path
from retail_lakehouse.local.control import ControlServer
from retail_lakehouse.settings import Settings

print(*sys.argv[1:], "of session", os.getsid(0) - os.getpid(), flush=True)
os.write(1, b"caf\\xc3")
time.sleep(0.3)
os.write(1, b"\\xa9 is whole\\n")
phase = {"phase": "up"}
ControlServer(Settings.load().root, lambda action, request: phase).start()
time.sleep(0.3)
print("the last line before live", flush=True)
phase["phase"] = "live"
time.sleep(300)
"""
# Until something ends it; what ends it is not told.
STARTING = """
import time
from pathlib import Path
from retail_lakehouse.settings import Settings
(Settings.load().root / "began").touch()
time.sleep(300)
"""
Program = Callable[[str], None]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    broker, controller, warehouse, dagster = ports.free_ports(4)
    told = {"broker_port": broker, "controller_port": controller, "dagster_port": dagster}
    return Settings.load({"state_dir": tmp_path / "state", "warehouse_port": warehouse, **told})


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """Have a program of the test's own run in place of `retail-lakehouse dev`; ended afterwards."""
    monkeypatch.setattr(behind, "_POLL_SECONDS", 0.05)
    python, pid = sys.executable, tmp_path / "pid"

    def replace(code: str) -> None:
        (tmp_path / "program.py").write_text(code)
        stand_in = tmp_path / "python"
        stand_in.write_text(
            f"#!/bin/sh\necho $$ > '{pid}'\nexec '{python}' '{tmp_path}/program.py' \"$@\"\n"
        )
        stand_in.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(stand_in))

    yield replace
    if pid.exists():
        try:
            psutil.Process(int(pid.read_text())).kill()
        except psutil.NoSuchProcess:
            return


def until(done: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _pid(tmp_path: Path) -> int:
    return int((tmp_path / "pid").read_text())


@pytest.mark.parametrize(
    ("with_simulator", "options"), [(True, "dev"), (False, "dev --no-simulator")]
)
def test_one_that_gets_live_is_left_running_in_a_session_of_its_own(
    settings: Settings,
    tmp_path: Path,
    program: Program,
    capsys: pytest.CaptureFixture[str],
    with_simulator: bool,
    options: str,
) -> None:
    program(LIVE)
    earlier = processes.log_path(settings.root, "supervisor")
    earlier.parent.mkdir(parents=True)
    earlier.write_text("of an earlier run\n")
    assert start_behind(settings, 30.0, with_simulator=with_simulator) is Exit.DONE
    pid = _pid(tmp_path)
    assert psutil.Process(pid).is_running()
    assert capsys.readouterr().out.splitlines() == [
        f"-m retail_lakehouse.cli {options} of session 0",
        "café is whole",
        "the last line before live",
        f"It goes on as process {pid}; end it: retail-lakehouse stop",
    ]


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit(0)", Exit.DONE),
        ("sys.exit(3)", Exit.REFUSED),
        ("sys.exit(77)", Exit.FAILED),
        ("os.kill(os.getpid(), 9)", Exit.FAILED),
    ],
)
def test_one_that_ends_before_it_is_live_gives_its_exit_code_and_its_last_words(
    settings: Settings,
    program: Program,
    capsys: pytest.CaptureFixture[str],
    end: str,
    code: Exit,
) -> None:
    program(f"import os, sys; print('The disk is full.', flush=True); {end}")
    assert start_behind(settings, 30.0, with_simulator=True) is code
    assert capsys.readouterr().out == "The disk is full.\n"


def test_one_that_is_not_live_in_time_is_ended_and_the_reason_told(
    settings: Settings, tmp_path: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program(STARTING)
    assert start_behind(settings, 1.0, with_simulator=True) is Exit.NOT_LIVE
    assert not psutil.pid_exists(_pid(tmp_path))
    assert capsys.readouterr().err.startswith("Not live after 1 seconds: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_starts_ends_it(
    settings: Settings, tmp_path: Path, program: Program, number: signal.Signals
) -> None:
    python = sys.executable
    program(STARTING)
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started with\n"
        "from retail_lakehouse.commands.behind import start_behind\n"
        "from retail_lakehouse.settings import Settings\n"
        "settings = Settings.load({'state_dir': sys.argv[1]})\n"
        "sys.executable = sys.argv[2]\n"
        "sys.exit(start_behind(settings, 60.0, with_simulator=True))\n"
    )
    with subprocess.Popen([python, "-c", code, str(settings.root), sys.executable]) as waiting:
        until(lambda: (settings.root / "began").exists())
        waiting.send_signal(number)
        assert waiting.wait(timeout=20) == Exit.INTERRUPTED
    assert not psutil.pid_exists(_pid(tmp_path))


def test_an_output_that_nobody_reads_any_more_ends_it(
    settings: Settings, tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(log: Path, position: int) -> int:
        until(lambda: (settings.root / "began").exists())
        raise BrokenPipeError

    program(STARTING)
    monkeypatch.setattr(behind, "_show", lose)
    with pytest.raises(BrokenPipeError):
        start_behind(settings, 60.0, with_simulator=True)
    assert not psutil.pid_exists(_pid(tmp_path))


def test_a_second_one_is_refused_with_the_id_of_the_first_and_starts_nothing(
    settings: Settings, tmp_path: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program(STARTING)
    lock = hold(settings.root)
    assert start_behind(settings, 1.0, with_simulator=True) is Exit.REFUSED
    lock.close()
    assert f"already runs on {settings.root} as process {os.getpid()}." in capsys.readouterr().err
    assert not (tmp_path / "pid").exists()
