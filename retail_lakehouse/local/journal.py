"""An append-only file of checksummed records that survives `kill -9`.

Here: framing, syncing, and reading up to a torn end. Not here: what the records mean
(`ledger.py`).
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

_FRAME = struct.Struct("<IIB")


class JournalWriter:
    """Appends records to one file; what `append` returned from survives the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self.size = os.fstat(self._descriptor).st_size

    def append(self, kind: int, *parts: bytes) -> None:
        """Appends one record of the given kind (0 to 255); the operating system has it then."""
        payload = b"".join(parts)
        checksum = zlib.crc32(payload, kind)
        record = _FRAME.pack(len(payload), checksum, kind) + payload
        written = os.write(self._descriptor, record)
        if written != len(record):
            raise OSError(
                f"Only {written} of {len(record)} bytes went into {self.path}: the disk is full. "
                "Make room and start again."
            )
        self.size += written

    def sync(self) -> None:
        """Returns when the disk has everything that was appended."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Syncs and closes; a second call does nothing."""
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields (kind, payload) of every whole record, and stops where the end is torn.

    A torn record was being appended when its process or machine died, so nothing that came after
    it can have been promised to anybody.
    """
    with path.open("rb") as file:
        while len(head := file.read(_FRAME.size)) == _FRAME.size:
            length, checksum, kind = _FRAME.unpack(head)
            payload = file.read(length)
            if len(payload) != length or zlib.crc32(payload, kind) != checksum:
                return
            yield kind, payload
