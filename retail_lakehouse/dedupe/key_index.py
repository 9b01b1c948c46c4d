"""The index of what has landed: event id to content, by event hour, on local disk.

Here: sorted runs on disk, a small table in memory, a log that survives a kill. Not here: the rule
(`decide.py`), or how the index is caught up from a table (the engines).

It is a cache. It is stamped with the table and the snapshot it stands for; whoever opens it
compares the stamp with the table and catches up or rebuilds. A lookup is a binary search in a few
memory-mapped runs, so a batch costs what it holds and not what has landed. Where one key has landed
twice (past the horizon), the first that was added stands.

On disk: `manifest.json` (stamp and runs, replaced atomically), `log-<n>` (what was added since, one
checksummed block a commit), `run-<n>.npy` (int64, 3 columns: key high, key low, content; sorted by
key high).
"""

import io
import json
import logging
import os
import shutil
import struct
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retail_lakehouse.dedupe.records import Longs

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
MEMORY_KEYS = 400_000
"""Keys that are held in memory before they become runs."""
RUNS_PER_HOUR = 6
"""Runs of one hour before they are merged into one: bounds the searches a key costs."""

_BLOCK = struct.Struct("<II")
_HEAD = struct.Struct("<I")
_Rows = npt.NDArray[np.int64]
# What reading a file of arbitrary bytes as JSON, as numpy's format or as a log can raise.
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, struct.error)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the index stands for: every row of the table up to this snapshot.

    `content_form` says what the content hashes are over (`canonical.content_form`): an index made
    under other fields would call every later copy a conflict.
    """

    table_uuid: str
    snapshot_id: int | None
    topic_id: str
    until: dict[int, int]
    content_form: str

    @staticmethod
    def from_json(raw: dict[str, object]) -> "Stamp":
        """A stamp as `asdict` wrote it."""
        until = raw["until"]
        if not isinstance(until, dict):
            raise ValueError("a stamp without offsets")
        return Stamp(
            table_uuid=str(raw["table_uuid"]),
            snapshot_id=None if raw["snapshot_id"] is None else int(str(raw["snapshot_id"])),
            topic_id=str(raw["topic_id"]),
            until={int(p): int(o) for p, o in until.items()},
            content_form=str(raw["content_form"]),
        )


class IndexNotCompleteError(RuntimeError):
    """Rows are added to an index that does not say what it stands for."""


@dataclass(frozen=True, slots=True)
class _Run:
    name: str
    rows: _Rows
    checksum: int


class KeyIndex:
    """Event ids and contents of landed rows, by event hour (hours since the epoch).

    One process at a time: the topic's lock keeps others out. Not safe for threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[int, list[_Run]] = {}
        self._memory: dict[int, _Rows] = {}
        self._next_run = 0
        self._stamp: Stamp | None = None
        self._oldest_hour = 0
        self._log: io.BufferedWriter | None = None

    @property
    def stamp(self) -> Stamp | None:
        """What the index stands for; None when it must be rebuilt."""
        return self._stamp

    @property
    def oldest_hour(self) -> int:
        """First event hour that the index is complete for."""
        return self._oldest_hour

    def open(self) -> None:
        """Reads what is on disk. Whatever is damaged leaves an empty index without a stamp."""
        self.close()
        try:
            self._load()
        except _DAMAGE as error:
            if (self._folder / "manifest.json").exists():
                logger.warning(
                    "The dedupe index in %s is damaged (%s): rebuilding.", self._folder, error
                )
            self.clear()

    def clear(self) -> None:
        """Empties the index, on disk as well."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._runs, self._memory = {}, {}
        self._stamp, self._oldest_hour = None, 0

    def close(self) -> None:
        """Closes the log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def find(
        self, hour: int, key_high: Longs, key_low: Longs
    ) -> tuple[npt.NDArray[np.bool_], Longs]:
        """For each key of the event hour: whether it has landed, and its content hash."""
        known = np.zeros(len(key_high), dtype=np.bool_)
        content = np.zeros(len(key_high), dtype=np.int64)
        for run in self._runs.get(hour, ()):
            _search(run.rows, key_high, key_low, known, content)
        if hour in self._memory:
            _search(self._memory[hour], key_high, key_low, known, content)
        return known, content

    def add(self, hours: Longs, rows: _Rows, stamp: Stamp, oldest_hour: int) -> None:
        """Adds rows that a commit has landed, and moves the stamp.

        Args:
            hours: event hour of each row.
            rows: int64 of shape (n, 3): key high, key low, content.
            stamp: what the index stands for with these rows.
            oldest_hour: hours before it are past every record's horizon and are forgotten.

        Raises:
            IndexNotCompleteError: `seal` has not been called since the index was opened empty.
        """
        if self._stamp is None:
            raise IndexNotCompleteError(
                f"The dedupe index in {self._folder} has not been brought to its table: call "
                "`seal` once all rows of the table are in it, then add what lands."
            )
        recent = hours >= oldest_hour
        hours, rows = hours[recent], np.ascontiguousarray(rows[recent])
        self._remember(hours, rows)
        self._write_log(hours, rows, stamp, oldest_hour)
        self._stamp = stamp
        self._forget(oldest_hour)
        if self._in_memory() > MEMORY_KEYS:
            self.fold()

    def add_bulk(self, hours: Longs, rows: _Rows, oldest_hour: int) -> None:
        """Adds many rows as runs of their own; they count once `seal` has been called."""
        for hour in np.unique(hours[hours >= oldest_hour]).tolist():
            of_hour = rows[hours == hour]
            self._add_run(hour, self._write_run(_by_key(of_hour)))

    def seal(self, stamp: Stamp, oldest_hour: int) -> None:
        """Declares the index complete for `stamp`, on disk as well."""
        self._stamp = stamp
        self._forget(oldest_hour)
        self.fold()

    def _forget(self, oldest_hour: int) -> None:
        self._oldest_hour = max(self._oldest_hour, oldest_hour)
        for hour in [h for h in self._memory.keys() | self._runs.keys() if h < oldest_hour]:
            self._memory.pop(hour, None)
            self._runs.pop(hour, None)

    def _add_run(self, hour: int, run: _Run) -> None:
        runs = self._runs.setdefault(hour, [])
        runs.append(run)
        if len(runs) > RUNS_PER_HOUR:
            merged = np.concatenate([run.rows for run in runs])
            self._runs[hour] = [self._write_run(_by_key(merged))]

    def fold(self) -> None:
        """Turns what is in memory into sorted runs and starts a new log."""
        assert self._stamp is not None  # noqa: S101
        for hour, rows in self._memory.items():
            self._add_run(hour, self._write_run(rows))
        self._memory = {}
        self._write_manifest()

    def __len__(self) -> int:
        on_disk = sum(len(run.rows) for runs in self._runs.values() for run in runs)
        return on_disk + self._in_memory()

    def _in_memory(self) -> int:
        return sum(len(rows) for rows in self._memory.values())

    def _remember(self, hours: Longs, rows: _Rows) -> None:
        for hour in np.unique(hours).tolist():
            of_hour = rows[hours == hour]
            before = self._memory.get(hour)
            # Sorting two sorted runs is a merge, and a stable one keeps the order of arrival.
            together = of_hour if before is None else np.concatenate([before, _by_key(of_hour)])
            self._memory[hour] = _by_key(together)

    def _write_run(self, rows: _Rows) -> _Run:
        name = f"run-{self._next_run}.npy"
        self._next_run += 1
        path = self._folder / name
        with path.open("wb") as file:
            np.save(file, rows)
            file.flush()
            os.fsync(file.fileno())
        return _Run(name, np.load(path, mmap_mode="r"), zlib.crc32(rows.tobytes()))

    def _write_manifest(self) -> None:
        assert self._stamp is not None  # noqa: S101
        self.close()
        log_name = f"log-{self._next_run}"
        self._next_run += 1
        document = {
            "version": FORMAT_VERSION,
            "stamp": asdict(self._stamp),
            "oldest_hour": self._oldest_hour,
            "next_run": self._next_run,
            "log": log_name,
            "runs": {
                str(hour): [
                    {"name": run.name, "rows": len(run.rows), "crc": run.checksum} for run in runs
                ]
                for hour, runs in self._runs.items()
            },
        }
        (self._folder / log_name).touch()
        temporary = self._folder / "manifest.tmp"
        with temporary.open("w") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / "manifest.json")
        kept = {run.name for runs in self._runs.values() for run in runs} | {
            log_name,
            "manifest.json",
        }
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink()
        self._log = (self._folder / log_name).open("ab")

    def _write_log(self, hours: Longs, rows: _Rows, stamp: Stamp, oldest_hour: int) -> None:
        assert self._log is not None  # noqa: S101
        head = json.dumps({"stamp": asdict(stamp), "oldest_hour": oldest_hour}).encode()
        payload = _HEAD.pack(len(head)) + head + hours.tobytes() + rows.tobytes()
        # No fsync: a torn block is noticed by its checksum and costs a catch-up from the table.
        self._log.write(_BLOCK.pack(len(payload), zlib.crc32(payload)) + payload)
        self._log.flush()

    def _load(self) -> None:
        document = json.loads((self._folder / "manifest.json").read_text())
        if document["version"] != FORMAT_VERSION:
            raise ValueError(f"format {document['version']}, not {FORMAT_VERSION}")
        self._runs = {}
        for hour, runs in document["runs"].items():
            self._runs[int(hour)] = [self._load_run(run) for run in runs]
        self._memory = {}
        self._next_run = document["next_run"]
        self._stamp = Stamp.from_json(document["stamp"])
        self._oldest_hour = document["oldest_hour"]
        log = self._folder / document["log"]
        size = 0
        for block, end in _blocks(log.read_bytes()):
            (head_size,) = _HEAD.unpack_from(block)
            head = json.loads(block[_HEAD.size : _HEAD.size + head_size])
            numbers = np.frombuffer(block[_HEAD.size + head_size :], dtype=np.int64)
            count = len(numbers) // 4
            self._remember(numbers[:count], numbers[count:].reshape(count, 3))
            self._forget(int(head["oldest_hour"]))
            self._stamp = Stamp.from_json(head["stamp"])
            size = end
        os.truncate(log, size)
        self._log = log.open("ab")

    def _load_run(self, run: dict[str, object]) -> _Run:
        name = str(run["name"])
        rows: _Rows = np.load(self._folder / name, mmap_mode="r")
        if len(rows) != run["rows"] or zlib.crc32(rows.tobytes()) != run["crc"]:
            raise ValueError(f"{name} is not what was written")
        return _Run(name, rows, int(str(run["crc"])))


def _blocks(data: bytes) -> Iterable[tuple[bytes, int]]:
    """Whole blocks of a log with the position each ends at; stops at the first torn one."""
    position = 0
    while position + _BLOCK.size <= len(data):
        size, checksum = _BLOCK.unpack_from(data, position)
        start = position + _BLOCK.size
        payload = data[start : start + size]
        # A file that was cut by a power failure may end in zeros, whose checksum is zero.
        if size < _HEAD.size or len(payload) != size or zlib.crc32(payload) != checksum:
            return
        position = start + size
        yield payload, position


def _by_key(rows: _Rows) -> _Rows:
    return rows[np.argsort(rows[:, 0], kind="stable")]


def _search(
    run: _Rows,
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
