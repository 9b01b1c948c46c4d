"""What the ledger counts, and how a batch of delivered records is folded into the counts.

Here: record kinds, the row of an intent, totals of a topic. Not here: files (`ledger.py`).
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retail_lakehouse.contracts.canonical import HASH_MODULUS
from retail_lakehouse.contracts.reasons import PRECEDENCE, Reason

COORDINATE_MODULUS = 1 << 64


class RecordKind(IntEnum):
    """What the simulator made a record to be."""

    ON_TIME = 0
    LATE = 1
    """A row whose event time lies minutes to days back."""
    MALFORMED = 2
    CONFLICT = 3
    """The key of an earlier event with other content."""
    DUPLICATE_SAME_BATCH = 4
    """Produced right after its original."""
    DUPLICATE_NEXT_BATCHES = 5
    """Seconds later, or minutes if it has waited for a restart that did not come."""
    DUPLICATE_HALF_HOUR = 6
    DUPLICATE_HOUR_TURN = 7
    DUPLICATE_RESTART = 8
    """Sent once the topic's job ran as another process than when the original was sent."""
    DUPLICATE_PAST_HORIZON = 9
    """Of an event whose hour lies beyond the dedupe horizon when the copy is sent: it lands."""


GOOD_KINDS = (RecordKind.ON_TIME, RecordKind.LATE)
LANDING_KINDS = (*GOOD_KINDS, RecordKind.DUPLICATE_PAST_HORIZON)
QUARANTINED_KINDS = (RecordKind.MALFORMED, RecordKind.CONFLICT)
DUPLICATE_KINDS = (
    RecordKind.DUPLICATE_SAME_BATCH,
    RecordKind.DUPLICATE_NEXT_BATCHES,
    RecordKind.DUPLICATE_HALF_HOUR,
    RecordKind.DUPLICATE_HOUR_TURN,
    RecordKind.DUPLICATE_RESTART,
)
"""Those that are dropped."""

REASON_CODES: dict[Reason, int] = {reason: code for code, reason in enumerate(PRECEDENCE)}

# One record of an intent, 19 bytes. `high` and `low` are the halves of its content hash.
ROW = np.dtype([("topic", "u1"), ("kind", "u1"), ("reason", "u1"), ("high", "<u8"), ("low", "<u8")])
# Where a record that belongs into quarantine lies.
COORDINATE = np.dtype([("topic", "u1"), ("reason", "u1"), ("partition", "<i4"), ("offset", "<i8")])

Rows = NDArray[np.void]
Integers = NDArray[np.int64]


