"""One process at a time: an exclusive lock on a file, released when its holder dies.

Belongs here: waiting for and holding such a lock. Doesn't belong here: what it guards.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from retail_lakehouse.lock_holder import forget_holder, read_holder, write_holder

_POLL_SECONDS = 0.1


class LockHeldError(RuntimeError):
    """Another process held the lock for the whole time; `holder` is that process in words."""

    def __init__(self, path: Path, timeout_seconds: float, holder: str) -> None:
        """Say who, for how long, and what to do."""
        self.holder = holder
        super().__init__(
            f"{holder[0].upper()}{holder[1:]} has held {path} for {timeout_seconds:.0f} seconds. "
            "Wait for it or end it, then run the same again."
        )


@contextlib.contextmanager
def exclusive_lock(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock on `path` (made if absent) for the block.

    The kernel frees it when the process ends in any way, so a killed holder blocks nobody. The
    file itself stays: removing it would let two processes lock two different files. It names its
    holder, for people only.

    Raises:
        LockHeldError: It was not free within `timeout_seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_seconds
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockHeldError(path, timeout_seconds, read_holder(path)) from None
                time.sleep(_POLL_SECONDS)
        write_holder(path)
        try:
            yield
        finally:
            forget_holder(path)
