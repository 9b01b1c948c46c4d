"""The index of what has landed: event id to content, by event hour, on local disk.

Here: sorted runs on disk, a small table in memory, a log that survives a kill. Not here: the rule
(`decide.py`), how a run is kept in its file (`run_file.py`), or how the index is caught up from a
table (the engines).

It is a cache. It is stamped with the table and the snapshot it stands for; whoever opens it
compares the stamp with the table and catches up or rebuilds. A lookup is a binary search in a few
memory-mapped runs, so a batch costs what it holds and not what has landed. Where one key has landed
twice (past the horizon), the first that was added stands. Of an hour's runs each has at least twice
the keys of the next one: a key is searched in few, and is written again a few times only.

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
from retail_lakehouse.dedupe.run_file import (
    FileState,
    Rows,
    Run,
    Verified,
    by_key,
    load_run,
    search,
    write_run,
)

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
MEMORY_KEYS = 400_000
"""Keys that are held in memory before they become runs."""
BULK_KEYS = 2_000_000
"""Keys that are collected of a bulk before they become runs: 24 bytes each."""

_BLOCK = struct.Struct("<II")
_HEAD = struct.Struct("<I")
# What reading a file of arbitrary bytes as JSON, as numpy's format or as a log can raise.
_DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    BufferError,
    struct.error,
)


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


class KeyIndex:
    """Event ids and contents of landed rows, by event hour (hours since the epoch).

    One process at a time: the topic's lock keeps others out. Not safe for threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[int, list[Run]] = {}
        self._memory: dict[int, Rows] = {}
        self._bulk: dict[int, list[Rows]] = {}
        self._next_run = 0
        self._stamp: Stamp | None = None
        self._oldest_hour = 0
        self._log: io.BufferedWriter | None = None
        self._log_path: Path | None = None
        self._named: set[str] = set()
        """Runs of the manifest on disk: what a restart needs."""
        self._verified: dict[str, Verified] = {}
        self._in_step: tuple[FileState, FileState] | None = None
        """Manifest and log that say the same as the memory; None while they do not."""

    @property
    def stamp(self) -> Stamp | None:
        """What the index stands for; None when it must be rebuilt."""
        return self._stamp

    @property
    def oldest_hour(self) -> int:
        """First event hour that the index is complete for."""
        return self._oldest_hour

    def open(self) -> None:
        """Reads what is on disk. Whatever is damaged leaves an empty index without a stamp.

        Costs nothing where the files are as this index has left them.
        """
        self.close()
        in_step = self._in_step is not None and self._in_step == self._files()
        if self._log_path is not None and in_step:
            self._log = self._log_path.open("ab")
            return
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
        self._forget_everything()

    def _forget_everything(self) -> None:
        self._runs, self._memory, self._bulk = {}, {}, {}
        self._named, self._verified = set(), {}
        self._stamp, self._oldest_hour = None, 0
        self._log_path, self._in_step = None, None

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
            search(run.rows, key_high, key_low, known, content)
        if hour in self._memory:
            search(self._memory[hour], key_high, key_low, known, content)
        return known, content

    def add(self, hours: Longs, rows: Rows, stamp: Stamp, oldest_hour: int) -> None:
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
        self._in_step = None
        self._remember(hours, rows)
        self._write_log(hours, rows, stamp, oldest_hour)
        self._stamp = stamp
        self._forget(oldest_hour)
        if self._in_memory() > MEMORY_KEYS:
            self.fold()
        else:
            self._in_step = self._files()

    def add_bulk(self, hours: Longs, rows: Rows, oldest_hour: int) -> None:
        """Collects many rows, as runs where they are too many; they count once `seal` is called."""
        self._in_step = None
        for hour in np.unique(hours[hours >= oldest_hour]).tolist():
            self._bulk.setdefault(hour, []).append(rows[hours == hour])
        if sum(len(rows) for parts in self._bulk.values() for rows in parts) >= BULK_KEYS:
            self._write_runs()

    def seal(self, stamp: Stamp, oldest_hour: int) -> None:
        """Declares the index complete for `stamp`, on disk as well."""
        self._in_step = None
        self._stamp = stamp
        self._forget(oldest_hour)
        self.fold()

    def _forget(self, oldest_hour: int) -> None:
        self._oldest_hour = max(self._oldest_hour, oldest_hour)
        for by_hour in (self._memory, self._bulk, self._runs):
            for hour in [hour for hour in by_hour if hour < oldest_hour]:
                del by_hour[hour]

    def fold(self) -> None:
        """Turns what is in memory into sorted runs and starts a new log."""
        assert self._stamp is not None  # noqa: S101
        self._in_step = None
        self._write_runs()
        self._write_manifest()
        self._in_step = self._files()

    def _write_runs(self) -> None:
        for hour in self._memory.keys() | self._bulk.keys():
            parts = [*self._bulk.get(hour, ())]
            if hour in self._memory:
                # It was there before the bulk, and the first that was added stands.
                parts.insert(0, self._memory[hour])
            self._add_run(hour, parts)
        self._memory, self._bulk = {}, {}

    def _add_run(self, hour: int, parts: list[Rows]) -> None:
        runs = self._runs.setdefault(hour, [])
        size, kept = sum(len(rows) for rows in parts), len(runs)
        # A run is written again only with one of at least half its size: n keys cost n log n.
        while kept and len(runs[kept - 1].rows) < 2 * size:
            kept -= 1
            size += len(runs[kept].rows)
        merged = runs[kept:]
        rows = np.concatenate([*(run.rows for run in merged), *parts])
        self._runs[hour] = [*runs[:kept], self._write_run(by_key(rows))]
        for run in merged:
            if run.name not in self._named:
                (self._folder / run.name).unlink()
                del self._verified[run.name]

    def __len__(self) -> int:
        on_disk = sum(len(run.rows) for runs in self._runs.values() for run in runs)
        return on_disk + self._in_memory()

    def _in_memory(self) -> int:
        return sum(len(rows) for rows in self._memory.values())

    def _remember(self, hours: Longs, rows: Rows) -> None:
        for hour in np.unique(hours).tolist():
            of_hour = rows[hours == hour]
            before = self._memory.get(hour)
            # Sorting two sorted runs is a merge, and a stable one keeps the order of arrival.
            together = of_hour if before is None else np.concatenate([before, by_key(of_hour)])
            self._memory[hour] = by_key(together)

    def _write_run(self, rows: Rows) -> Run:
        name = f"run-{self._next_run}.npy"
        self._next_run += 1
        run, self._verified[name] = write_run(self._folder / name, rows)
        return run

    def _files(self) -> tuple[FileState, FileState] | None:
        assert self._log_path is not None  # noqa: S101
        try:
            return FileState.of(self._folder / "manifest.json"), FileState.of(self._log_path)
        except OSError:
            return None

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
        self._named = {run.name for runs in self._runs.values() for run in runs}
        self._verified = {name: self._verified[name] for name in self._named}
        kept = self._named | {log_name, "manifest.json"}
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink()
        self._log_path = self._folder / log_name
        self._log = self._log_path.open("ab")

    def _write_log(self, hours: Longs, rows: Rows, stamp: Stamp, oldest_hour: int) -> None:
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
        verified = self._verified
        self._forget_everything()
        for hour, runs in document["runs"].items():
            self._runs[int(hour)] = loaded = []
            for run in runs:
                name, crc = str(run["name"]), int(run["crc"])
                found, self._verified[name] = load_run(
                    self._folder / name, int(run["rows"]), crc, verified.get(name)
                )
                loaded.append(found)
        self._named = set(self._verified)
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
        self._log_path = log
        self._log = log.open("ab")
        self._in_step = self._files()


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
