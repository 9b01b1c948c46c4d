"""The ledger: what the simulator has put into Kafka and into the tables, proof against `kill -9`.

Here: the ledger's files and their life cycle. Not here: counting (`ledger_totals.py`), the
records' form (`ledger_state.py`), reading Kafka for what is open (`simulator/resolution.py`).

A batch is written and synced as an intent (19 bytes a record) before its first record is produced,
and settled when every delivery report is in. Batches settle in the order of their intents, so the
offsets seen so far are a floor for all that is open. After a kill, an intent without settlement is
open: its records carry (ledger id, batch, index) in a header and are looked up in the topic.
Settled intents are worth nothing, so a journal that has grown is replaced by a checkpoint.
"""

import os
import secrets
import struct
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retail_lakehouse.local.file_lock import LockHeldError, exclusive_lock
from retail_lakehouse.local.journal import JournalWriter
from retail_lakehouse.local.ledger_state import (
    BATCH_HEAD,
    BackfillDay,
    LedgerError,
    LedgerState,
    LedgerTopic,
    OpenBatch,
    Record,
    book_backfill,
    checkpoint_records,
    dump,
    load_state,
    open_json,
)
from retail_lakehouse.local.ledger_totals import (
    COORDINATE,
    Integers,
    RecordKind,
    Rows,
    TopicTotals,
    fold,
)

MARKER_HEADER = "n"
_MARKER = struct.Struct(">4sII")
_ROTATE_BYTES = 64 * 1024 * 1024


class LedgerBusyError(LedgerError):
    """Another process is writing the ledger."""


@dataclass(frozen=True, slots=True)
class Landing:
    """A record with a marker of this ledger, found in a topic."""

    partition: int
    offset: int
    batch: int
    index: int


def marker(ledger_id: str, batch: int, index: int) -> bytes:
    """The header value that ties a Kafka record to its row in an intent."""
    return _MARKER.pack(bytes.fromhex(ledger_id), batch, index)


def read_marker(ledger_id: str, value: bytes | None) -> tuple[int, int] | None:
    """(batch, index) of a marker that this ledger wrote; None for any other value."""
    if value is None or len(value) != _MARKER.size:
        return None
    owner, batch, index = _MARKER.unpack(value)
    return (batch, index) if owner.hex() == ledger_id else None


