"""One sorted run of the dedupe index: its file, and searching it.

Here: writing a run, loading a verified one, finding keys in it. Not here: which runs there are
(`key_index.py`).
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retail_lakehouse.dedupe.records import Longs

Rows = npt.NDArray[np.int64]
"""Shape (n, 3): key high, key low, content."""
_CHUNK_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class FileState:
    """Tells whether a file is the one that was read or written before."""

    inode: int
    modified_ns: int
    size: int

    @staticmethod
    def of(path: Path) -> "FileState":
        """The file's state now; raises OSError when it is gone."""
        told = path.stat()
        return FileState(told.st_ino, told.st_mtime_ns, told.st_size)


@dataclass(frozen=True, slots=True)
class Verified:
    """The file's bytes had this checksum when this was its state."""

    state: FileState
    checksum: int


@dataclass(frozen=True, slots=True)
class Run:
    """Rows sorted by key high, mapped from the file `name`."""

    name: str
    rows: Rows
    checksum: int


def write_run(path: Path, rows: Rows) -> tuple[Run, Verified]:
    """Writes sorted rows to a new file, durably, and maps it."""
    with path.open("wb") as file:
        np.save(file, rows)
        file.flush()
        os.fsync(file.fileno())
    verified = Verified(FileState.of(path), checksum_of(rows))
    return Run(path.name, np.load(path, mmap_mode="r"), verified.checksum), verified


def load_run(
    path: Path, row_count: int, checksum: int, verified: Verified | None
) -> tuple[Run, Verified]:
    """Maps a run; reads it for its checksum unless `verified` says that of the very same file.

    Raises:
        ValueError: the file is not what was written.
        OSError: it is not there.
    """
    found = Verified(FileState.of(path), checksum)
    rows: Rows = np.load(path, mmap_mode="r")
    if len(rows) != row_count or (found != verified and checksum_of(rows) != checksum):
        raise ValueError(f"{path.name} is not what was written")
    return Run(path.name, rows, checksum), found


def checksum_of(rows: Rows) -> int:
    """CRC-32 of the rows' bytes, without a copy of them."""
    checksum = 0
    for start in range(0, len(rows), _CHUNK_ROWS):
        checksum = zlib.crc32(rows[start : start + _CHUNK_ROWS].data, checksum)
    return checksum


def by_key(rows: Rows) -> Rows:
    """The rows sorted by key high; rows of equal key high keep their order."""
    return rows[np.argsort(rows[:, 0], kind="stable")]


def search(
    run: Rows,
    key_high: Longs,
    key_low: Longs,
    known: npt.NDArray[np.bool_],
    content: Longs,
) -> None:
    """Marks the keys that `run` has and that were not known; an earlier run's content stands.

    Keys that share their high half stand side by side.
    """
    highs = run[:, 0]
    position = np.searchsorted(highs, key_high)
    pending = np.flatnonzero(~known & (position < len(run)))
    while len(pending):
        at = position[pending]
        pending = pending[highs[at] == key_high[pending]]
        at = position[pending]
        hit = run[at, 1] == key_low[pending]
        known[pending[hit]] = True
        content[pending[hit]] = run[at[hit], 2]
        pending = pending[~hit]
        position[pending] += 1
        pending = pending[position[pending] < len(run)]
