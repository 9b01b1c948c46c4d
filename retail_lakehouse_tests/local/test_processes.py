"""A session is found by its id and ended completely, whatever state its processes are in."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.local import processes
from retail_lakehouse.local.process_record import ProcessRecord, read_record
from retail_lakehouse.local.processes import Command

# A leader with a child that ignores SIGTERM, as a JVM in a long pause would.
FAMILY = """
import signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
subprocess.Popen([sys.executable, "-c", child])
print("ready", flush=True)
time.sleep(300)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(300)
"""


def spawn(root: Path, name: str, code: str) -> tuple[subprocess.Popen[bytes], ProcessRecord]:
    process = processes.spawn(root, name, Command([sys.executable, "-c", code]))
    record = read_record(processes.record_path(root, name))
    assert record is not None
    deadline = time.monotonic() + 10
    log = processes.log_path(root, name)
    while b"ready" not in log.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.02)
    return process, record


def test_a_process_leads_a_session_of_its_own_and_is_recorded(tmp_path: Path) -> None:
    process, record = spawn(tmp_path, "one", "print('ready', flush=True); input()" + STUBBORN)
    assert record.pid == process.pid
    assert record.facts["log"] == str(tmp_path / "logs" / "one.log")
    process.wait(timeout=10)


def test_a_process_has_the_supervisors_environment_and_its_own_and_no_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_SUPERVISOR", "1")
    monkeypatch.setenv("ITS_OWN", "another's")
    code = "import os, sys; print(os.environ['OF_THE_SUPERVISOR'], os.environ['ITS_OWN'])"
    code += "; print(repr(sys.stdin.read())); print('to err', file=sys.stderr)"
    command = Command([sys.executable, "-c", code], {"ITS_OWN": "2"})
    reading, writing = os.pipe()
    os.write(writing, b"typed in the supervisor's terminal")
    os.close(writing)
    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        process = processes.spawn(tmp_path, "one", command)
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reading)
    assert process.wait(timeout=10) == 0
    assert processes.log_path(tmp_path, "one").read_text() == "1 2\n''\nto err\n"


def test_a_process_runs_in_the_folder_that_its_command_names(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    process = processes.spawn(tmp_path, "one", Command(["/bin/pwd", "-P"], cwd=folder))
    assert process.wait(timeout=10) == 0
    assert processes.log_path(tmp_path, "one").read_text() == f"{folder.resolve()}\n"


def test_a_log_keeps_what_the_process_before_wrote(tmp_path: Path) -> None:
    for word in ("first", "second"):
        process = processes.spawn(tmp_path, "one", Command(["/bin/echo", word]))
        assert process.wait(timeout=10) == 0
    assert processes.log_path(tmp_path, "one").read_text() == "first\nsecond\n"


def test_a_process_that_ended_before_it_was_recorded_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: Path, pid: int, facts: object) -> None:
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(processes, "write_record", gone)
    assert processes.spawn(tmp_path, "one", Command(["/bin/true"])).wait(timeout=10) == 0


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_process_whose_record_cannot_be_written_is_ended_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    started: list[int] = []

    def refuse(_: Path, pid: int, facts: object) -> None:
        started.append(pid)
        raise error

    monkeypatch.setattr(processes, "write_record", refuse)
    with pytest.raises(type(error)):
        processes.spawn(tmp_path, "one", Command([sys.executable, "-c", STUBBORN]))
    assert len(started) == 1
    assert not psutil.pid_exists(started[0])


def test_children_that_end_with_their_leader_need_not_be_killed(tmp_path: Path) -> None:
    child = "import os, time\nwhile os.getppid() == int(%d): time.sleep(0.01)"
    code = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r} % os.getpid()])
print("ready", flush=True)
time.sleep(300)
"""
    process, record = spawn(tmp_path, "family", code)
    assert len(processes.session_members(record)) == 2
    collector = threading.Thread(target=process.wait)
    collector.start()
    assert processes.end_session(record, grace_seconds=5.0)
    assert processes.session_members(record) == []
    collector.join()
    assert process.returncode == -signal.SIGTERM


def test_the_end_of_a_session_takes_the_children_along(tmp_path: Path) -> None:
    process, record = spawn(tmp_path, "family", FAMILY)
    assert len(processes.session_members(record)) == 2
    assert not processes.end_session(record, grace_seconds=5.0)
    assert processes.session_members(record) == []
    process.wait(timeout=5)


