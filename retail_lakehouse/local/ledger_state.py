"""The ledger's state and how its journal spells it.

Here: what a journal's records mean, reading them into a state, a state as a checkpoint. Not here:
when they are written (`ledger.py`), counting (`ledger_totals.py`), framing (`journal.py`).
"""

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retail_lakehouse.local.journal import read_journal
from retail_lakehouse.local.ledger_totals import COORDINATE, ROW, Rows, TopicTotals

BATCH_HEAD = struct.Struct("<QII")
"""Batch number, count of rows or coordinates, length of the JSON text before them."""
_VERSION = 2
"""1 had no `RecordKind.DUPLICATE_PAST_HORIZON`, which its programs would not count; the form is the
same, so those ledgers are read as they are."""


class LedgerError(RuntimeError):
    """The ledger cannot be used."""


class Record(IntEnum):
    """The kinds of records in a journal."""

    CHECKPOINT = 1
    INTENT = 2
    SETTLED = 3
    OPEN = 4
    BACKFILL_INTENT = 5
    BACKFILL_DONE = 6


@dataclass(frozen=True, slots=True)
class LedgerTopic:
    """A topic that the ledger accounts for. `begin` is where it started, by partition."""

    name: str
    topic_id: str
    begin: dict[int, int]


@dataclass(frozen=True, slots=True)
class BackfillDay:
    """Rows of one past day, written into one table in one commit; `content_hash` is their sum."""

    topic: str
    day: str
    rows: int
    content_hash: int
    first_event_id: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object of the fields, the hash as hex text."""
        return {
            "topic": self.topic,
            "day": self.day,
            "rows": self.rows,
            "content_hash": f"{self.content_hash:032x}",
            "first_event_id": self.first_event_id,
        }

    @staticmethod
    def from_json(document: dict[str, Any]) -> "BackfillDay":
        """What `to_json` wrote."""
        return BackfillDay(**{**document, "content_hash": int(document["content_hash"], 16)})


@dataclass(slots=True)
class OpenBatch:
    """Records whose delivery is unknown: `rows` where `is_open`; look from `floors` on."""

    batch: int
    rows: Rows
    is_open: NDArray[np.bool_]
    floors: list[dict[int, int]]


@dataclass(slots=True)
class LedgerState:
    """Everything the ledger knows, in memory."""

    ledger_id: str
    cluster_id: str
    topics: list[LedgerTopic]
    totals: list[TopicTotals]
    next_batch: int = 0
    sealed: list[str] = field(default_factory=list)
    backfill: list[BackfillDay] = field(default_factory=list)
    backfill_intents: list[BackfillDay] = field(default_factory=list)
    open: dict[int, OpenBatch] = field(default_factory=dict)
    fresh: list[NDArray[np.void]] = field(default_factory=list)
    """Coordinates that only the current journal holds."""


def load_state(journal: Path) -> LedgerState:
    """The state that the journal ends in.

    Raises:
        LedgerError: it does not begin with a checkpoint, or a newer program wrote it.
    """
    records = read_journal(journal)
    kind, payload = next(records, (0, b""))
    if kind != Record.CHECKPOINT:
        raise LedgerError(
            f"The ledger's journal {journal} is damaged: it does not begin with a checkpoint. "
            "What it proved is lost; `retail-lakehouse reset` starts from nothing."
        )
    state = _state_from_json(json.loads(payload), journal)
    for kind, payload in records:
        if kind in (Record.BACKFILL_INTENT, Record.BACKFILL_DONE):
            _replay_backfill(state, kind, json.loads(payload))
        else:
            _replay_batch(state, kind, payload)
    return state


def checkpoint_records(state: LedgerState) -> Iterator[tuple[Record, bytes]]:
    """The records that a new journal begins with."""
    yield Record.CHECKPOINT, dump(_state_json(state))
    for batch in state.open.values():
        text = dump(open_json(batch))
        head = BATCH_HEAD.pack(batch.batch, len(batch.rows), len(text))
        yield Record.OPEN, head + text + batch.rows.tobytes()


def book_backfill(state: LedgerState, day: BackfillDay, committed: bool) -> None:
    """Moves a day from the intents to the written ones, or drops it."""
    state.backfill_intents.remove(day)
    if committed:
        state.backfill.append(day)


def _replay_backfill(state: LedgerState, kind: int, document: dict[str, Any]) -> None:
    day = BackfillDay.from_json(document["day"])
    if kind == Record.BACKFILL_INTENT:
        state.backfill_intents.append(day)
        state.next_batch = document["next_batch"]
    else:
        book_backfill(state, day, document["committed"])


def _replay_batch(state: LedgerState, kind: int, payload: bytes) -> None:
    batch, count, text_length = BATCH_HEAD.unpack_from(payload)
    text = payload[BATCH_HEAD.size : BATCH_HEAD.size + text_length]
    body = payload[BATCH_HEAD.size + text_length :]
    if kind == Record.SETTLED:
        document = json.loads(text)
        opened = state.open.pop(batch)
        state.totals = [TopicTotals.from_json(each) for each in document["totals"]]
        state.fresh.append(np.frombuffer(body, dtype=COORDINATE, count=count))
        if "open" in document:
            state.open[batch] = _open_from_json(batch, opened.rows, document["open"])
        return
    rows = np.frombuffer(body, dtype=ROW, count=count)
    if kind == Record.OPEN:
        state.open[batch] = _open_from_json(batch, rows, json.loads(text))
    else:
        state.open[batch] = OpenBatch(batch, rows, np.ones(count, dtype=np.bool_), [])
        state.next_batch = batch + 1


def dump(document: object) -> bytes:
    """Compact JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


