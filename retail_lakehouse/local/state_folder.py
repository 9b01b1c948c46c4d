"""Who holds the state folder: one process at a time, as long as it lives.

Here: the lock, its holder and what is said to who comes second. Not here: what a holder does with
the folder (`supervisor.py`, `reset.py`).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import psutil  # type: ignore[import-untyped]

from retail_lakehouse.local.process_record import ProcessRecord, record_of

HOLD_PATIENCE_SECONDS = 1.0
_HOLD_POLL_SECONDS = 0.05

Role = Literal["dev", "stop", "reset"]
_ROLES: Mapping[str, Role] = {"dev": "dev", "stop": "stop", "reset": "reset"}


class AlreadyRunningError(RuntimeError):
    """Another supervisor holds the state folder."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the state folder: `dev` keeps its processes, the others only end or empty it."""

    role: Role
    process: ProcessRecord


class Hold:
    """The state folder's lock, until it is closed or its process ends in any way."""

    def __init__(self, file: IO[bytes], role: Role) -> None:
        """Write down who holds the locked file.

        What an earlier holder wrote is overwritten and only then cut, so that whoever reads
        meanwhile finds a whole first line.
        """
        self._file = file
        told = {"role": role, **record_of(os.getpid(), {}).to_json()}
        line = json.dumps(told).encode() + b"\n"
        os.pwrite(file.fileno(), line, 0)
        os.ftruncate(file.fileno(), len(line))

    def close(self) -> None:
        """Leave the folder to others."""
        if not self._file.closed:
            os.ftruncate(self._file.fileno(), 0)
            self._file.close()


def hold(root: Path, role: Role = "dev", patience_seconds: float = HOLD_PATIENCE_SECONDS) -> Hold:
    """Take the state folder's lock for as long as what is returned stays open.

    Args:
        root: The state folder.
        role: What it is taken for; others see it.
        patience_seconds: How long a holder that is about to leave is waited for.

    Raises:
        AlreadyRunningError: Another process has it; the sentence has its id.
    """
    path = _lock_path(root)
    deadline = time.monotonic() + patience_seconds
    while (file := _locked(path)) is None:
        if time.monotonic() >= deadline:
            raise AlreadyRunningError(_held(root))
        time.sleep(_HOLD_POLL_SECONDS)
    return Hold(file, role)


def require_free(root: Path) -> None:
    """Refuse at once if the state folder is held: what is asked of a person first would be in vain.

    Raises:
        AlreadyRunningError: Another process has it; the sentence has its id.
    """
    if holder(root) is not None:
        raise AlreadyRunningError(_held(root))


def _locked(path: Path) -> IO[bytes] | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not in append mode, where what is written at the beginning would land at the end.
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A reset removes the file: who waited for it would hold one that nobody else sees.
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return None


def holder(root: Path) -> Holder | None:
    """Who holds the state folder, or None if nobody does. Looking takes no lock: it refuses nobody.

    The file names its holder from the moment of the lock to that of its release, and a holder that
    was killed is known by its record to be gone.
    """
    try:
        line = _lock_path(root).read_text().partition("\n")[0]
        told = json.loads(line) if line else None
        if told is None:
            return None
        found = Holder(_ROLES[told["role"]], ProcessRecord.from_json(told))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return found if found.process.is_alive() else None


def holder_pid(root: Path) -> int | None:
    """The process id of the `dev` that holds the state folder, or None if none does."""
    found = holder(root)
    return found.process.pid if found is not None and found.role == "dev" else None


def holder_beside(root: Path) -> int | None:
    """The process id of the `dev` that holds the state folder, unless it started this process.

    Nothing has to be handed on for it: a process belongs to the `dev` that it descends from.
    """
    pid = holder_pid(root)
    if pid is None or pid == os.getpid():
        return None
    return None if any(parent.pid == pid for parent in psutil.Process().parents()) else pid


def _lock_path(root: Path) -> Path:
    return root / "run" / "supervisor.lock"


def _held(root: Path) -> str:
    found = holder(root)
    if found is None or found.role == "dev":
        pid = "unknown" if found is None else str(found.process.pid)
        return (
            f"`retail-lakehouse dev` already runs on {root} as process {pid}. Use that one, stop "
            "it with `retail-lakehouse stop`, or name another folder with --state-dir."
        )
    return (
        f"`retail-lakehouse {found.role}` is at work on {root} as process {found.process.pid}. "
        "Wait until it has ended, then run the same again."
    )