def test_children_whose_leader_was_killed_are_found_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_ORPHANS_GRACE_SECONDS", 20.0)
    process, record = spawn(tmp_path, "family", FAMILY)
    process.kill()
    process.wait(timeout=5)
    assert len(processes.session_members(record)) == 1
    began = time.monotonic()
    assert not processes.end_session(record, grace_seconds=20.0)
    assert time.monotonic() - began < 10
    assert processes.session_members(record) == []


def test_a_session_older_than_its_record_is_a_strangers(tmp_path: Path) -> None:
    process, record = spawn(tmp_path, "family", FAMILY)
    process.kill()
    process.wait(timeout=5)
    later = ProcessRecord(record.pid, record.create_time + 3600)
    assert processes.session_members(later) == []
    assert processes.end_session(later, grace_seconds=0.1)
    assert len(processes.session_members(record)) == 1
    processes.kill_session(record)


def test_what_even_a_kill_does_not_end_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, record = spawn(tmp_path, "one", STUBBORN)
    with monkeypatch.context() as patch:
        patch.setattr(processes, "_KILL_WAIT_SECONDS", 0.2)
        patch.setattr(psutil.Process, "kill", lambda _: None)
        with pytest.raises(processes.StragglersError, match=f"The processes {process.pid} do not"):
            processes.kill_session(record)
    processes.kill_session(record)
    process.wait(timeout=5)


def test_a_stopped_process_is_killed_at_once_and_never_continued(tmp_path: Path) -> None:
    process, record = spawn(tmp_path, "stopped", STUBBORN)
    os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    assert not processes.end_session(record, grace_seconds=30.0)
    assert time.monotonic() - began < 5
    assert process.wait(timeout=5) == -signal.SIGKILL


def test_a_process_that_ignores_the_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    process, record = spawn(tmp_path, "stubborn", STUBBORN)
    assert not processes.end_session(record, grace_seconds=0.3)
    assert process.wait(timeout=5) == -signal.SIGKILL


def test_a_record_with_another_start_time_names_no_stranger(tmp_path: Path) -> None:
    process, record = spawn(tmp_path, "young", STUBBORN)
    stranger = ProcessRecord(record.pid, record.create_time - 3600)
    assert processes.session_members(stranger) == []
    processes.end_session(stranger, grace_seconds=0.1)
    assert psutil.pid_exists(process.pid)
    processes.kill_session(record)
    process.wait(timeout=5)


def test_a_long_log_is_moved_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        assert processes.rotate_log(log, limit_bytes=100)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "one.log.1").read_bytes() == b"old\n" * 100
    assert not processes.rotate_log(log, limit_bytes=len(b"new\n"))
    assert not processes.rotate_log(tmp_path / "none.log", limit_bytes=0)


@pytest.mark.parametrize(("text", "tail"), [("", []), ("a\n\n b \nc\n", [" b", "c"])])
def test_the_tail_of_a_log_leaves_empty_lines_out(
    tmp_path: Path, text: str, tail: list[str]
) -> None:
    log = tmp_path / "one.log"
    log.write_text(text)
    assert processes.log_tail(log, lines=2) == tail
    assert processes.log_tail(tmp_path / "none.log") == []


def test_the_tail_of_a_log_is_cut_to_its_width_and_to_the_files_end(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    log.write_bytes(b"first\n" + b"\n" * 20_000 + b"\xff" + b"x" * 500 + b"\nlast\n")
    assert processes.log_tail(log, lines=5, width=10) == ["\ufffd" + "x" * 9, "last"]


def test_the_tail_of_a_coloured_log_has_no_colours(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\x1b[32m2026-11-23\x1b[0m - daemon - \x1b[34mINFO\x1b[0m - ticks\n\x1b[0m\n")
    assert processes.log_tail(log, lines=2) == ["2026-11-23 - daemon - INFO - ticks"]


def test_the_last_words_are_the_error_that_a_program_ended_with_without_the_lines_around_it(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    noise = 'Setting default log level to "WARN".\n26/11/24 00:13:06 ERROR MicroBatch: no\n'
    told = "2026-11-24 00:13:16,657 ERROR The topic was made again: set accept_loss=5f13a235787f.\n"
    log.write_text(told + noise)
    assert processes.last_words(log) == "The topic was made again: set accept_loss=5f13a235787f."
    log.write_text(told + "another run\n" * 9 + noise)
    assert processes.last_words(log) == (
        'another run / Setting default log level to "WARN". / '
        "26/11/24 00:13:06 ERROR MicroBatch: no"
    )
    assert processes.last_words(tmp_path / "none.log") == ""
