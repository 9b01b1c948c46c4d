"""One writer a topic: the lock over its two tables, and asking its holder to yield.

Here: the lock as the committing process holds it, the request to yield, and the lease that
backfill, replay and schema changes take. Not here: who starts jobs.

An Iceberg append never conflicts with another append: the lock, and not the commit, keeps two
writers apart. It is a POSIX record lock on a file, held by the JVM since the JVM commits: it is
gone when that process is gone, and not a moment earlier. A file beside it names its holder, for
people only. A request to yield is a file that its maker keeps locked, so that a killed one asks for
nothing (its process id may be another's by then). The holder that yields says so by a file's time,
second after second: whoever watches it must not take it for one that hangs, and one that is asked
and does hang says nothing.
"""

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from retail_lakehouse.lock_holder import forget_holder, read_holder, write_holder

_POLL_SECONDS = 0.1


class LockHeldError(RuntimeError):
    """Another process writes the topic's tables."""


class NoLeaseError(RuntimeError):
    """Nothing here keeps the topic's streaming job from writing at the same time."""


class TopicLock(Protocol):
    """The lock of one topic as a writer uses it."""

    def acquire(self, timeout_seconds: float) -> None:
        """Takes the lock; raises LockHeldError when another process keeps it that long."""
        ...

    def release(self) -> None:
        """Gives the lock back."""
        ...

    def yield_wanted(self) -> bool:
        """Whether a living process asks the holder to yield between batches."""
        ...

    def note_yield(self) -> None:
        """Lets those who watch know that the holder stands aside at this moment."""
        ...


class SingleRun:
    """The lock on Glue: the job's MaxConcurrentRuns=1 lets no second run start."""

    def acquire(self, timeout_seconds: float) -> None:
        """Nothing to take."""

    def release(self) -> None:
        """Nothing to give back."""

    def yield_wanted(self) -> bool:
        """Nobody asks."""
        return False

    def note_yield(self) -> None:
        """Nobody yields."""


class JvmFileLock:
    """The lock on one machine, held by the job's JVM."""

    def __init__(self, jvm: Any, folder: Path, topic: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._jvm = jvm
        self._folder = folder
        self._topic = topic
        self._file: Any = None

    def acquire(self, timeout_seconds: float) -> None:
        """Takes the lock; raises LockHeldError when another process keeps it that long."""
        deadline = time.monotonic() + timeout_seconds
        path = lock_path(self._folder, self._topic)
        file = self._jvm.java.io.RandomAccessFile(str(path), "rw")
        while file.getChannel().tryLock() is None:
            if time.monotonic() > deadline:
                file.close()
                raise _held(self._folder, self._topic)
            time.sleep(_POLL_SECONDS)
        self._file = file
        write_holder(_holder_path(self._folder, self._topic))

    def release(self) -> None:
        """Gives the lock back."""
        if self._file is not None:
            forget_holder(_holder_path(self._folder, self._topic))
            self._file.close()
            self._file = None

    def yield_wanted(self) -> bool:
        """Whether a living process asks the holder to yield between batches."""
        return bool(_living_requests(self._folder, self._topic))

    def note_yield(self) -> None:
        """Lets those who watch know that the holder stands aside at this moment."""
        # What only others read must not end the job, whatever is wrong with the disk.
        with contextlib.suppress(OSError):
            _yielded_path(self._folder, self._topic).touch()


def leasable(folder: Path | None) -> Path:
    """The folder of the topic locks, for those who would write beside the streaming jobs.

    A file on this machine is no lock to a job on Glue. That the job was seen to stand still proves
    nothing either: a sensor, a deployment or a person may start it a moment later.

    Raises:
        NoLeaseError: there is none, so nobody but the jobs may write.
    """
    if folder is None:
        raise NoLeaseError(
            "On the aws profile only the streaming job itself writes a topic's tables: it runs on "
            "Glue, where no lock of this machine holds it back, and stopping it first would not "
            "keep it from being started meanwhile. Nothing was written. Produce the records to "
            "their topic again instead: the job judges them by today's contract and drops what has "
            "landed within the dedupe horizon; an older copy would land twice. Replays and "
            "--history-days are for the local profile."
        )
    return folder


@contextmanager
def topic_lease(folder: Path | None, topic: str, timeout_seconds: float = 120) -> Iterator[None]:
    """Holds the topic's lock in this process; a running job yields between two batches.

    `folder`: where the locks are (`Settings.topic_locks`).

    Leases wait for one another, also those of one process.

    Raises:
        NoLeaseError: `folder` is None.
        LockHeldError: the writer did not yield in time.
    """
    folder = leasable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_seconds

    def until_locked(attempt: Callable[[], bool]) -> None:
        while not attempt():
            if time.monotonic() > deadline:
                raise _held(folder, topic)
            time.sleep(_POLL_SECONDS)

    with _request(folder, topic), _opened(folder / f"{topic}.lease") as lease:
        # A record lock neither keeps two threads of a process apart nor outlives the closing of
        # any descriptor of its file: one lease at a time touches that file.
        until_locked(lambda: _try_flock(lease))
        with _opened(lock_path(folder, topic)) as descriptor:
            until_locked(lambda: _try_lock(descriptor))
            write_holder(_holder_path(folder, topic))
            try:
                yield
            finally:
                forget_holder(_holder_path(folder, topic))


def lock_path(folder: Path, topic: str) -> Path:
    """The file whose record lock is the topic's lock."""
    return folder / f"{topic}.lock"


def yielded_ms(folder: Path, topic: str) -> int | None:
    """When the topic's job last stood aside for another writer (epoch ms); None if it never did."""
    try:
        return _yielded_path(folder, topic).stat().st_mtime_ns // 1_000_000
    except OSError:
        return None


def _yielded_path(folder: Path, topic: str) -> Path:
    return folder / f"{topic}.yielded"


def _try_lock(descriptor: int) -> bool:
    try:
        # fcntl's record lock is the one that Java's FileChannel takes, so the two exclude.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _request(folder: Path, topic: str) -> Iterator[None]:
    name = f"{topic}.yield.{uuid.uuid4().hex}"
    # Locked before it has its name: whoever finds it unlocked takes it for a dead process's.
    unnamed, request = folder / f".{name}", folder / name
    with _opened(unnamed) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unnamed.rename(request)
        try:
            yield
        finally:
            request.unlink(missing_ok=True)


def _living_requests(folder: Path, topic: str) -> list[Path]:
    living = []
    for request in folder.glob(f"{topic}.yield.*"):
        try:
            descriptor = os.open(request, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if _try_flock(descriptor):
                request.unlink(missing_ok=True)
            else:
                living.append(request)
        finally:
            os.close(descriptor)
    return living


def _holder_path(folder: Path, topic: str) -> Path:
    # Not the lock's own file: whoever closes that gives up a lock that the same process has on it.
    return folder / f"{topic}.holder"


def _held(folder: Path, topic: str) -> LockHeldError:
    return LockHeldError(
        f"Another process writes the tables of {topic}: {read_holder(_holder_path(folder, topic))} "
        f"holds {lock_path(folder, topic)}. Wait for it to end, or stop it with `retail-lakehouse "
        "jobs stop`, then start this again."
    )
