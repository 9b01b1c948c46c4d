"""The pause of the simulator: what it leaves behind, also when the platform goes meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from retail_lakehouse.commands.options import Exit
from retail_lakehouse.commands.pause import simulator_paused
from retail_lakehouse.local.control import (
    ControlError,
    ControlServer,
    ProcessState,
    ProcessStatus,
)


def _platform(
    root: Path, state: ProcessState, asked: list[str], refused: str = ""
) -> ControlServer:
    status = ProcessStatus("simulator", state, None, None, 0, "", "/simulator.log").to_json()

    def answer(action: str, request: Mapping[str, object]) -> object:
        asked.append(action)
        if action == refused:
            raise ControlError("It does not follow.")
        return {"simulator": status} if action == "status" else status

    server = ControlServer(root, answer)
    server.start()
    return server


def test_a_running_simulator_is_stopped_and_goes_on(tmp_path: Path) -> None:
    asked: list[str] = []
    server = _platform(tmp_path, ProcessState.RUNNING, asked)
    with simulator_paused(tmp_path):
        assert asked == ["status", "stop"]
    assert asked == ["status", "stop", "start"]
    server.close()


def test_a_quiet_pause_says_nothing_when_all_goes_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = _platform(tmp_path, ProcessState.RUNNING, [])
    with simulator_paused(tmp_path, quiet=True):
        pass
    assert capsys.readouterr().err == ""
    with simulator_paused(tmp_path):
        pass
    server.close()
    assert capsys.readouterr().err == "The simulator is paused.\nThe simulator goes on.\n"


def test_a_block_that_fails_leaves_no_simulator_paused(tmp_path: Path) -> None:
    asked: list[str] = []
    server = _platform(tmp_path, ProcessState.RUNNING, asked)
    with pytest.raises(ZeroDivisionError), simulator_paused(tmp_path):
        raise ZeroDivisionError
    server.close()
    assert asked == ["status", "stop", "start"]


PAUSED = """
import signal, sys, time
from pathlib import Path
from retail_lakehouse.commands.pause import simulator_paused
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started with
with simulator_paused(Path(sys.argv[1])):
    print("paused", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_simulator_paused(tmp_path: Path, number: signal.Signals) -> None:
    asked: list[str] = []
    server = _platform(tmp_path, ProcessState.RUNNING, asked)
    with subprocess.Popen(
        [sys.executable, "-c", PAUSED, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as verb:
        assert verb.stdout is not None
        assert verb.stdout.readline() == b"paused\n"
        verb.send_signal(number)
        code = verb.wait(timeout=20)
    server.close()
    assert asked == ["status", "stop", "start"]
    assert code == Exit.INTERRUPTED


def test_one_that_does_not_stop_in_time_is_no_pause_and_goes_on(tmp_path: Path) -> None:
    asked: list[str] = []
    server = _platform(tmp_path, ProcessState.RUNNING, asked, refused="stop")
    with (
        pytest.raises(ControlError, match="It does not follow"),
        simulator_paused(tmp_path),
    ):
        pytest.fail("the block ran beside the simulator")
    server.close()
    assert asked == ["status", "stop", "start"]


def test_one_that_does_not_go_on_is_told_also_in_a_quiet_pause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = _platform(tmp_path, ProcessState.RUNNING, [], refused="start")
    with simulator_paused(tmp_path, quiet=True):
        pass
    server.close()
    assert capsys.readouterr().err == "The simulator does not go on: It does not follow.\n"


@pytest.mark.parametrize("state", [ProcessState.STOPPED, ProcessState.STOPPING])
def test_an_idle_simulator_is_left_alone(tmp_path: Path, state: ProcessState) -> None:
    asked: list[str] = []
    server = _platform(tmp_path, state, asked)
    with simulator_paused(tmp_path):
        pass
    assert asked == ["status"]
    server.close()


def test_a_platform_that_was_stopped_meanwhile_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = _platform(tmp_path, ProcessState.RUNNING, [])
    with simulator_paused(tmp_path):
        server.close()
    assert "The simulator does not go on: Nothing runs for" in capsys.readouterr().err


def test_nothing_is_paused_and_nothing_said_where_no_platform_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with simulator_paused(tmp_path):
        pass
    assert capsys.readouterr().err == ""