@dataclass(slots=True)
class TopicTotals:
    """Everything the ledger says of one topic's acknowledged records."""

    kinds: dict[str, int] = field(default_factory=dict)
    """Acknowledged records by `RecordKind` name."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Of the quarantined: by reason."""
    content_hash: int = 0
    """Sum modulo 2^128 of the content hashes of the rows that should be there."""
    coordinate_hash: int = 0
    """Sum modulo 2^64 over the same rows of content times coordinates: it tells two rows that
    exchanged their offsets, which the content hash alone cannot."""
    until: dict[int, int] = field(default_factory=dict)
    """First offset past the last acknowledged record, of each partition."""
    undelivered: int = 0
    """Records that were found not to have reached the topic."""

    @property
    def acknowledged(self) -> int:
        """Records that the topic has."""
        return sum(self.kinds.values())

    @property
    def distinct(self) -> int:
        """Good events, each once."""
        return sum(self.kinds.get(kind.name, 0) for kind in GOOD_KINDS)

    @property
    def copies_past_horizon(self) -> int:
        """Records that repeat a good event beyond the dedupe horizon: rows all the same."""
        return self.kinds.get(RecordKind.DUPLICATE_PAST_HORIZON.name, 0)

    @property
    def rows(self) -> int:
        """Rows that should be there."""
        return self.distinct + self.copies_past_horizon

    @property
    def quarantined(self) -> int:
        """Records that belong into quarantine."""
        return sum(self.kinds.get(kind.name, 0) for kind in QUARANTINED_KINDS)

    @property
    def duplicates(self) -> int:
        """Records that repeat a good event and are to be dropped."""
        return sum(self.kinds.get(kind.name, 0) for kind in DUPLICATE_KINDS)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` takes back; hashes as hex text."""
        return {
            "kinds": self.kinds,
            "reasons": self.reasons,
            "content_hash": f"{self.content_hash:032x}",
            "coordinate_hash": f"{self.coordinate_hash:016x}",
            "until": self.until,
            "undelivered": self.undelivered,
        }

    @staticmethod
    def from_json(document: dict[str, Any]) -> "TopicTotals":
        """The totals that `to_json` wrote."""
        return TopicTotals(
            kinds=document["kinds"],
            reasons=document["reasons"],
            content_hash=int(document["content_hash"], 16),
            coordinate_hash=int(document["coordinate_hash"], 16),
            until={int(partition): offset for partition, offset in document["until"].items()},
            undelivered=document["undelivered"],
        )


def content_sum(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> int:
    """The sum modulo 2^128 of hashes given as 64-bit halves."""
    mask, shift = np.uint64(0xFFFF_FFFF), np.uint64(32)
    # Summed by 32 bits, so that a sum of billions cannot wrap around.
    limbs = [low & mask, low >> shift, high & mask, high >> shift]
    total = sum(int(limb.sum(dtype=np.uint64)) << (32 * i) for i, limb in enumerate(limbs))
    return total % HASH_MODULUS


def coordinate_sum(low: NDArray[np.uint64], partitions: Integers, offsets: Integers) -> int:
    """The sum modulo 2^64 of (low 32 bits of the content hash) x (coordinates modulo 2^31)."""
    content = low & np.uint64(0xFFFF_FFFF)
    coordinates = ((offsets * 1024 + partitions) % (1 << 31)).astype(np.uint64)
    return int((content * coordinates).sum(dtype=np.uint64))


def fold(
    totals: list[TopicTotals],
    rows: Rows,
    partitions: Integers,
    offsets: Integers,
    considered: NDArray[np.bool_],
) -> NDArray[np.void]:
    """Adds the records that are `considered` and delivered (offset not below 0) to the totals.

    Returns:
        The coordinates (dtype `COORDINATE`) of those that belong into quarantine.
    """
    delivered = considered & (offsets >= 0)
    kinds = _promoted(rows["kind"], delivered, considered & (offsets < 0))
    for topic in np.unique(rows["topic"][delivered]).tolist():
        chosen = delivered & (rows["topic"] == topic)
        good = chosen & np.isin(kinds, LANDING_KINDS)
        total = totals[topic]
        counts = np.bincount(kinds[chosen], minlength=len(RecordKind)).tolist()
        for kind in RecordKind:
            if counts[kind]:
                total.kinds[kind.name] = total.kinds.get(kind.name, 0) + counts[kind]
        high, low = rows["high"][good], rows["low"][good]
        total.content_hash = (total.content_hash + content_sum(high, low)) % HASH_MODULUS
        total.coordinate_hash = (
            total.coordinate_hash + coordinate_sum(low, partitions[good], offsets[good])
        ) % COORDINATE_MODULUS
        for partition in np.unique(partitions[chosen]).tolist():
            newest = int(offsets[chosen & (partitions == partition)].max())
            total.until[partition] = max(total.until.get(partition, 0), newest + 1)
    return _quarantined(totals, rows, kinds, delivered, partitions, offsets)


def _promoted(
    kinds: NDArray[np.uint8], delivered: NDArray[np.bool_], missing: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The kinds, where a duplicate whose original never arrived counts as the original."""
    orphan = delivered.copy()
    orphan[0:1] = False
    orphan[1:] &= (kinds[1:] == RecordKind.DUPLICATE_SAME_BATCH) & missing[:-1]
    if not orphan.any():
        return kinds
    promoted = kinds.copy()
    promoted[orphan] = kinds[np.flatnonzero(orphan) - 1]
    return promoted


def _quarantined(
    totals: list[TopicTotals],
    rows: Rows,
    kinds: NDArray[np.uint8],
    delivered: NDArray[np.bool_],
    partitions: Integers,
    offsets: Integers,
) -> NDArray[np.void]:
    bad = delivered & np.isin(kinds, QUARANTINED_KINDS)
    coordinates = np.zeros(int(bad.sum()), dtype=COORDINATE)
    coordinates["topic"] = rows["topic"][bad]
    coordinates["reason"] = rows["reason"][bad]
    coordinates["partition"] = partitions[bad]
    coordinates["offset"] = offsets[bad]
    for topic, code in zip(
        coordinates["topic"].tolist(), coordinates["reason"].tolist(), strict=True
    ):
        reasons, reason = totals[topic].reasons, PRECEDENCE[code].value
        reasons[reason] = reasons.get(reason, 0) + 1
    return coordinates
