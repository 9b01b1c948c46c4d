"""One run of `dev` as others see it through its door, before anything was started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retail_lakehouse.local.control import (
    ControlError,
    ProcessState,
    ProcessStatus,
    SupervisorClient,
    socket_path,
)
from retail_lakehouse.local.processes import StragglersError
from retail_lakehouse.local.session import DevSession
from retail_lakehouse.local.stack_settings import read_settings, settings_file
from retail_lakehouse.local.stack_units import PROCESS_NAMES
from retail_lakehouse.local.startup import StartCancelledError, StepReport
from retail_lakehouse.local.state_folder import Hold, holder, holder_pid
from retail_lakehouse.local.supervisor import Supervisor
from retail_lakehouse.settings import Settings


class Silent:
    """A display that shows nothing."""

    def step(self, report: StepReport) -> None:
        """Shows nothing."""

    def process(self, status: ProcessStatus) -> None:
        """Shows nothing."""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[DevSession]:
    settings = Settings.load({"state_dir": tmp_path, "dagster_port": 3456})
    made = DevSession(settings, Silent(), with_simulator=True)
    assert made.open() == []
    yield made
    made.close()


def test_the_door_tells_who_answers_and_how_far_the_start_is(session: DevSession) -> None:
    client = SupervisorClient(session.settings.root)
    before = time.time() * 1000
    assert client.is_running()
    assert client.about() == {
        "pid": os.getpid(),
        "started_at_ms": pytest.approx(before, abs=60_000),
        "phase": "starting",
        "live_after_seconds": None,
    }
    told = client.status()
    assert set(told) == set(PROCESS_NAMES)
    assert {each.state for each in told.values()} == {ProcessState.STOPPED}


@pytest.mark.parametrize("action", ["dance", "close", "kill", ""])
def test_a_request_that_is_unknown_is_refused(session: DevSession, action: str) -> None:
    client = SupervisorClient(session.settings.root)
    with pytest.raises(ControlError, match=f"The supervisor knows no request {action!r}"):
        client.request(action, "simulator")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["nobody", "", "../simulator"])
def test_a_process_that_is_unknown_is_refused_with_those_there_are(
    session: DevSession, name: str
) -> None:
    client = SupervisorClient(session.settings.root)
    with pytest.raises(ControlError, match=f"no process {name!r}. Those there are: .*simulator"):
        client.request("restart", name)
    assert client.request("stop", "simulator").state is ProcessState.STOPPED


def test_the_settings_stand_in_the_state_folder_for_as_long_as_the_run(tmp_path: Path) -> None:
    settings = Settings.load({"state_dir": tmp_path, "dagster_port": 3456})
    session = DevSession(settings, Silent(), with_simulator=True)
    session.open()
    told = read_settings(tmp_path)
    assert told is not None
    assert Settings.load({**told, "state_dir": tmp_path}).dagster_port == 3456
    assert holder_pid(tmp_path) == os.getpid()
    session.close()
    assert read_settings(tmp_path) is None
    assert holder_pid(tmp_path) is None
    assert not SupervisorClient(tmp_path).is_running()


def test_the_folder_is_left_to_others_when_nothing_of_the_run_stands_in_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = DevSession(Settings.load({"state_dir": tmp_path}), Silent(), with_simulator=True)
    session.open()
    left = [socket_path(tmp_path, "supervisor"), settings_file(tmp_path)]
    assert all(path.exists() for path in left)
    stood: list[bool] = []
    close = Hold.close

    def look(lock: Hold) -> None:
        stood.extend(path.exists() for path in left)
        close(lock)

    monkeypatch.setattr(Hold, "close", look)
    session.close()
    assert stood == [False, False]
    assert holder(tmp_path) is None


def test_a_run_that_leaves_a_straggler_leaves_neither_its_door_nor_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stay(*_: object) -> None:
        raise StragglersError("The processes 7 do not end.")

    session = DevSession(Settings.load({"state_dir": tmp_path}), Silent(), with_simulator=True)
    session.open()
    monkeypatch.setattr(Supervisor, "kill", stay)
    with pytest.raises(StragglersError, match="The processes 7 do not end"):
        session.close()
    assert not socket_path(tmp_path, "supervisor").exists()
    assert read_settings(tmp_path) is None
    assert holder(tmp_path) is None


def test_a_start_that_was_cancelled_begins_nothing(session: DevSession) -> None:
    session.cancel()
    with pytest.raises(StartCancelledError):
        session.start()
    told = SupervisorClient(session.settings.root).status()
    assert {each.state for each in told.values()} == {ProcessState.STOPPED}


@pytest.mark.parametrize("with_simulator", [True, False])
def test_a_figure_is_waited_for_only_where_a_simulator_makes_events(
    tmp_path: Path, with_simulator: bool
) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    session = DevSession(settings, Silent(), with_simulator=with_simulator)
    waited = session.waiting_seconds()
    assert (waited is not None) is with_simulator
    session.live_after_seconds = 60.0
    assert session.waiting_seconds() is None
    assert session.check_live()
