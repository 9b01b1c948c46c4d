"""The stream that every engine must land alike, and what a record of it is.

Here: records, the corpus, and cutting it into batches. Not here: verdicts (`reference.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from retail_lakehouse.contracts.cases import BROKER_TIME_MS, CASES, body

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
HORIZON_HOURS = 24
# The broker's clock reads the top of an hour at the cases, so that edges can be hit exactly.
NOW_MS = BROKER_TIME_MS - BROKER_TIME_MS % HOUR_MS + HOUR_MS


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record; `timestamp_ms` is the broker's."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


Batch = list[Record]


def event(
    event_id: str, event_ms: int, on_hand: int = 40, spaced: bool = False, **changes: str | None
) -> bytes:
    """A good inventory event."""
    text = body(
        event_id=f'"{event_id}"',
        event_timestamp=str(event_ms),
        quantity_on_hand=str(on_hand),
        **changes,
    )
    return text.replace(b",", b" ,\n") if spaced else text


def corpus() -> list[Record]:
    """All cases, then copies, conflicts, late records and the horizon's edges; three partitions."""
    records: list[Record] = []
    offsets = {0: 0, 1: 500, 2: 0}

    def add(
        partition: int, value: bytes | None, at_ms: int, key: bytes | None = b"S0001|SKU"
    ) -> None:
        records.append(Record(partition, offsets[partition], at_ms, key, value))
        offsets[partition] += 1

    for number, case in enumerate(CASES):
        # An id of its own and of the same length for each case: none is a copy of another.
        value = None if case.body is None else case.body.replace(b'"e-1"', b'"%03d"' % number)
        add(number % 3, value, BROKER_TIME_MS, None if number % 7 == 0 else b"key \xff")
    for partition, value, at_ms in _sequences():
        add(partition, value, at_ms)
        # A gap, as transactions and compaction leave them.
        offsets[partition] += partition == 2
    return records


def _sequences() -> Iterator[tuple[int, bytes, int]]:
    now = NOW_MS
    yield from (
        # Copies: spelt otherwise, and with an equal unknown field
        (0, event("copy", now), now),
        (0, event("copy", now, spaced=True), now + 1),
        (0, event("copy", now, unit_cost='"12.5000"'), now + 2),
        (0, event("extra", now, colour='"red"'), now + 2),
        (0, event("extra", now, colour='"red"', spaced=True), now + 2),
        # Conflicts: other content, other extra, a copy of the conflict, then one of the first
        (1, event("clash", now), now),
        (1, event("clash", now, on_hand=41), now + 1),
        (1, event("clash", now, colour='"red"'), now + 1),
        (1, event("clash", now, on_hand=41), now + 2),
        (1, event("clash", now), now + 3),
        # The same id in another hour is another key
        (2, event("hours", now), now),
        (2, event("hours", now + 60_000, on_hand=7), now + 60_000),
        (2, event("hours", now - 1, on_hand=8), now + 60_000),
        (2, event("hours", now - 1, on_hand=8), now + 60_000),
        # A bad record does not count as an arrival
        (0, event("bad first", now, quantity_reserved="-1"), now + 5),
        (0, event("bad first", now), now + 6),
        (0, event("bad first", now), now + 7),
        # Late, within the horizon
        (1, event("late", now - 5 * HOUR_MS), now + 10),
        (1, event("late", now - 5 * HOUR_MS), now + 11),
        # The last hour within the horizon, and the first past it
        (2, event("edge", now - HORIZON_HOURS * HOUR_MS), now),
        (2, event("edge", now - HORIZON_HOURS * HOUR_MS), now),
        (2, event("edge", now - HORIZON_HOURS * HOUR_MS), now + 1),
        # Past the horizon a copy lands, whatever its content
        (0, event("past", now - 2 * DAY_MS), now + 20),
        (0, event("past", now - 2 * DAY_MS), now + 21),
        (0, event("past", now - 2 * DAY_MS, on_hand=1), now + 22),
        # The broker's clock steps back: what landed past the horizon is there for a searched one
        (1, event("back", now - 23 * HOUR_MS), now + 2 * HOUR_MS),
        (1, event("back", now - 23 * HOUR_MS), now - 60_000),
        (1, event("back", now - 23 * HOUR_MS, on_hand=9), now - 60_000),
        # A copy across an hour's turn of the broker's clock, half an hour later
        (2, event("turn", now + 58 * 60_000), now + 59 * 60_000),
        (2, event("turn", now + 58 * 60_000), now + 89 * 60_000),
        (0, b"", now + 89 * 60_000),
        (1, b"\xff", now + 90 * 60_000),
    )


def end_of(batch: Sequence[Record]) -> dict[int, int]:
    """The batch's end offsets, exclusive, by partition."""
    return {
        p: max(r.offset for r in batch if r.partition == p) + 1
        for p in sorted({r.partition for r in batch})
    }


def cut_evenly(records: Sequence[Record], batches: int) -> list[Batch]:
    """Every partition cut into `batches` parts of about equal length."""
    by_partition = _by_partition(records)
    return [
        [
            record
            for part in by_partition.values()
            for record in part[len(part) * i // batches : len(part) * (i + 1) // batches]
        ]
        for i in range(batches)
    ]


def cut_by_partition(records: Sequence[Record]) -> list[Batch]:
    """One partition after the other, the last first."""
    return list(_by_partition(records).values())[::-1]


def cut_at(records: Sequence[Record], cuts: Sequence[dict[int, float]]) -> list[Batch]:
    """Cut at shares (0 to 1) of each partition's length; what is left is the last batch."""
    by_partition = _by_partition(records)
    batches: list[Batch] = []
    start = dict.fromkeys(by_partition, 0)
    for shares in [*cuts, dict.fromkeys(by_partition, 1.0)]:
        batch: Batch = []
        for partition, part in by_partition.items():
            end = max(start[partition], round(shares.get(partition, 0.0) * len(part)))
            batch += part[start[partition] : end]
            start[partition] = end
        batches.append(batch)
    return [batch for batch in batches if batch]


def _by_partition(records: Sequence[Record]) -> dict[int, list[Record]]:
    return {
        p: [r for r in records if r.partition == p] for p in sorted({r.partition for r in records})
    }
