"""One process as its keeper has it: growing pauses, wishes that overtake others, its words."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.contracts.job_states import Pace
from retail_lakehouse.local import keeper, processes
from retail_lakehouse.local.control import ProcessState, ProcessStatus
from retail_lakehouse.local.keeper import CommandUnit, Keeper, Unit
from retail_lakehouse.local.process_record import read_record
from retail_lakehouse.local.processes import Command

SLEEP = "exec sleep 300"
DIE = "exit 1"
DEAF = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


def unit(root: Path, script: str, pace: Pace | None = None) -> CommandUnit:
    return CommandUnit(root, "one", lambda: Command(["/bin/sh", "-c", script]), pace=pace)


class Kept:
    """A keeper at work, and what it told: when, and which state."""

    def __init__(self, root: Path, kept: Unit) -> None:
        self.told: list[tuple[float, ProcessStatus]] = []
        self.keeper = Keeper(root, kept, self._note)
        self.keeper.begin()

    def _note(self, status: ProcessStatus) -> None:
        self.told.append((time.monotonic(), status))

    def messages(self, *states: ProcessState) -> list[str]:
        return [each.message for _, each in list(self.told) if each.state in states]

    def deaths(self) -> list[str]:
        return self.messages(ProcessState.WAITING, ProcessState.CRASHING, ProcessState.HALTED)

    def reaches(self, state: ProcessState) -> None:
        assert self.keeper.wait_for([state], 10.0), self.keeper.status()


class Keep(Protocol):
    """Begins to keep a unit, or a script at a pace."""

    def __call__(self, kept: Unit | str, pace: Pace | None = None) -> Kept: ...


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Keep]:
    made: list[Kept] = []

    def make(kept: Unit | str, pace: Pace | None = None) -> Kept:
        if isinstance(kept, str):
            kept = unit(tmp_path, kept, pace)
        made.append(Kept(tmp_path, kept))
        return made[-1]

    yield make
    for each in made:
        each.keeper.hurry.set()
        each.keeper.close()
        assert each.keeper.join(10.0)


def until(done: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_pauses_grow_with_each_death_and_stay_at_the_longest(keep: Keep) -> None:
    pauses = (0.05, 0.1, 0.2)
    kept = keep(DIE, Pace(backoff_seconds=pauses))
    kept.keeper.ask("start")
    until(lambda: kept.keeper.status().restarts == 4)
    said = ("again in 0.05 s", "again in 0.1 s", "again every 0.2 s", "again every 0.2 s")
    assert all(words in told for words, told in zip(said, kept.deaths(), strict=False))
    died = [at for at, each in kept.told if each.message]
    started = [at for at, each in kept.told if each.state is ProcessState.STARTING][1:]
    for pause, death, start in zip((*pauses, pauses[-1]), died, started, strict=False):
        assert start - death >= pause * 0.9


def test_one_that_dies_before_it_is_steady_is_paused_longer(keep: Keep) -> None:
    kept = keep("sleep 0.3; exit 1", Pace(backoff_seconds=(0.01, 0.02)))
    kept.keeper.ask("start")
    until(lambda: len(kept.deaths()) >= 2)
    assert "again in 0.02 s" in kept.deaths()[1]


def test_one_that_was_steady_begins_with_the_shortest_pause_again(
    keep: Keep, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    kept = keep(
        f"echo >> '{runs}'; [ $(wc -l < '{runs}') = 3 ] && sleep 1; exit 1",
        Pace(backoff_seconds=(0.01, 0.02), steady_after_seconds=0.3),
    )
    kept.keeper.ask("start")
    until(lambda: len(kept.deaths()) >= 3)
    assert "again in 0.02 s" in kept.deaths()[1]
    assert "again in 0.01 s" in kept.deaths()[2]


def test_one_that_stays_steady_is_told_to_run_once(keep: Keep) -> None:
    kept = keep(SLEEP, Pace(steady_after_seconds=0.0))
    kept.keeper.ask("start")
    kept.reaches(ProcessState.RUNNING)
    time.sleep(0.4)
    assert len(kept.messages(ProcessState.RUNNING)) == 1


@pytest.mark.parametrize(
    ("pauses", "state"),
    [((0.01, 30.0), ProcessState.WAITING), ((0.01, 0.01, 30.0), ProcessState.CRASHING)],
)
def test_a_start_that_is_asked_for_ends_the_pause_and_forgets_the_deaths(
    keep: Keep,
    pauses: tuple[float, ...],
    state: ProcessState,
) -> None:
    kept = keep(DIE, Pace(backoff_seconds=pauses))
    kept.keeper.ask("start")
    until(lambda: "30 s" in kept.keeper.status().message)
    assert kept.keeper.status().state is state
    before = len(kept.deaths())
    kept.keeper.ask("start")
    until(lambda: len(kept.deaths()) > before)
    assert "again in 0.01 s" in kept.deaths()[before]


def test_a_stop_ends_the_pause_and_the_next_start_is_none_after_a_death(keep: Keep) -> None:
    kept = keep(DIE, Pace(backoff_seconds=(30.0,)))
    kept.keeper.ask("start")
    kept.reaches(ProcessState.WAITING)
    assert kept.keeper.status().pid is None
    kept.keeper.ask("stop")
    kept.reaches(ProcessState.STOPPED)
    kept.keeper.ask("start")
    until(lambda: len(kept.deaths()) == 2)
    assert kept.keeper.status().restarts == 0


def test_a_stop_right_after_a_restart_is_done_as_soon_as_it_is_stopped(
    keep: Keep,
) -> None:
    kept = keep(SLEEP)
    kept.keeper.ask("start")
    kept.reaches(ProcessState.RUNNING)
    kept.keeper.ask("restart")
    kept.keeper.ask("stop")
    kept.reaches(ProcessState.STOPPED)
    assert kept.keeper.wait_for([ProcessState.STOPPED], timeout_seconds=0)


def test_a_process_has_a_start_time_from_its_start_to_its_stop(keep: Keep) -> None:
    kept = keep(SLEEP)
    assert kept.keeper.status().started_at is None
    before = time.time()
    kept.keeper.ask("start")
    kept.reaches(ProcessState.RUNNING)
    started_at = kept.keeper.status().started_at
    assert started_at is not None
    assert before <= started_at <= time.time()
    kept.keeper.ask("stop")
    kept.reaches(ProcessState.STOPPED)
    assert kept.keeper.status().started_at is None


def test_a_death_is_told_with_the_last_three_lines_and_forgotten_by_the_next_start(
    keep: Keep,
) -> None:
    kept = keep(
        r"printf 'first\nsecond\nthird\nfourth\n'; kill -9 $$", Pace(backoff_seconds=(0.01,))
    )
    kept.keeper.ask("start")
    until(lambda: len(kept.messages(ProcessState.STARTING)) >= 2)
    assert kept.deaths()[0].startswith(
        "one ended with signal SIGKILL: second / third / fourth It is started again"
    )
    assert kept.messages(ProcessState.STARTING)[:2] == ["", ""]


def test_the_grace_of_a_stop_is_what_the_supervisor_left_it(keep: Keep, tmp_path: Path) -> None:
    kept = keep(DEAF)
    kept.keeper.ask("start")
    kept.reaches(ProcessState.RUNNING)
    until(lambda: b"ready" in processes.log_path(tmp_path, "one").read_bytes())
    kept.keeper.grace_seconds = 0.2
    began = time.monotonic()
    kept.keeper.ask("stop")
    kept.reaches(ProcessState.STOPPED)
    assert time.monotonic() - began < keeper.DEFAULT_GRACE_SECONDS / 2


class SlowToStart:
    """A unit whose start waits until it is let go."""

    name = "one"
    stage = 0
    pace = Pace()

    def __init__(self) -> None:
        self.starts = 0
        self.go = threading.Event()

    def start(self) -> None:
        self.starts += 1
        assert self.go.wait(10)

    def is_alive(self) -> bool:
        return True

    def stop(self, grace_seconds: float, hurry: threading.Event) -> None:
        """It holds nothing."""

    def pid(self) -> int | None:
        return None

    def last_exit(self) -> str:
        return "no exit code"

    def needs_a_person(self) -> bool:
        return False

    def was_kept_out(self) -> bool:
        return False


def test_a_start_after_a_stop_is_another_start_also_while_the_first_is_under_way(
    keep: Keep,
) -> None:
    slow = SlowToStart()
    kept = keep(slow)
    kept.keeper.ask("start")
    until(lambda: slow.starts == 1)
    kept.keeper.ask("stop")
    kept.keeper.ask("start")
    slow.go.set()
    kept.reaches(ProcessState.RUNNING)
    assert slow.starts == 2


@pytest.mark.parametrize(
    ("script", "words"), [("exit 3", "exit code 3"), ("kill -TERM $$", "signal SIGTERM")]
)
def test_an_end_is_told_by_its_code_or_its_signal(tmp_path: Path, script: str, words: str) -> None:
    one = unit(tmp_path, script)
    assert one.last_exit() == "no exit code"
    one.start()
    until(lambda: not one.is_alive())
    assert one.last_exit() == words


def test_a_stop_leaves_no_zombie_and_no_record(tmp_path: Path) -> None:
    one = unit(tmp_path, SLEEP)
    one.start()
    pid = one.pid()
    assert pid is not None
    one.stop(5.0, threading.Event())
    assert not psutil.pid_exists(pid)
    assert processes.recorded(tmp_path, ["one"]) == {}


def test_what_is_done_before_a_start_finds_the_old_process_gone_and_the_new_one_not_begun(
    tmp_path: Path,
) -> None:
    found: list[str] = []

    def look() -> None:
        record = read_record(processes.record_path(tmp_path, "one"))
        left = [] if record is None else processes.session_members(record)
        found.append(f"{len(left)} left")

    def command() -> Command:
        found.append("command")
        return Command(["/bin/sh", "-c", SLEEP])

    one = CommandUnit(tmp_path, "one", command, before_start=look)
    one.start()
    one.start()
    assert found == ["0 left", "command"] * 2
    one.stop(0.0, threading.Event())


def test_a_start_that_cannot_be_recorded_is_one_that_failed_and_leaves_no_process(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def refuse(_: Path, pid: int, facts: object) -> None:
        started.append(pid)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(processes, "write_record", refuse)
    kept = keep(SLEEP, Pace(backoff_seconds=(0.01,)))
    kept.keeper.ask("start")
    until(lambda: len(kept.deaths()) >= 3)
    kept.keeper.ask("stop")
    kept.reaches(ProcessState.STOPPED)
    assert all("No space left on device" in told for told in kept.deaths())
    assert not any(psutil.pid_exists(pid) for pid in started)


def test_a_start_that_fails_is_tried_again_whatever_the_process_before_it_said(
    keep: Keep, tmp_path: Path
) -> None:
    commands = [Command([str(tmp_path / "no such program")]), Command(["/bin/sh", "-c", "exit 3"])]
    kept = keep(
        CommandUnit(
            tmp_path,
            "one",
            commands.pop,
            final_exit_codes=frozenset({3}),
            pace=Pace(backoff_seconds=(30.0,)),
        )
    )
    kept.keeper.ask("start")
    kept.reaches(ProcessState.HALTED)
    kept.keeper.ask("start")
    until(lambda: len(kept.deaths()) == 2)
    assert kept.keeper.status().state is ProcessState.WAITING
    assert "no such program" in kept.keeper.status().message


def test_one_that_is_kept_out_is_tried_on_and_never_given_up(keep: Keep, tmp_path: Path) -> None:
    command = Command(["/bin/sh", "-c", "exit 4"])
    kept = keep(
        CommandUnit(
            tmp_path,
            "one",
            lambda: command,
            kept_out_exit_codes=frozenset({4}),
            pace=Pace(backoff_seconds=(0.0, 0.03), crash_loop_deaths=2, gives_up_after_deaths=3),
        )
    )
    kept.keeper.ask("start")
    until(lambda: len(kept.deaths()) >= 4)
    assert kept.messages(ProcessState.CRASHING, ProcessState.HALTED) == []
    assert all("exit code 4" in told and "again in 0.03 s" in told for told in kept.deaths())
