"""Whether an event has landed twice, among the rows that landed last.

Here: the keys of rows as hashes, and a bounded memory of those of former commits. Not here: the
index by which a job drops duplicates (`dedupe/`), with which this shares the rule and no code: it
finds what landed past that index, such as what two writers at once bring.
"""

import os
from collections.abc import Collection
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retail_lakehouse.contracts.events import EVENT_ID_FIELD, EVENT_TIME_FIELD

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (EVENT_ID_FIELD, EVENT_TIME_FIELD, "kafka_timestamp")
"""What `keys_of` needs."""
KEYS_MOST = 300_000
COMMITS_MOST = 300
"""Of one table: at 300 events a second a quarter of an hour, and 2.4 MB."""

_HOUR_MS = 3_600_000

Keys = npt.NDArray[np.uint64]


def keys_of(rows: "pa.Table", horizon_hours: int) -> Keys:
    """64 bits of each row's key (event id, event hour), without the rows past the dedupe horizon.

    Those land without a search for copies, so that a copy among them is no fault.
    """
    ids = rows[EVENT_ID_FIELD].to_pylist()
    times = rows[EVENT_TIME_FIELD].to_pylist()
    brokers = rows["kafka_timestamp"].cast("int64").to_pylist()
    hashes = [
        _hash(event_id, at // _HOUR_MS)
        for event_id, at, broker_us in zip(ids, times, brokers, strict=True)
        if event_id is not None and at is not None and _is_searched(at, broker_us, horizon_hours)
    ]
    return np.array(hashes, dtype=np.uint64)


class KeyMemory:
    """The keys of the last commits of one table, a file each in a folder of its own.

    `looked_at` are the commits about to be looked at: one that is looked at again must not find
    itself. Commits are to be given oldest first, so that the later copy's is the one to blame.
    """

    def __init__(self, folder: Path, looked_at: Collection[int]) -> None:
        self._folder = folder
        names = {str(snapshot_id) for snapshot_id in looked_at}
        parts = [_keys_in(path) for path in self._files() if path.stem not in names]
        self._known = np.sort(np.concatenate([np.array([], dtype=np.uint64), *parts]))

    def repeats(self, snapshot_id: int, keys: Keys) -> int:
        """How many of a commit's keys are of an event that has landed already; remembers them."""
        distinct = np.unique(keys)
        places = np.searchsorted(self._known, distinct)
        is_known = np.zeros(len(distinct), dtype=np.bool_)
        inside = places < len(self._known)
        is_known[inside] = self._known[places[inside]] == distinct[inside]
        new = distinct[~is_known]
        self._known = np.insert(self._known, np.searchsorted(self._known, new), new)
        self._write(snapshot_id, distinct)
        return len(keys) - len(distinct) + int(np.count_nonzero(is_known))

    def trim(self) -> None:
        """Forgets the oldest commits beyond what is kept."""
        left = KEYS_MOST
        for number, path in enumerate(reversed(self._files()), start=1):
            left -= path.stat().st_size // 8
            if left < 0 or number > COMMITS_MOST:
                path.unlink(missing_ok=True)

    def _write(self, snapshot_id: int, keys: Keys) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        beside = self._folder / f"{snapshot_id}.new"
        with beside.open("wb") as file:
            np.save(file, keys)
        os.replace(beside, self._folder / f"{snapshot_id}.npy")

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.npy"), key=lambda path: path.stat().st_mtime_ns)


def forget(folder: Path) -> None:
    """Removes a memory: what it knows is of commits that are no part of the table any more."""
    for path in folder.glob("*.npy"):
        path.unlink(missing_ok=True)


def _keys_in(path: Path) -> Keys:
    try:
        return np.asarray(np.load(path), dtype=np.uint64)
    except (FileNotFoundError, EOFError, ValueError):
        # A power cut left it half: a memory that is short of one commit finds a little less.
        return np.array([], dtype=np.uint64)


def _hash(event_id: str, hour: int) -> int:
    digest = md5(f"{hour}|{event_id}".encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return int.from_bytes(digest.digest()[:8], "big")


def _is_searched(event_ms: int, broker_us: int | None, horizon_hours: int) -> bool:
    if broker_us is None:
        return True
    return event_ms // _HOUR_MS * _HOUR_MS >= broker_us // 1000 - horizon_hours * _HOUR_MS
