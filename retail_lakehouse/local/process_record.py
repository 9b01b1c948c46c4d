"""Processes that outlive their starter: recorded in a file, found again, ended for certain.

Belongs here: the record of one process and its end. Doesn't belong here: what the process does.

A process id alone is no identity, since the system gives it out again: a record holds when the
process started beside it, and both must match. On Linux that is the kernel's own count of ticks
since the boot, with the boot's id: a clock that is set moves neither.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

logger = logging.getLogger(__name__)

# Where only the start time is known: it moves a little when the clock is set.
_START_TIME_TOLERANCE_SECONDS = 2.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Of proc_pid_stat(5), counted from the state, which follows the name in parentheses.
_STARTTIME_FIELD = 22 - 3
_KILL_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Birth:
    """When a process started, by a count that no clock moves.

    Attributes:
        boot_id: The system's id of this boot.
        ticks: The clock ticks from the boot to the start.
    """

    boot_id: str
    ticks: int


def birth_of(pid: int) -> Birth | None:
    """When a process started; None if it is gone or the system has no `/proc` as Linux has it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        boot_id = _BOOT_ID.read_text().strip()
        return Birth(boot_id, int(stat.rpartition(")")[2].split()[_STARTTIME_FIELD]))
    except (OSError, ValueError, IndexError):
        return None


@dataclass(frozen=True)
class ProcessRecord:
    """What is written down about one process.

    Attributes:
        pid: Its id, which is also its process group's and its session's.
        create_time: When it started, in seconds since 1970 as psutil has it.
        facts: What else its starter wants to find again.
        birth: When it started, by a count that no clock moves; None where there is none.
    """

    pid: int
    create_time: float
    facts: Mapping[str, str | int] = field(default_factory=dict)
    birth: Birth | None = None

    def is_alive(self) -> bool:
        """Whether this very process still runs; one that ended but was not collected doesn't."""
        try:
            process = psutil.Process(self.pid)
            return bool(self.is_that(process) and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def to_json(self) -> dict[str, object]:
        """As it is written down."""
        told: dict[str, object] = {"pid": self.pid, "create_time": self.create_time}
        if self.birth is not None:
            told |= {"boot_id": self.birth.boot_id, "start_ticks": self.birth.ticks}
        return {**told, "facts": dict(self.facts)}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> ProcessRecord:
        """What `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: It is something else.
        """
        birth = None
        if "boot_id" in told:
            birth = Birth(str(told["boot_id"]), int(told["start_ticks"]))
        return ProcessRecord(
            int(told["pid"]), float(told["create_time"]), dict(told["facts"]), birth
        )

    def is_that(self, process: psutil.Process) -> bool:
        """Whether a process with the recorded id is the recorded one, and no later one.

        Raises:
            psutil.NoSuchProcess: It is gone.
        """
        birth = birth_of(process.pid)
        if self.birth is not None and birth is not None:
            return birth == self.birth
        return bool(abs(process.create_time() - self.create_time) < _START_TIME_TOLERANCE_SECONDS)

    def is_not_younger_than(self, process: psutil.Process) -> bool:
        """Whether a process started after the recorded one, or with it, in the same boot.

        Raises:
            psutil.NoSuchProcess: It is gone.
        """
        birth = birth_of(process.pid)
        if self.birth is not None and birth is not None:
            return birth.boot_id == self.birth.boot_id and birth.ticks >= self.birth.ticks
        return bool(process.create_time() >= self.create_time - _START_TIME_TOLERANCE_SECONDS)


def record_of(pid: int, facts: Mapping[str, str | int]) -> ProcessRecord:
    """Describe a process that runs now.

    Raises:
        psutil.NoSuchProcess: It has ended already.
    """
    return ProcessRecord(pid, float(psutil.Process(pid).create_time()), dict(facts), birth_of(pid))


def write_record(path: Path, pid: int, facts: Mapping[str, str | int]) -> ProcessRecord:
    """Write down a process that runs now.

    Raises:
        psutil.NoSuchProcess: It has ended already.
        OSError: It cannot be written; no part of it stays.
    """
    record = record_of(pid, facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(record.to_json(), file, indent=1)
        Path(name).replace(path)
    except BaseException:
        # While the disk is full, a start is tried again and again: each would leave a file.
        Path(name).unlink(missing_ok=True)
        raise
    return record


def read_record(path: Path) -> ProcessRecord | None:
    """Read a record, or None if there is none or it cannot be understood."""
    try:
        return ProcessRecord.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("The process record %s cannot be read and is ignored: %s", path, error)
        return None


def end_process(record: ProcessRecord, grace_seconds: float) -> bool:
    """End a process: ask it (SIGTERM), wait, then kill its whole process group.

    Returns:
        True if it ended by itself within the grace period (or had ended before), False if it
        had to be killed.
    """
    if not record.is_alive():
        return True
    process = psutil.Process(record.pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    if _ended_within(process, grace_seconds):
        return True
    logger.warning(
        "Process %d did not end within %.0f seconds and is killed.", record.pid, grace_seconds
    )
    # The leader still lives here, so the group's id cannot have become another group's.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(record.pid, signal.SIGKILL)
    _ended_within(process, _KILL_WAIT_SECONDS)
    return False


def _ended_within(process: psutil.Process, seconds: float) -> bool:
    try:
        process.wait(timeout=seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        # A child of ours that nobody collected has ended all the same.
        try:
            return bool(process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True
    return True
