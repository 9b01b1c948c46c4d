"""The refresh sessions that are under way: a file each, which says whether the warehouse answered.

Here: the files, writing and reading them. Not here: sessions (`client.py`), or what is made of one
that waits (`checks/causes.py`). A warehouse that wakes up answers nobody, so while it does only
whoever waits for it can tell that it is that, and no refresh that is paused.
"""

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
    pid: int


@contextmanager
def session_under_way(root: Path) -> Iterator[Callable[[], None]]:
    """Notes a session for as long as it lasts; what it yields notes the first answer.

    A note that cannot be written holds no refresh up: only its cause has another name then.
    """
    path = _folder(root) / f"{uuid.uuid4().hex}.json"
    began_ms = _now_ms()
    _write(path, began_ms, None)
    try:
        yield lambda: _write(path, began_ms, _now_ms())
    finally:
        path.unlink(missing_ok=True)


def sessions_under_way(root: Path) -> list[SessionUnderWay]:
    """The sessions of living processes, the one that waits longest first."""
    found = []
    for path in _folder(root).glob("*.json"):
        session = _read(path)
        if session is None:
            continue
        if _lives(session.pid):
            found.append(session)
        else:
            # Its process was killed and could not take it away.
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda each: (each.answered_ms is not None, each.began_ms))


def _folder(root: Path) -> Path:
    return root / "run" / "refresh_sessions"


def _write(path: Path, began_ms: int, answered_ms: int | None) -> None:
    told = {"began_ms": began_ms, "answered_ms": answered_ms, "pid": os.getpid()}
    beside = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(told), encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        logger.warning("The refresh session under way cannot be noted: %s", error)


def _read(path: Path) -> SessionUnderWay | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        answered = told["answered_ms"]
        return SessionUnderWay(
            int(told["began_ms"]), None if answered is None else int(answered), int(told["pid"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        # It has just ended, or a full disk cut it short.
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