def open_json(batch: OpenBatch) -> dict[str, Any]:
    """What `SETTLED` and `OPEN` say of records that stay open."""
    return {
        "is_open": base64.b64encode(np.packbits(batch.is_open).tobytes()).decode(),
        "floors": batch.floors,
    }


def _open_from_json(batch: int, rows: Rows, document: dict[str, Any]) -> OpenBatch:
    packed = np.frombuffer(base64.b64decode(document["is_open"]), dtype=np.uint8)
    return OpenBatch(
        batch,
        rows,
        np.unpackbits(packed, count=len(rows)).astype(np.bool_),
        [{int(p): offset for p, offset in floor.items()} for floor in document["floors"]],
    )


def _state_json(state: LedgerState) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "ledger_id": state.ledger_id,
        "cluster_id": state.cluster_id,
        "topics": [
            {"name": topic.name, "topic_id": topic.topic_id, "begin": topic.begin}
            for topic in state.topics
        ],
        "totals": [total.to_json() for total in state.totals],
        "next_batch": state.next_batch,
        "sealed": state.sealed,
        "backfill": [day.to_json() for day in state.backfill],
        "backfill_intents": [day.to_json() for day in state.backfill_intents],
    }


def _state_from_json(document: dict[str, Any], path: Path) -> LedgerState:
    if document["version"] > _VERSION:
        raise LedgerError(
            f"The ledger's journal {path} has version {document['version']}, newer than this "
            f"program's {_VERSION}: update the program before it touches the ledger."
        )
    return LedgerState(
        ledger_id=document["ledger_id"],
        cluster_id=document["cluster_id"],
        topics=[
            LedgerTopic(
                topic["name"],
                topic["topic_id"],
                {int(partition): offset for partition, offset in topic["begin"].items()},
            )
            for topic in document["topics"]
        ],
        totals=[TopicTotals.from_json(each) for each in document["totals"]],
        next_batch=document["next_batch"],
        sealed=document["sealed"],
        backfill=[BackfillDay.from_json(day) for day in document["backfill"]],
        backfill_intents=[BackfillDay.from_json(day) for day in document["backfill_intents"]],
    )
