"""What the supervisor promises: one process a name, started again, ended for certain."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.contracts.job_states import Pace
from retail_lakehouse.local import keeper, processes
from retail_lakehouse.local.control import ControlError, ProcessState, ProcessStatus
from retail_lakehouse.local.keeper import CommandUnit
from retail_lakehouse.local.process_record import ProcessRecord, read_record
from retail_lakehouse.local.processes import Command
from retail_lakehouse.local.state_folder import (
    AlreadyRunningError,
    Role,
    hold,
    holder,
    holder_pid,
)
from retail_lakehouse.local.supervisor import Supervisor

SLEEPER = "import time; time.sleep(300)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"


def unit(root: Path, name: str, code: str, stage: int = 0, pace: Pace | None = None) -> CommandUnit:
    return CommandUnit(
        root, name, lambda: Command([sys.executable, "-c", code]), stage=stage, pace=pace
    )


def until(done: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(**code_by_name: str) -> Supervisor:
        units = [unit(tmp_path, name, code) for name, code in code_by_name.items()]
        supervisor = Supervisor(tmp_path, units)
        made.append(supervisor)
        supervisor.open()
        return supervisor

    yield make
    for supervisor in made:
        supervisor.kill()
        supervisor.close()


def test_a_killed_process_is_started_again(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise(one=SLEEPER)
    first = supervisor.request("start", "one").pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.status()["one"].pid not in (None, first))
    assert supervisor.status()["one"].restarts == 1


def test_a_restart_that_was_asked_for_is_none_after_a_death(
    supervise: Callable[..., Supervisor],
) -> None:
    supervisor = supervise(one=SLEEPER)
    supervisor.request("start", "one")
    supervisor.request("restart", "one")
    supervisor.request("stop", "one")
    again = supervisor.request("start", "one")
    assert again.state is ProcessState.RUNNING
    assert again.restarts == 0


def test_what_the_dead_process_left_is_ended_before_the_next_starts(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    family = f"""
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", {STUBBORN!r}])
        time.sleep(300)
    """
    supervisor = supervise(one=textwrap.dedent(family))
    first = supervisor.request("start", "one").pid
    record = read_record(processes.record_path(tmp_path, "one"))
    assert first is not None
    assert record is not None
    until(lambda: len(processes.session_members(record)) == 2)
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.status()["one"].pid not in (None, first))
    assert processes.session_members(record) == []


def test_a_process_whose_starter_was_killed_before_its_record_was_written_is_ended(
    tmp_path: Path,
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    command = Command([sys.executable, "-c", SLEEPER])
    lost, strangers = (processes.spawn(root, "one", command) for root in (ours, theirs))
    for root in (ours, theirs):
        processes.record_path(root, "one").unlink()
    supervisor = Supervisor(ours, [unit(ours, "one", SLEEPER)])
    try:
        assert supervisor.open() == ["one"]
        assert lost.wait(5) == -signal.SIGTERM
        assert strangers.poll() is None
    finally:
        supervisor.close()
        strangers.kill()
        strangers.wait(5)


def test_a_crash_loop_is_said_in_a_sentence_with_the_last_words(tmp_path: Path) -> None:
    told: list[ProcessStatus] = []
    code = "import sys; sys.exit('the disk is full')"
    pace = Pace(backoff_seconds=(0.01,))
    supervisor = Supervisor(tmp_path, [unit(tmp_path, "one", code, pace=pace)], told.append)
    supervisor.open()
    supervisor.ask("start", "one")
    until(lambda: any(status.state is ProcessState.CRASHING for status in told))
    message = next(each.message for each in told if each.state is ProcessState.CRASHING)
    assert "one has died 3 times in a row" in message
    assert "the disk is full" in message
    assert "exit code 1" in message
    supervisor.close()


def test_what_died_too_often_is_left_alone_until_a_person_starts_it(tmp_path: Path) -> None:
    code = "import sys; sys.exit('no memory')"
    pace = Pace(backoff_seconds=(0.01,), gives_up_after_deaths=4)
    supervisor = Supervisor(tmp_path, [unit(tmp_path, "one", code, pace=pace)])
    supervisor.open()
    try:
        supervisor.ask("start", "one")
        until(lambda: supervisor.status()["one"].state is ProcessState.HALTED)
        time.sleep(0.2)
        given_up = supervisor.status()["one"]
        assert given_up.restarts == 3
        assert "has died 4 times in a row and is not tried again by itself" in given_up.message
        assert "no memory" in given_up.message
        supervisor.ask("start", "one")
        until(lambda: supervisor.status()["one"].restarts > 3)
    finally:
        supervisor.close()


def test_what_does_not_stop_is_asked_again_until_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_STOP_AGAIN_SECONDS", 0.05)
    one = Troubled("one")
    one.on_stop = [processes.StragglersError("The processes 7 do not end.") for _ in range(3)]
    supervisor = Supervisor(tmp_path, [one])
    supervisor.open()
    supervisor.request("start", "one")
    assert supervisor.request("restart", "one").state is ProcessState.RUNNING
    assert one.on_stop == []
    supervisor.close()


def test_a_stopped_process_stays_stopped_until_it_is_started(
    supervise: Callable[..., Supervisor],
) -> None:
    supervisor = supervise(one=SLEEPER)
    first = supervisor.request("start", "one").pid
    assert supervisor.request("start", "one").pid == first
    assert supervisor.request("stop", "one").state is ProcessState.STOPPED
    assert supervisor.request("stop", "one").state is ProcessState.STOPPED
    assert supervisor.status()["one"].pid is None
    assert supervisor.request("start", "one").pid not in (None, first)


def test_a_restart_gives_another_process(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise(one=SLEEPER)
    first = supervisor.request("start", "one").pid
    second = supervisor.request("restart", "one").pid
    assert first is not None
    assert second not in (None, first)
    assert not psutil.pid_exists(first)


def test_a_start_right_after_a_stop_is_neither_dropped_nor_left_unwatched(
    supervise: Callable[..., Supervisor],
) -> None:
    supervisor = supervise(one=SLEEPER)
    before = supervisor.request("start", "one").pid
    for _ in range(3):
        supervisor.ask("stop", "one")
        after = supervisor.request("start", "one").pid
        assert after not in (None, before)
        before = after
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: supervisor.status()["one"].pid not in (None, before), seconds=5.0)


def test_a_process_that_asks_for_a_person_is_not_started_again_by_itself(tmp_path: Path) -> None:
    lost = CommandUnit(
        tmp_path,
        "job",
        lambda: Command([sys.executable, "-c", "import sys; sys.exit(3)"]),
        final_exit_codes=frozenset({3}),
    )
    supervisor = Supervisor(tmp_path, [lost])
    supervisor.open()
    try:
        supervisor.ask("start", "job")
        until(lambda: supervisor.status()["job"].state is ProcessState.HALTED)
        time.sleep(2 * Pace().pause_seconds(1))
        halted = supervisor.status()["job"]
        assert halted.state is ProcessState.HALTED
        assert halted.restarts == 0
        assert "Starting it again by itself is no use" in halted.message
        supervisor.ask("start", "job")
        until(lambda: supervisor.status()["job"].restarts == 1)
    finally:
        supervisor.close()


class Troubled:
    """A unit that raises what is thrown at it."""

    stage = 0
    pace = Pace(backoff_seconds=(0.05,))

    def __init__(self, name: str) -> None:
        self.name = name
        self.on_start: list[Exception] = []
        self.on_look: list[Exception] = []
        self.on_stop: list[Exception] = []
        self.up = False

    def start(self) -> None:
        _raise_next(self.on_start)
        self.up = True

    def is_alive(self) -> bool:
        _raise_next(self.on_look)
        return self.up

    def stop(self, grace_seconds: float, hurry: threading.Event) -> None:
        _raise_next(self.on_stop)
        self.up = False

    def pid(self) -> int | None:
        return None

    def last_exit(self) -> str:
        return "no exit code"

    def needs_a_person(self) -> bool:
        return False

    def was_kept_out(self) -> bool:
        return False


def _raise_next(errors: list[Exception]) -> None:
    if errors:
        raise errors.pop()


@pytest.mark.parametrize(
    "error",
    [subprocess.TimeoutExpired("java", 5.0), psutil.AccessDenied(7), KeyError("port"), OSError(5)],
)
def test_an_error_of_any_kind_counts_as_a_death_and_is_got_over(
    tmp_path: Path, error: Exception
) -> None:
    one = Troubled("one")
    one.on_start, one.on_look = [error], [error]
    told: list[ProcessStatus] = []
    supervisor = Supervisor(tmp_path, [one], told.append)
    supervisor.open()
    supervisor.ask("start", "one")
    until(lambda: sum(each.state is ProcessState.WAITING for each in told) == 2)
    until(lambda: supervisor.status()["one"].state is ProcessState.RUNNING)
    supervisor.close()
    assert supervisor.status()["one"].state is ProcessState.STOPPED


def test_a_log_that_cannot_be_moved_aside_is_told_once_and_all_are_looked_at_again(
    supervise: Callable[..., Supervisor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    looked_at: list[str] = []
    full = [True]

    def rotate(log: Path) -> bool:
        looked_at.append(log.stem)
        if log.stem == "one" and full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return False

    monkeypatch.setattr("retail_lakehouse.local.supervisor._ROTATE_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(processes, "rotate_log", rotate)
    supervise(one=SLEEPER, two=SLEEPER)
    until(lambda: looked_at.count("two") >= 3)
    assert caplog.text.count("one.log cannot be moved aside and goes on growing: [Errno") == 1
    full[0] = False
    before = looked_at.count("two")
    until(lambda: looked_at.count("two") >= before + 2)
    full[0] = True
    until(lambda: caplog.text.count("one.log cannot be moved aside") == 2)
    assert "two.log" not in caplog.text


def test_who_is_told_cannot_end_who_keeps(tmp_path: Path) -> None:
    def lost(status: ProcessStatus) -> None:
        raise OSError(5, "Input/output error")

    supervisor = Supervisor(tmp_path, [unit(tmp_path, "one", SLEEPER)], lost)
    supervisor.open()
    assert supervisor.request("start", "one").state is ProcessState.RUNNING
    supervisor.close()
    assert supervisor.status()["one"].state is ProcessState.STOPPED


def test_what_did_not_stop_is_not_called_stopped(tmp_path: Path) -> None:
    one = Troubled("one")
    one.on_stop = [processes.StragglersError("The processes 7 do not end.")]
    supervisor = Supervisor(tmp_path, [one])
    supervisor.open()
    supervisor.request("start", "one")
    with pytest.raises(ControlError, match="The processes 7 do not end"):
        supervisor.request("stop", "one", timeout_seconds=0.5)
    assert supervisor.status()["one"].state is ProcessState.STOPPING
    supervisor.close()
    assert supervisor.status()["one"].state is ProcessState.STOPPED


def test_one_that_does_not_end_keeps_no_other_from_being_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a", "b", "c")
    supervisor = Supervisor(tmp_path, [unit(tmp_path, name, SLEEPER) for name in names])
    supervisor.open()
    pids = {name: supervisor.request("start", name).pid for name in names}
    kill, end = processes.kill_session, processes.end_session

    def stuck(record: ProcessRecord) -> bool:
        return record.pid == pids["a"]

    def refuse(
        record: ProcessRecord, grace_seconds: float, hurry: threading.Event | None = None
    ) -> bool:
        if stuck(record):
            raise processes.StragglersError("It does not end.")
        return end(record, grace_seconds, hurry)

    def refuse_kill(record: ProcessRecord) -> None:
        refuse(record, 0.0)

    monkeypatch.setattr(processes, "end_session", refuse)
    monkeypatch.setattr(processes, "kill_session", refuse_kill)
    with pytest.raises(processes.StragglersError, match=r"^a: It does not end\.$"):
        supervisor.close()
    assert not any(psutil.pid_exists(pids[name] or 0) for name in ("b", "c"))
    assert list(processes.recorded(tmp_path, names)) == ["a"]
    assert holder(tmp_path) is None
    with pytest.raises(processes.StragglersError, match="a: It does not end"):
        Supervisor(tmp_path, [unit(tmp_path, "a", SLEEPER)]).open()
    monkeypatch.undo()
    record = read_record(processes.record_path(tmp_path, "a"))
    assert record is not None
    kill(record)


def test_an_unknown_process_is_refused_with_those_there_are(
    supervise: Callable[..., Supervisor],
) -> None:
    with pytest.raises(ControlError, match=r"no process 'two'\. Those there are: one"):
        supervise(one=SLEEPER).request("start", "two")


def test_a_second_supervisor_is_refused_with_the_id_of_the_first(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervise(one=SLEEPER)
    assert holder_pid(tmp_path) == os.getpid()
    with pytest.raises(AlreadyRunningError, match=f"as process {os.getpid()}"):
        Supervisor(tmp_path, []).open()


def test_a_holder_that_is_about_to_leave_is_waited_for(tmp_path: Path) -> None:
    first = hold(tmp_path, "stop")
    threading.Timer(0.3, first.close).start()
    second = hold(tmp_path, "dev")
    assert holder_pid(tmp_path) == os.getpid()
    second.close()


def test_who_waited_for_a_reset_holds_the_folder_that_others_see(tmp_path: Path) -> None:
    first = hold(tmp_path, "reset")

    def empty() -> None:
        shutil.rmtree(tmp_path / "run")
        first.close()

    threading.Timer(0.2, empty).start()
    second = hold(tmp_path, "dev")
    assert holder_pid(tmp_path) == os.getpid()
    with pytest.raises(AlreadyRunningError):
        hold(tmp_path, patience_seconds=0.0)
    second.close()


def test_a_killed_holders_name_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "supervisor.lock").write_text('{"role": "dev", "pid": 1}\n' * 30)
    lock = hold(tmp_path, "dev")
    assert holder_pid(tmp_path) == os.getpid()
    assert (tmp_path / "run" / "supervisor.lock").read_text().count("\n") == 1
    lock.close()


def test_looking_for_the_holder_refuses_no_starter(tmp_path: Path) -> None:
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            holder(tmp_path)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for each in lookers:
        each.start()
    taken = 0
    try:
        while taken < 50:
            hold(tmp_path, patience_seconds=0.0).close()
            taken += 1
    finally:
        done.set()
        for each in lookers:
            each.join()
    assert taken == 50


@pytest.mark.parametrize("role", ["stop", "reset"])
def test_a_stop_or_reset_at_work_is_named_and_is_no_supervisor(tmp_path: Path, role: Role) -> None:
    lock = hold(tmp_path, role)
    assert holder_pid(tmp_path) is None
    found = holder(tmp_path)
    assert found is not None
    assert (found.role, found.process.pid) == (role, os.getpid())
    with pytest.raises(AlreadyRunningError, match=f"`retail-lakehouse {role}` is at work on"):
        hold(tmp_path, patience_seconds=0.1)
    lock.close()
    assert holder(tmp_path) is None


@pytest.mark.parametrize("left", ["", "123", "{", '{"role": "king"}', "[]"])
def test_a_lock_file_that_names_nobody_is_nobodys(tmp_path: Path, left: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "supervisor.lock").write_text(left)
    assert holder(tmp_path) is None
    lock = hold(tmp_path)
    assert holder_pid(tmp_path) == os.getpid()
    lock.close()


def test_the_end_leaves_no_process_and_no_record(tmp_path: Path) -> None:
    units = [unit(tmp_path, "one", SLEEPER), unit(tmp_path, "two", STUBBORN, stage=1)]
    supervisor = Supervisor(tmp_path, units)
    supervisor.open()
    pids = [supervisor.request("start", name).pid for name in ("one", "two")]
    time.sleep(0.3)  # so that the second is deaf by now
    began = time.monotonic()
    supervisor.close(deadline_seconds=2.0)
    assert time.monotonic() - began < 4.0
    assert not any(psutil.pid_exists(pid or 0) for pid in pids)
    assert list((tmp_path / "run").glob("*.json")) == []
    assert holder_pid(tmp_path) is None


def test_lower_stages_end_before_higher_ones(tmp_path: Path) -> None:
    order: list[str] = []

    def note(status: ProcessStatus) -> None:
        if status.state is ProcessState.STOPPED:
            order.append(status.name)

    units = [unit(tmp_path, "server", SLEEPER, stage=1), unit(tmp_path, "client", SLEEPER)]
    supervisor = Supervisor(tmp_path, units, note)
    supervisor.open()
    for name in ("server", "client"):
        supervisor.request("start", name)
    supervisor.close()
    assert order == ["client", "server"]


def test_hurrying_ends_a_stop_that_waits(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, [unit(tmp_path, "one", STUBBORN)])
    supervisor.open()
    supervisor.request("start", "one")
    time.sleep(0.3)
    supervisor.hurry()
    began = time.monotonic()
    supervisor.close(deadline_seconds=20.0)
    assert time.monotonic() - began < 3.0


def test_the_next_supervisor_ends_what_a_killed_one_left(tmp_path: Path) -> None:
    code = f"""
        import sys, time
        from pathlib import Path
        from retail_lakehouse.local.keeper import CommandUnit
        from retail_lakehouse.local.processes import Command
        from retail_lakehouse.local.supervisor import Supervisor
        root = Path({str(tmp_path)!r})
        command = Command([sys.executable, "-c", {SLEEPER!r}])
        supervisor = Supervisor(root, [CommandUnit(root, "one", lambda: command)])
        supervisor.open()
        print(supervisor.request("start", "one").pid, flush=True)
        time.sleep(300)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        left = int(killed.stdout.readline())
        killed.kill()
    assert psutil.pid_exists(left)
    assert holder_pid(tmp_path) is None
    supervisor = Supervisor(tmp_path, [unit(tmp_path, "one", SLEEPER)])
    assert supervisor.open() == ["one"]
    record = read_record(processes.record_path(tmp_path, "one"))
    assert record is None
    # Nobody collects the orphan in a container without an init: then it stays as a zombie.
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
    supervisor.close()
