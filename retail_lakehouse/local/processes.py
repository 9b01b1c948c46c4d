"""Whole sessions of processes: started apart, found by their session's id, ended completely.

Belongs here: what holds for any process that the supervisor runs: its session, its log. Doesn't
belong here: which processes there are (`stack_units.py`), when they are started again
(`supervisor.py`), the record of one process (`process_record.py`).

A streaming job is a Python process with a Java child and Python workers. All of them stay in the
session that the first one leads, so the session's id finds them also when the leader is gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from retail_lakehouse.local.process_record import ProcessRecord, read_record, write_record

logger = logging.getLogger(__name__)

_KEPT = "KEPT_BY_RETAIL_LAKEHOUSE"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"[-0-9]{10} [:0-9]{8},[0-9]{3} ERROR (?P<words>.+)")
"""A line of our own programs' log, as `streaming/driver.py` writes it."""
_SENTENCE_MOST = 600
LOG_ROTATE_BYTES = 20 * 1024 * 1024
_POLL_SECONDS = 0.05
_KILL_WAIT_SECONDS = 5.0
# Children which see their leader gone (a JVM whose standard input closes) end by themselves.
_ORPHANS_GRACE_SECONDS = 0.5


class StragglersError(RuntimeError):
    """Processes of a session are still there after SIGKILL."""


@dataclass(frozen=True)
class Command:
    """What is run: arguments, and what its environment has beyond that of the supervisor."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


def record_path(root: Path, name: str) -> Path:
    """Where the record of a process stands."""
    return root / "run" / f"{name}.json"


def log_path(root: Path, name: str) -> Path:
    """Where a process writes its output."""
    return root / "logs" / f"{name}.log"


def recorded(root: Path, names: Iterable[str]) -> dict[str, ProcessRecord]:
    """The records in the state folder, of processes that live or not, by name."""
    found = ((name, read_record(record_path(root, name))) for name in names)
    return {name: record for name, record in found if record is not None}


def spawn(root: Path, name: str, command: Command) -> subprocess.Popen[bytes]:
    """Start a process as the leader of its own session and write down its record.

    Its output is appended to its log, which stays whole when the supervisor dies: there is no
    pipe whose other end could be gone.

    Raises:
        OSError: The program cannot be started, or its record cannot be written: then it has been
            ended again.
    """
    log_file = log_path(root, name)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603
            list(command.argv),
            env={**os.environ, **command.env, **kept_environment(root, name)},
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        write_record(record_path(root, name), process.pid, {"log": str(log_file)})
    except psutil.NoSuchProcess:
        logger.warning("%s ended at once; see %s.", name, log_file)
    except BaseException:
        # Unrecorded it would be nobody's, and the next start would put another one beside it. So
        # early its group is the whole session, and a signal to it needs no file to be opened.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process


def kept_environment(root: Path, name: str) -> dict[str, str]:
    """What tells, in a process's environment, whose it is before its record is written."""
    return {_KEPT: _kept(root, name)}


def adopt_unrecorded(root: Path, names: Iterable[str]) -> None:
    """Write the records of processes whose starter was killed before it could.

    Such a process can only be the newest of its name: the one before was ended first.
    """
    name_of = {_kept(root, name): name for name in names}
    for process in psutil.process_iter():
        try:
            name = name_of.get(process.environ().get(_KEPT, ""))
            if name is None or os.getsid(process.pid) != process.pid:
                continue
            path = record_path(root, name)
            known = read_record(path)
            if known is None or known.pid != process.pid or not known.is_that(process):
                write_record(path, process.pid, {"log": str(log_path(root, name))})
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue


def _kept(root: Path, name: str) -> str:
    return f"{root}:{name}"


