"""The refresh sessions that are under way: a file each, which says whether the warehouse answered.

Here: the files, writing and reading them. Not here: sessions (`client.py`), or what is made of one
that waits (`checks/causes.py`). A warehouse that wakes up answers nobody, so while it does only
whoever waits for it can tell that it is that, and no refresh that is paused.

A file is locked for as long as its session lasts: the kernel frees the lock of a process that was
killed, where a process id would be another's after a restart of the machine.
"""

import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionUnderWay:
    """A session that has begun and not ended. Times in epoch milliseconds."""

    began_ms: int
    answered_ms: int | None
    """When its first statement was answered; None while it waits for that."""


@contextmanager
def session_under_way(root: Path) -> Iterator[Callable[[], None]]:
    """Notes a session for as long as it lasts; what it yields notes the first answer.

    A note that cannot be written holds no refresh up: only its cause has another name then.
    """
    path, began_ms = _folder(root) / f"{uuid.uuid4().hex}.json", _now_ms()
    descriptor = _begun(path, began_ms)
    try:
        yield lambda: _note(descriptor, began_ms, _now_ms())
    finally:
        if descriptor is not None:
            # Gone before its lock is: without one it would be taken for a killed process's.
            path.unlink(missing_ok=True)
            os.close(descriptor)


def sessions_under_way(root: Path) -> list[SessionUnderWay]:
    """The sessions of living processes, the one that waits longest first."""
    found = [session for path in _folder(root).glob("*.json") if (session := _read(path))]
    return sorted(found, key=lambda each: (each.answered_ms is not None, each.began_ms))


def _folder(root: Path) -> Path:
    return root / "run" / "refresh_sessions"


def _begun(path: Path, began_ms: int) -> int | None:
    """Makes a session's file and locks it; None where that cannot be done."""
    # Under another name until it is locked and whole: a look takes what is not locked away.
    beside = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        logger.warning("The refresh session under way cannot be noted: %s", error)
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _note(descriptor, began_ms, None)
        beside.replace(path)
    except OSError as error:
        logger.warning("The refresh session under way cannot be noted: %s", error)
        os.close(descriptor)
        return None
    return descriptor


def _note(descriptor: int | None, began_ms: int, answered_ms: int | None) -> None:
    if descriptor is None:
        return
    told = json.dumps({"began_ms": began_ms, "answered_ms": answered_ms}).encode()
    try:
        os.pwrite(descriptor, told, 0)
        os.ftruncate(descriptor, len(told))
    except OSError as error:
        logger.warning("The refresh session under way cannot be noted: %s", error)


def _read(path: Path) -> SessionUnderWay | None:
    try:
        with path.open("rb") as file:
            if _is_free(file.fileno()):
                path.unlink(missing_ok=True)
                return None
            told = json.loads(file.read())
        answered = told["answered_ms"]
        return SessionUnderWay(int(told["began_ms"]), None if answered is None else int(answered))
    except (OSError, ValueError, KeyError, TypeError):
        # It has just ended or is just being noted, or a full disk cut it short.
        return None


def _is_free(descriptor: int) -> bool:
    """Whether nobody has the file locked: its process was killed and could not take it away."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
