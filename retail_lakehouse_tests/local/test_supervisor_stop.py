"""How the supervisor ends everything: in order, in time, and what is asked of it meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from retail_lakehouse.contracts.job_states import Pace
from retail_lakehouse.local import keeper, processes, supervisor
from retail_lakehouse.local.control import ControlError, ProcessState
from retail_lakehouse.local.keeper import CommandUnit
from retail_lakehouse.local.process_record import read_record
from retail_lakehouse.local.processes import Command
from retail_lakehouse.local.state_folder import (
    AlreadyRunningError,
    Role,
    hold,
    holder_beside,
    require_free,
)
from retail_lakehouse.local.supervisor import Supervisor, end_recorded

SLEEP = "exec sleep 300"
DEAF = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
# Ends a moment after it was asked to, and says so.
SLOW_TO_END = """
trap 'sleep 0.5; echo ended by itself; exit 0' TERM
echo ready
while :; do sleep 0.05; done
"""


def unit(root: Path, name: str, script: str, stage: int = 0) -> CommandUnit:
    return CommandUnit(root, name, lambda: Command(["/bin/sh", "-c", script]), stage=stage)


def until(done: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def said(root: Path, name: str) -> list[str]:
    return processes.log_path(root, name).read_text().splitlines()


def opened(root: Path, *units: CommandUnit) -> Supervisor:
    made = Supervisor(root, units)
    made.open()
    return made


def test_a_deaf_client_leaves_its_server_the_time_to_end_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is left of the deadline counts, and not how long a process may take at other times.
    monkeypatch.setattr(keeper, "DEFAULT_GRACE_SECONDS", 0.0)
    stack = opened(
        tmp_path, unit(tmp_path, "client", DEAF), unit(tmp_path, "server", SLOW_TO_END, stage=1)
    )
    for name in ("client", "server"):
        stack.request("start", name)
    until(lambda: [*said(tmp_path, "client"), *said(tmp_path, "server")] == ["ready"] * 2)
    stack.close(deadline_seconds=5.0)
    assert "ended by itself" in said(tmp_path, "server")


def test_what_died_is_not_tried_again_while_the_others_are_being_stopped(
    tmp_path: Path,
) -> None:
    server = unit(tmp_path, "server", "echo began", stage=1)
    server.pace = Pace(backoff_seconds=(0.5,))
    stack = opened(tmp_path, unit(tmp_path, "client", DEAF), server)
    stack.request("start", "client")
    until(lambda: "ready" in said(tmp_path, "client"))
    stack.ask("start", "server")
    until(lambda: stack.status()["server"].state is ProcessState.WAITING)
    stack.close(deadline_seconds=2.0)
    assert said(tmp_path, "server") == ["began"]


class WaitsForAnAnswer:
    """A unit whose start ends with its process, as a broker's that never answers."""

    name = "one"
    stage = 0
    pace = Pace()

    def __init__(self, root: Path) -> None:
        self._root = root

    def start(self) -> None:
        processes.spawn(self._root, self.name, Command(["/bin/sh", "-c", SLEEP])).wait()
        raise OSError("It did not answer.")

    def is_alive(self) -> bool:
        return False

    def stop(self, grace_seconds: float, hurry: threading.Event) -> None:
        """Its start has ended it."""

    def pid(self) -> int | None:
        return None

    def last_exit(self) -> str:
        return "no exit code"

    def needs_a_person(self) -> bool:
        return False

    def was_kept_out(self) -> bool:
        return False


def test_a_start_that_waits_for_an_answer_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    stack = Supervisor(tmp_path, [WaitsForAnAnswer(tmp_path)])
    stack.open()
    stack.ask("start", "one")
    until(processes.record_path(tmp_path, "one").exists)
    began = time.monotonic()
    stack.close(deadline_seconds=8.0)
    assert time.monotonic() - began < 4.0


def test_whoever_asks_while_everything_is_being_stopped_is_refused(tmp_path: Path) -> None:
    stack = opened(tmp_path, unit(tmp_path, "one", DEAF))
    stack.request("start", "one")
    until(lambda: said(tmp_path, "one") == ["ready"])
    stopping = threading.Thread(target=stack.close, args=(2.0,))
    stopping.start()
    until(lambda: stack.status()["one"].state is ProcessState.STOPPING)
    with pytest.raises(ControlError, match="The supervisor is stopping everything"):
        stack.request("start", "one", timeout_seconds=0.2)
    stopping.join(10)
    with pytest.raises(ControlError, match="The supervisor is stopping everything"):
        stack.request("start", "one", timeout_seconds=0.2)


def test_what_a_killed_supervisor_left_may_end_by_itself_before_the_next_begins(
    tmp_path: Path,
) -> None:
    left = processes.spawn(tmp_path, "one", Command(["/bin/sh", "-c", SLOW_TO_END]))
    until(lambda: said(tmp_path, "one") == ["ready"])
    stack = opened(tmp_path, unit(tmp_path, "one", SLEEP))
    assert left.wait(timeout=5) == 0
    stack.close()


