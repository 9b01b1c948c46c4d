"""A file of records whose space is taken in advance, so that a full disk stops no record.

Here: bytes on the disk. Not here: what a record says (`outbox.py`).

Two halves of fixed size. Records are appended to the active one, each with its checksum; when it is
full, what still counts is written to the other, whose header comes last and makes it the active
one. So whatever byte a kill or a power cut leaves as the last, the file holds either all of a
record or none of it, and never less than what was acknowledged. Every byte is written when the file
is made: an overwrite then needs no new block (a file system that copies on write, Btrfs or ZFS,
promises less).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HALF_BYTES = 512 * 1024
LOCK_SECONDS = 5.0

_HEADER = struct.Struct("<8sQI")
_HEADER_MAGIC = b"RLALERT\x01"
_RECORD = struct.Struct("<4sIQI")
# No JSON text has the first byte: a record's content is never taken for a record.
_RECORD_MAGIC = b"\xf1REC"
_LOCK_POLL_SECONDS = 0.02


class RecordFileError(RuntimeError):
    """The file cannot be made, locked or written; a sentence that says why."""


class HalfFullError(RecordFileError):
    """The active half has no room for the record: rewrite what still counts first."""


@contextlib.contextmanager
def open_records(path: Path, half_bytes: int = HALF_BYTES) -> Iterator[RecordFile]:
    """The file, made if it is absent, locked against every other process for the block.

    Raises:
        RecordFileError: it cannot be made, locked or read, or another process holds it for 5
            seconds.
    """
    try:
        if not path.exists():
            _make(path, half_bytes)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise RecordFileError(
            f"The alerts' file {path} cannot be made or opened: {error.strerror}. Alerts cannot "
            f"be kept until it can; it needs {2 * half_bytes // 1024} KiB once."
        ) from error
    try:
        _lock(descriptor, path)
        try:
            records = RecordFile(descriptor, path, half_bytes)
        except OSError as error:
            raise RecordFileError(
                f"The alerts' file {path} cannot be read: {error.strerror}."
            ) from error
        yield records
    finally:
        os.close(descriptor)


class RecordFile:
    """The open file; of use inside `open_records` only."""

    def __init__(self, descriptor: int, path: Path, half_bytes: int) -> None:
        """Read it; `damaged_bytes` counts what lies among the records and is none."""
        self._descriptor = descriptor
        self._path = path
        self._half_bytes = half_bytes
        if os.fstat(descriptor).st_size < 2 * half_bytes:
            self._guarded(lambda: os.posix_fallocate(descriptor, 0, 2 * half_bytes))
        generations = [self._generation(half) for half in (0, 1)]
        self._generation_now = max(generations)
        self._half = generations.index(self._generation_now)
        self.damaged_bytes = 0
        self._tail = _HEADER.size
        if self._generation_now == 0:
            # Neither half begins as one of ours does: there is nothing to be read.
            self.damaged_bytes = 2 * half_bytes
            self._start_half(0, 1, [])
        self.records = self._read()

    @property
    def room(self) -> int:
        """Bytes of the longest record that can be appended now."""
        return max(0, self._half_bytes - self._tail - _RECORD.size)

    def most(self, count: int) -> int:
        """Bytes that `count` records may have together in an empty half."""
        return self._half_bytes - _HEADER.size - count * _RECORD.size

    def append(self, content: bytes) -> None:
        """Add a record; it is on the disk when this returns.

        Raises:
            HalfFullError: there is no room for it.
            RecordFileError: the disk refuses it.
        """
        if len(content) > self.room:
            raise HalfFullError(f"{self._path} has room for {self.room} bytes, not {len(content)}.")
        record = self._framed(content, self._generation_now)
        start = self._half * self._half_bytes + self._tail

        def write() -> None:
            _write_all(self._descriptor, record, start)
            os.fdatasync(self._descriptor)

        self._guarded(write)
        self._tail += len(record)
        self.records.append(content)

    def rewrite(self, contents: Sequence[bytes]) -> None:
        """Go on in the other half, with these records and no others.

        Raises:
            HalfFullError: they do not fit.
            RecordFileError: the disk refuses them; the file is as it was.
        """
        if sum(map(len, contents)) > self.most(len(contents)):
            raise HalfFullError(f"{self._path} has no room for {len(contents)} records.")
        self._start_half(1 - self._half, self._generation_now + 1, contents)
        self.records = list(contents)

    def _start_half(self, half: int, generation: int, contents: Sequence[bytes]) -> None:
        start = half * self._half_bytes
        body = b"".join(self._framed(content, generation) for content in contents)
        told = _HEADER_MAGIC + struct.pack("<Q", generation)
        header = told + struct.pack("<I", zlib.crc32(told))
        # To the very end: what a rewrite that was cut off left there is of this generation as well.
        blank = bytes(self._half_bytes - _HEADER.size - len(body))

        def write() -> None:
            _write_all(self._descriptor, body + blank, start + _HEADER.size)
            os.fdatasync(self._descriptor)
            _write_all(self._descriptor, header, start)
            os.fdatasync(self._descriptor)

        self._guarded(write)
        self._half, self._generation_now = half, generation
        self._tail = _HEADER.size + len(body)

    def _framed(self, content: bytes, generation: int) -> bytes:
        checksum = zlib.crc32(struct.pack("<IQ", len(content), generation) + content)
        return _RECORD.pack(_RECORD_MAGIC, len(content), generation, checksum) + content

    def _generation(self, half: int) -> int:
        raw = os.pread(self._descriptor, _HEADER.size, half * self._half_bytes)
        if len(raw) < _HEADER.size:
            return 0
        magic, generation, checksum = _HEADER.unpack(raw)
        is_whole = magic == _HEADER_MAGIC and zlib.crc32(raw[:-4]) == checksum
        return int(generation) if is_whole else 0

    def _read(self) -> list[bytes]:
        """Every whole record of the active half; damaged ones in between are stepped over."""
        raw = os.pread(self._descriptor, self._half_bytes, self._half * self._half_bytes)
        found: list[bytes] = []
        position = _HEADER.size
        while (start := raw.find(_RECORD_MAGIC, position)) >= 0:
            content = self._content_at(raw, start)
            if content is None:
                position = start + 1
                continue
            self.damaged_bytes += start - self._tail
            found.append(content)
            position = self._tail = start + _RECORD.size + len(content)
        return found

    def _content_at(self, raw: bytes, start: int) -> bytes | None:
        if start + _RECORD.size > len(raw):
            return None
        _, length, generation, checksum = _RECORD.unpack_from(raw, start)
        end = start + _RECORD.size + length
        if generation != self._generation_now or end > len(raw):
            return None
        content = raw[start + _RECORD.size : end]
        told = zlib.crc32(struct.pack("<IQ", length, generation) + content)
        return content if told == checksum else None

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise RecordFileError(
                f"The alerts' file {self._path} cannot be written: {error.strerror}."
            ) from error


def _make(path: Path, half_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of this process alone: two that make it at once end with one whole file.
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, 2 * half_bytes)
        # Written as well: a block that is only reserved may need another to be marked as used.
        _write_all(descriptor, bytes(2 * half_bytes), 0)
        told = _HEADER_MAGIC + struct.pack("<Q", 1)
        _write_all(descriptor, told + struct.pack("<I", zlib.crc32(told)), 0)
        os.fsync(descriptor)
        # `link` refuses to replace: a file that another process made meanwhile stays.
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        os.close(descriptor)
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise RecordFileError(
                    f"Another process has held {path} for {LOCK_SECONDS:.0f} seconds. Try again; "
                    "if it goes on, end that process."
                ) from None
            time.sleep(_LOCK_POLL_SECONDS)
        except OSError as error:
            raise RecordFileError(
                f"{path} cannot be locked: {error.strerror}. Two that write it at once would lose "
                "alerts: put the state folder on a file system that has locks."
            ) from error
        else:
            return


def _write_all(descriptor: int, content: bytes, position: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written
