"""The pause of the simulator: what it leaves behind, also when the platform goes meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from retail_lakehouse.commands.pause import simulator_paused
from retail_lakehouse.local.control import ControlServer, ProcessState, ProcessStatus


def _platform(root: Path, state: ProcessState, asked: list[str]) -> ControlServer:
    status = ProcessStatus("simulator", state, None, None, 0, "", "/simulator.log").to_json()

    def answer(action: str, request: Mapping[str, object]) -> object:
        asked.append(action)
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


def test_an_idle_simulator_is_left_alone(tmp_path: Path) -> None:
    asked: list[str] = []
    server = _platform(tmp_path, ProcessState.STOPPED, asked)
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