@pytest.mark.parametrize("role", ["dev", "stop", "reset"])
def test_a_folder_that_is_held_in_any_role_is_not_free(tmp_path: Path, role: Role) -> None:
    require_free(tmp_path)
    lock = hold(tmp_path, role)
    with pytest.raises(AlreadyRunningError, match=f"retail-lakehouse {role}` .* {os.getpid()}"):
        require_free(tmp_path)
    lock.close()
    require_free(tmp_path)


def test_a_start_that_fails_is_answered_at_once_in_its_own_words(tmp_path: Path) -> None:
    command = Command([str(tmp_path / "no such program")])
    stack = opened(tmp_path, CommandUnit(tmp_path, "one", lambda: command))
    began = time.monotonic()
    with pytest.raises(ControlError, match="no such program"):
        stack.request("start", "one", timeout_seconds=10.0)
    assert time.monotonic() - began < 5.0
    stack.close()


class Halting(WaitsForAnAnswer):
    """A unit that ends at its start and asks for a person."""

    def start(self) -> None:
        raise OSError("Records were lost.")

    def needs_a_person(self) -> bool:
        return True


def test_a_start_that_needs_a_person_is_answered_at_once_with_that(tmp_path: Path) -> None:
    stack = Supervisor(tmp_path, [Halting(tmp_path)])
    stack.open()
    began = time.monotonic()
    with pytest.raises(
        ControlError, match=r"Records were lost\. Starting it again by itself is no"
    ):
        stack.request("start", "one", timeout_seconds=10.0)
    assert time.monotonic() - began < 5.0
    stack.close()


def test_a_start_that_takes_longer_is_no_error_and_a_stop_that_does_is_one(tmp_path: Path) -> None:
    stack = Supervisor(tmp_path, [WaitsForAnAnswer(tmp_path)])
    stack.open()
    assert stack.request("start", "one", timeout_seconds=0.2).state is ProcessState.STARTING
    with pytest.raises(ControlError, match="one is starting after 0 s"):
        stack.request("stop", "one", timeout_seconds=0.2)
    stack.close()


def test_children_of_a_dead_leader_are_among_those_found(tmp_path: Path) -> None:
    script = "sleep 300 & echo ready; wait"
    leader = processes.spawn(tmp_path, "one", Command(["/bin/sh", "-c", script]))
    until(lambda: said(tmp_path, "one") == ["ready"])
    leader.kill()
    leader.wait()
    record = read_record(processes.record_path(tmp_path, "one"))
    assert record is not None
    assert end_recorded(tmp_path, ["one"], grace_seconds=1.0) == ["one"]
    assert processes.session_members(record) == []
    assert processes.recorded(tmp_path, ["one"]) == {}


def test_a_record_of_what_has_ended_is_forgotten_and_not_among_those_found(tmp_path: Path) -> None:
    processes.spawn(tmp_path, "one", Command(["/bin/sh", "-c", SLEEP])).kill()
    record = read_record(processes.record_path(tmp_path, "one"))
    assert record is not None
    until(lambda: not record.is_alive())
    assert end_recorded(tmp_path, ["one"], grace_seconds=1.0) == []
    assert processes.recorded(tmp_path, ["one"]) == {}


def left_behind(root: Path, script: str) -> dict[str, subprocess.Popen[bytes]]:
    command = Command(["/bin/sh", "-c", script])
    left = {f"process-{n}": processes.spawn(root, f"process-{n}", command) for n in range(3)}
    until(lambda: all(said(root, name) == ["ready"] for name in left))
    return left


def test_those_that_were_left_are_asked_all_at_once(tmp_path: Path) -> None:
    left = left_behind(tmp_path, SLOW_TO_END)
    assert end_recorded(tmp_path, left, grace_seconds=1.3) == list(left)
    assert [each.wait(timeout=5) for each in left.values()] == [0, 0, 0]


def test_those_that_were_left_share_one_grace(tmp_path: Path) -> None:
    left = left_behind(tmp_path, DEAF)
    began = time.monotonic()
    assert end_recorded(tmp_path, left, grace_seconds=1.0) == list(left)
    assert time.monotonic() - began < 2.0
    assert [each.wait(timeout=5) for each in left.values()] == [-signal.SIGKILL] * 3


def test_the_supervisor_itself_runs_beside_nobody(tmp_path: Path) -> None:
    lock = hold(tmp_path)
    assert holder_beside(tmp_path) is None
    lock.close()


def test_a_log_that_has_grown_long_is_moved_aside_by_the_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_ROTATE_EVERY_SECONDS", 0.05)
    log = processes.log_path(tmp_path, "one")
    log.parent.mkdir()
    log.touch()
    os.truncate(log, processes.LOG_ROTATE_BYTES + 1)
    stack = opened(tmp_path, unit(tmp_path, "one", SLEEP))
    until(lambda: log.stat().st_size == 0)
    stack.close()
    assert log.with_name("one.log.1").stat().st_size == processes.LOG_ROTATE_BYTES + 1