class Ledger:
    """The ledger of one state folder, held by one process at a time."""

    def __init__(self, folder: Path, lock_timeout_seconds: float = 5.0) -> None:
        """Opens the ledger in `folder`, or prepares an empty one.

        Raises:
            LedgerBusyError: another process holds it.
            LedgerError: a newer program wrote it, or it is damaged.
        """
        self.folder = folder
        self._held = ExitStack()
        self._writer: JournalWriter | None = None
        self._rotate_bytes = _ROTATE_BYTES
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._held.enter_context(exclusive_lock(folder / "ledger.lock", lock_timeout_seconds))
        except LockHeldError as error:
            raise LedgerBusyError(
                f"The ledger in {folder} is in use by {error.holder}. Stop the simulator, or wait "
                "for what else uses it, then run the same again."
            ) from None
        try:
            journals = self._journals()
            self._state = load_state(journals[-1]) if journals else None
            if self._state is not None:
                self._checkpoint()
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Syncs everything and lets go of the ledger; a second call does nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._held.close()

    @property
    def is_begun(self) -> bool:
        """False for a folder that no simulator and no backfill has used yet."""
        return self._state is not None

    def begin(self, cluster_id: str, topics: Sequence[LedgerTopic]) -> None:
        """Begins the ledger, or checks that it belongs to these topics and takes up new ones.

        Rows number the topics in this order, so new topics come after those already known.

        Raises:
            LedgerError: the ledger belongs to another cluster, to topics since made anew or to
                topics in another order.
        """
        if self._state is None:
            self._state = LedgerState(
                ledger_id=secrets.token_hex(4),
                cluster_id=cluster_id,
                topics=list(topics),
                totals=[TopicTotals(until=dict(topic.begin)) for topic in topics],
            )
            self._checkpoint()
            return
        known = [(topic.name, topic.topic_id) for topic in self.state.topics]
        told = [(topic.name, topic.topic_id) for topic in topics]
        if self.state.cluster_id == cluster_id and told[: len(known)] == known:
            self._take_up(topics[len(known) :])
            return
        if self.state.cluster_id == cluster_id and set(known) <= set(told):
            raise LedgerError(
                f"The ledger in {self.folder} numbers the topics {', '.join(n for n, _ in known)} "
                "in this order, and a new topic stands among them. Put its contract at the end of "
                "EVENTS, or run `retail-lakehouse reset` to start from nothing."
            )
        raise LedgerError(
            f"The ledger in {self.folder} accounts for other topics than those Kafka has now "
            f"(cluster {self.state.cluster_id}, topic ids "
            f"{', '.join(topic_id for _, topic_id in known)}). They were made anew: move the "
            "ledger's folder aside, or run `retail-lakehouse reset` to start from nothing."
        )

    def _take_up(self, topics: Sequence[LedgerTopic]) -> None:
        if not topics:
            return
        self.state.topics.extend(topics)
        self.state.totals.extend(TopicTotals(until=dict(topic.begin)) for topic in topics)
        for batch in self.state.open.values():
            if batch.floors:
                batch.floors.extend(dict(topic.begin) for topic in topics)
        self._checkpoint()

    @property
    def state(self) -> LedgerState:
        """The state; raises LedgerError when the ledger has not begun."""
        if self._state is None:
            raise LedgerError(
                f"There is no ledger in {self.folder}: no simulator has run with this state "
                "folder. Start one with `retail-lakehouse simulate`."
            )
        return self._state

    @property
    def ledger_id(self) -> str:
        """Eight hex digits, drawn when the ledger began; part of every event id."""
        return self.state.ledger_id

    @property
    def topics(self) -> list[LedgerTopic]:
        """The topics, in the order that rows number them."""
        return self.state.topics

    def totals(self, topic: str) -> TopicTotals:
        """The totals of one topic by name."""
        names = [each.name for each in self.state.topics]
        return self.state.totals[names.index(topic)]

    def coordinates(self, topic: str) -> NDArray[np.void]:
        """Where the topic's records for quarantine lie (dtype `COORDINATE`), in no order."""
        names = [each.name for each in self.state.topics]
        parts = [np.load(self.folder / name) for name in self.state.sealed] + self.state.fresh
        every: NDArray[np.void] = np.concatenate([np.zeros(0, dtype=COORDINATE), *parts])
        chosen: NDArray[np.void] = every[every["topic"] == names.index(topic)]
        return chosen

    def unresolved(self, topic: str) -> int:
        """Records of the topic whose delivery is unknown."""
        number = [each.name for each in self.state.topics].index(topic)
        return sum(
            int((batch.is_open & (batch.rows["topic"] == number)).sum())
            for batch in self.state.open.values()
        )

    def next_batch(self) -> int:
        """The number of a new batch; never given twice, whatever happens to the process."""
        return self.state.next_batch

    def intend(self, batch: int, rows: Rows) -> None:
        """Writes down a batch (dtype `ROW`) and returns when the disk has it."""
        if self._writer is None or self._writer.size > self._rotate_bytes:
            self._checkpoint()
        assert self._writer is not None  # noqa: S101
        self._writer.append(Record.INTENT, BATCH_HEAD.pack(batch, len(rows), 0), rows.tobytes())
        self._writer.sync()
        self.state.next_batch = batch + 1
        self.state.open[batch] = OpenBatch(batch, rows, np.ones(len(rows), dtype=np.bool_), [])

    def settle(self, batch: int, partitions: Integers, offsets: Integers) -> None:
        """Books a batch's delivery reports; an offset below 0 leaves its record open.

        Batches are settled in the order of their intents.
        """
        opened = self.state.open.pop(batch)
        failed = offsets < 0
        if failed.any():
            # The original's fate decides what such a duplicate is: they are resolved together.
            follows = opened.rows["kind"] == RecordKind.DUPLICATE_SAME_BATCH
            failed[1:] |= follows[1:] & failed[:-1]
            opened.floors = [dict(total.until) for total in self.state.totals]
            opened.is_open = failed
            self.state.open[batch] = opened
        coordinates = fold(self.state.totals, opened.rows, partitions, offsets, ~failed)
        self._append_settled(batch, coordinates, opened if failed.any() else None)

    def open_batches(self) -> list[OpenBatch]:
        """What is open, each with the floors to look from; only when nothing is in flight."""
        batches = list(self.state.open.values())
        for batch in batches:
            if not batch.floors:
                batch.floors = [dict(total.until) for total in self.state.totals]
        return batches

    def resolve(self, landings: Iterable[Landing]) -> int:
        """Closes everything open: what is among `landings` was delivered, the rest was not.

        Returns:
            How many records turned out to be delivered.
        """
        found: dict[int, list[Landing]] = {}
        for landing in landings:
            found.setdefault(landing.batch, []).append(landing)
        delivered = 0
        for batch, opened in list(self.state.open.items()):
            partitions = np.full(len(opened.rows), -1, dtype=np.int64)
            offsets = np.full(len(opened.rows), -1, dtype=np.int64)
            for landing in found.get(batch, []):
                if opened.is_open[landing.index]:
                    partitions[landing.index] = landing.partition
                    offsets[landing.index] = landing.offset
            delivered += int((offsets >= 0).sum())
            missing = opened.is_open & (offsets < 0)
            for topic in opened.rows["topic"][missing].tolist():
                self.state.totals[topic].undelivered += 1
            coordinates = fold(self.state.totals, opened.rows, partitions, offsets, opened.is_open)
            del self.state.open[batch]
            self._append_settled(batch, coordinates, None)
        return delivered

    def backfilled(self, topic: str) -> list[BackfillDay]:
        """The days written straight into the topic's table."""
        return [day for day in self.state.backfill if day.topic == topic]

    def open_backfills(self) -> list[BackfillDay]:
        """Days that were about to be written when the process died."""
        return list(self.state.backfill_intents)

    def intend_backfill(self, day: BackfillDay, next_batch: int) -> None:
        """Writes down a day before its commit; `next_batch` is past the batches that it used."""
        assert self._writer is not None  # noqa: S101
        document = {"day": day.to_json(), "next_batch": next_batch}
        self._writer.append(Record.BACKFILL_INTENT, dump(document))
        self._writer.sync()
        self.state.next_batch = next_batch
        self.state.backfill_intents.append(day)

    def settle_backfill(self, day: BackfillDay, committed: bool) -> None:
        """Books whether the day's commit is in the table."""
        assert self._writer is not None  # noqa: S101
        document = {"day": day.to_json(), "committed": committed}
        self._writer.append(Record.BACKFILL_DONE, dump(document))
        self._writer.sync()
        book_backfill(self.state, day, committed)

    def _append_settled(
        self, batch: int, coordinates: NDArray[np.void], still_open: OpenBatch | None
    ) -> None:
        assert self._writer is not None  # noqa: S101
        document: dict[str, Any] = {"totals": [total.to_json() for total in self.state.totals]}
        if still_open is not None:
            document["open"] = open_json(still_open)
        text = dump(document)
        self.state.fresh.append(coordinates)
        self._writer.append(
            Record.SETTLED,
            BATCH_HEAD.pack(batch, len(coordinates), len(text)),
            text,
            coordinates.tobytes(),
        )

    def _journals(self) -> list[Path]:
        return sorted(self.folder.glob("journal-*.bin"))

    def _checkpoint(self) -> None:
        """Replaces the journal by a new one that begins with the state; atomic by its rename."""
        state = self.state
        old = self._journals()
        number = int(old[-1].stem.removeprefix("journal-")) + 1 if old else 1
        fresh = [part for part in state.fresh if len(part)]
        if fresh:
            name = f"coordinates-{number:08d}.npy"
            with (self.folder / name).open("wb") as file:
                np.save(file, np.concatenate(fresh))
                file.flush()
                os.fsync(file.fileno())
            state.sealed.append(name)
        state.fresh = []
        temporary = self.folder / "journal.tmp"
        temporary.unlink(missing_ok=True)
        with JournalWriter(temporary) as writer:
            for kind, payload in checkpoint_records(state):
                writer.append(kind, payload)
        path = self.folder / f"journal-{number:08d}.bin"
        temporary.rename(path)
        if self._writer is not None:
            self._writer.close()
        self._writer = JournalWriter(path)
        for journal in old:
            journal.unlink()
