"""Processes that outlive their starter: recorded in a file, found again, ended for certain.

Belongs here: the record of one process and its end. Doesn't belong here: what the process does.

A process id alone is no identity, since the system gives it out again: a record holds the
process's start time beside it, and both must match.
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

import psutil  # type: ignore[import-untyped]

logger = logging.getLogger(__name__)

# The start time is counted from the boot time, which moves a little when the clock is set.
_START_TIME_TOLERANCE_SECONDS = 2.0
_KILL_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class ProcessRecord:
    """What is written down about one process.

    Attributes:
        pid: Its id, which is also its process group's and its session's.
        create_time: When it started, in seconds since 1970 as psutil has it.
        facts: What else its starter wants to find again.
    """

    pid: int
    create_time: float
    facts: Mapping[str, str | int] = field(default_factory=dict)

    def is_alive(self) -> bool:
        """Whether this very process still runs; one that ended but was not collected doesn't."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.create_time) < _START_TIME_TOLERANCE_SECONDS
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


def write_record(path: Path, pid: int, facts: Mapping[str, str | int]) -> ProcessRecord:
    """Write down a process that runs now.

    Raises:
        psutil.NoSuchProcess: It has ended already.
    """
    record = ProcessRecord(pid, float(psutil.Process(pid).create_time()), dict(facts))
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(descriptor, "w") as file:
        json.dump(
            {"pid": record.pid, "create_time": record.create_time, "facts": dict(record.facts)},
            file,
            indent=1,
        )
    Path(name).replace(path)
    return record


def read_record(path: Path) -> ProcessRecord | None:
    """Read a record, or None if there is none or it cannot be understood."""
    try:
        told = json.loads(path.read_text())
        return ProcessRecord(int(told["pid"]), float(told["create_time"]), dict(told["facts"]))
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
