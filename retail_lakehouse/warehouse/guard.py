"""One refresh of a view at a time.

Here: the lock that two refreshes of one view contend for. Not here: the refresh.

Redshift itself would let a second refresh wait and then bill for it; Dagster's concurrency pools
do not reach a button pressed in another process. The file lock is released by the kernel when its
holder dies.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retail_lakehouse.warehouse.errors import ViewBusy

_held: set[str] = set()
_held_lock = threading.Lock()


@contextmanager
def view_guard(view: str, lock_dir: Path | None) -> Iterator[None]:
    """Holds the view for the block.

    Raises:
        ViewBusy: another thread or, with a `lock_dir`, another process holds it.
    """
    with _held_lock:
        if view in _held:
            raise _busy(view)
        _held.add(view)
    try:
        if lock_dir is None:
            yield
        else:
            with _file_lock(view, lock_dir):
                yield
    finally:
        with _held_lock:
            _held.discard(view)


@contextmanager
def _file_lock(view: str, lock_dir: Path) -> Iterator[None]:
    lock_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock_dir / f"view-{view}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(view) from None
        yield
    finally:
        os.close(descriptor)


def _busy(view: str) -> ViewBusy:
    return ViewBusy(
        f"The view {view} is being refreshed or re-created already; this attempt did nothing. "
        "Wait for the one under way: it brings the same rows."
    )