def session_members(record: ProcessRecord) -> list[psutil.Process]:
    """The living processes of the session that a recorded process leads or led.

    The system does not give a process id out again while a session has that id, so a living
    leader that started at another time means that nothing of the old session is left.
    """
    try:
        if not record.is_that(psutil.Process(record.pid)):
            return []
    except psutil.NoSuchProcess:
        pass
    members = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) != record.pid:
                continue
            process = psutil.Process(pid)
            # A session older than the record is a stranger's, from before a reboot.
            if record.is_not_younger_than(process) and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
    return members


def end_session(
    record: ProcessRecord, grace_seconds: float, hurry: threading.Event | None = None
) -> bool:
    """End a session completely: its leader is asked (SIGTERM), then all of it is killed.

    A stopped leader (SIGSTOP) could not answer and is killed at once; it must not be continued,
    as it would go on writing where another writer has taken over.

    Args:
        record: The session's leader.
        grace_seconds: How long the leader may take to end by itself.
        hurry: Once set, nothing is waited for any more.

    Returns:
        True if nothing had to be killed.

    Raises:
        StragglersError: Processes remain that even SIGKILL does not end.
    """
    asked = False
    if record.is_alive() and not _is_stopped(record.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)
            asked = True
        _wait_until(lambda: not record.is_alive() or _is_stopped(record.pid), grace_seconds, hurry)
    by_itself = not record.is_alive()
    if by_itself and asked:
        _wait_until(lambda: not session_members(record), _ORPHANS_GRACE_SECONDS, hurry)
    members = session_members(record)
    if not members:
        return by_itself
    if not by_itself:
        logger.warning(
            "Process %d (%s) did not end within %.0f s and is killed.",
            record.pid,
            Path(str(record.facts.get("log", ""))).stem,
            grace_seconds,
        )
    kill_session(record)
    return False


def kill_session(record: ProcessRecord) -> None:
    """End every process of a session with SIGKILL and see them gone.

    Raises:
        StragglersError: Processes remain that even SIGKILL does not end.
    """
    deadline = time.monotonic() + _KILL_WAIT_SECONDS
    while members := session_members(record):
        if time.monotonic() > deadline:
            told = ", ".join(f"{each.pid}" for each in members)
            raise StragglersError(
                f"The processes {told} do not end even by SIGKILL; they wait for a disk or the "
                "kernel. Look at them with `ps`, and restart the machine if they stay."
            )
        for member in members:
            with contextlib.suppress(psutil.Error):
                member.kill()
        time.sleep(_POLL_SECONDS)


def rotate_log(path: Path, limit_bytes: int = LOG_ROTATE_BYTES) -> bool:
    """Move a log's content to `<name>.log.1` once it is longer than the limit.

    The file is emptied in place: its writer appends and keeps its handle.
    """
    try:
        if path.stat().st_size <= limit_bytes:
            return False
        older = path.with_name(path.name + ".1")
        with path.open("rb") as source, older.open("wb") as target:
            while chunk := source.read(1024 * 1024):
                target.write(chunk)
        os.truncate(path, 0)
    except FileNotFoundError:
        return False
    return True


def log_tail(path: Path, lines: int = 5, width: int = 200) -> list[str]:
    """The last lines of a log that aren't empty, oldest first, without colours, cut to a width."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 16_384))
            told = log.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    kept = [plain.rstrip() for line in told if (plain := _COLOUR.sub("", line)).strip()]
    return [line[:width] for line in kept[-lines:]]


def last_words(path: Path, lines: int = 3) -> str:
    """What a process said last: its error, where it ended with one, else its last lines.

    A job's error says what to do next; the libraries' own lines around it would leave no room.
    """
    tail = log_tail(path, lines=8, width=_SENTENCE_MOST)
    for line in reversed(tail):
        error = _ERROR.match(line)
        if error:
            return error["words"]
    return " / ".join(line[:200] for line in tail[-lines:])


def _is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def _wait_until(done: Callable[[], bool], seconds: float, hurry: threading.Event | None) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        if hurry is not None and hurry.is_set():
            return
        time.sleep(_POLL_SECONDS)
