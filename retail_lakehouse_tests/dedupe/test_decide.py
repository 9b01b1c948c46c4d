"""Rules of uniqueness, against a model that takes one record at a time and knows no batches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retail_lakehouse.dedupe.decide import Decision, Verdict, decide
from retail_lakehouse.dedupe.key_index import KeyIndex, Stamp
from retail_lakehouse.dedupe.records import (
    HOUR_MS,
    Longs,
    Records,
    concatenated,
    content_key,
    key_hash,
)

HORIZON_HOURS = 3
START_MS = 400_000 * HOUR_MS
Verdicts = dict[tuple[int, int], str]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Arrival:
    """One record as the model sees it; a bad one has no key."""

    partition: int
    offset: int
    broker_ms: int
    event_ms: int
    event_id: str | None
    content: int


def one_by_one(stream: list[Arrival], horizon_hours: int) -> Verdicts:
    """The verdicts of the rule in its plainest form."""
    first: dict[tuple[str, int], int] = {}
    verdicts = Verdicts()
    for arrival in stream:
        if arrival.event_id is None:
            continue
        hour = arrival.event_ms // HOUR_MS
        key = arrival.event_id, hour
        verdict = "lands"
        if hour * HOUR_MS >= arrival.broker_ms - horizon_hours * HOUR_MS:
            if key in first:
                verdict = "duplicate" if first[key] == arrival.content else "conflict"
        else:
            verdict = "unsearched"
        first.setdefault(key, arrival.content)
        verdicts[arrival.partition, arrival.offset] = verdict
    return verdicts


def records_of(batch: list[Arrival]) -> Records:
    keys = [(0, 0) if a.event_id is None else key_hash(a.event_id) for a in batch]

    def longs(values: list[int]) -> Longs:
        return np.array(values, dtype=np.int64)

    good = np.array([a.event_id is not None for a in batch], dtype=np.bool_)
    return Records(
        partition=longs([a.partition for a in batch]),
        offset=longs([a.offset for a in batch]),
        broker_ms=longs([a.broker_ms for a in batch]),
        event_ms=longs([0 if a.event_id is None else a.event_ms for a in batch]),
        key_high=longs([high for high, _ in keys]),
        key_low=longs([low for _, low in keys]),
        content=longs([0 if a.event_id is None else a.content for a in batch]),
        good=good,
        with_extra=np.zeros(len(batch), dtype=np.bool_),
    )


class Everything:
    """All that has landed, without forgetting."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int, int], int] = {}

    def find(self, hour: int, key_high: Longs, key_low: Longs) -> tuple[Flags, Longs]:
        hits = [
            self._found.get((hour, *k))
            for k in zip(key_high.tolist(), key_low.tolist(), strict=True)
        ]
        return (
            np.array([h is not None for h in hits], dtype=np.bool_),
            np.array([h or 0 for h in hits], dtype=np.int64),
        )

    def add(self, records: Records, landed: Flags) -> None:
        # A key's copies share a partition here: the first arrival is the lowest offset.
        for i in sorted(np.flatnonzero(landed), key=lambda each: int(records.offset[each])):
            key = int(records.event_hour[i]), int(records.key_high[i]), int(records.key_low[i])
            self._found.setdefault(key, int(records.content[i]))


_NAMES = {Verdict.LANDS: "lands", Verdict.DUPLICATE: "duplicate", Verdict.CONFLICT: "conflict"}


def named(records: Records, decision: Decision) -> Verdicts:
    return {
        (int(records.partition[i]), int(records.offset[i])): (
            "unsearched" if decision.unsearched[i] else _NAMES[Verdict(int(decision.verdict[i]))]
        )
        for i in np.flatnonzero(records.good)
    }


@st.composite
def streams(draw: st.DrawFn) -> list[Arrival]:
    """Several partitions with keys of their own, copies, conflicts, a clock that may step back."""
    stream: list[Arrival] = []
    for partition in range(draw(st.integers(1, 3))):
        clock = START_MS + draw(st.integers(0, 2)) * HOUR_MS
        for offset in range(draw(st.integers(0, 12))):
            clock += draw(st.sampled_from([0, 1, HOUR_MS // 2, HOUR_MS, -1, -HOUR_MS]))
            # On hours and just beside them: the edges of the horizon.
            event_ms = (
                START_MS
                + draw(st.integers(-5, 3)) * HOUR_MS
                + draw(st.sampled_from([0, 1, HOUR_MS - 1]))
            )
            name = draw(st.sampled_from(["a", "b", "c", None]))
            stream.append(
                Arrival(
                    partition,
                    offset,
                    clock,
                    event_ms,
                    None if name is None else f"{partition}{name}",
                    draw(st.sampled_from([1, 2])),
                )
            )
    return stream


@st.composite
def cut(draw: st.DrawFn, stream: list[Arrival]) -> list[list[Arrival]]:
    """Batches, each contiguous in every partition, in any order within."""
    batches: list[list[Arrival]] = [[] for _ in range(draw(st.integers(1, 4)))]
    for partition in {a.partition for a in stream}:
        part = [a for a in stream if a.partition == partition]
        ends = sorted(draw(st.integers(0, len(part))) for _ in batches[1:])
        for batch, start, end in zip(batches, [0, *ends], [*ends, len(part)], strict=True):
            batch += part[start:end]
    return [draw(st.permutations(batch)) for batch in batches]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_verdicts_are_those_of_one_record_at_a_time_however_the_stream_is_cut(
    data: st.DataObject,
) -> None:
    stream = data.draw(streams())
    landed, told = Everything(), Verdicts()
    for batch in data.draw(cut(stream)):
        records = records_of(batch)
        decision = decide(records, landed, HORIZON_HOURS)
        told |= named(records, decision)
        landed.add(records, records.good & (decision.verdict == Verdict.LANDS))
    assert told == one_by_one(stream, HORIZON_HOURS)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_index_answers_as_if_nothing_were_ever_forgotten(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stream = [a for a in data.draw(streams()) if a.event_id is not None]
    # With clocks that do not step back: then nothing before the horizon is asked for again.
    stream = _in_step(stream)
    folder = tmp_path_factory.mktemp("index")
    index = KeyIndex(folder)
    index.open()
    index.seal(_stamp(0), 0)
    told = Verdicts()
    for number, batch in enumerate(data.draw(cut_in_time(stream)), start=1):
        if not batch:
            continue
        records = records_of(batch)
        decision = decide(records, index, HORIZON_HOURS)
        told |= named(records, decision)
        lands = records.good & (decision.verdict == Verdict.LANDS)
        floor = int(records.broker_ms.min()) // HOUR_MS - HORIZON_HOURS
        index.add(
            records.event_hour[lands],
            np.column_stack(
                [records.key_high[lands], records.key_low[lands], records.content[lands]]
            ),
            _stamp(number),
            floor,
        )
        if data.draw(st.booleans()):
            index.close()
            index = _reopened(folder, _stamp(number))
    index.close()
    assert told == one_by_one(stream, HORIZON_HOURS)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_of_copies_in_several_partitions_one_lands_however_the_stream_is_cut(
    data: st.DataObject,
) -> None:
    times = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1))
    stream = [Arrival(p, n, START_MS + ms, START_MS, "a", 1) for n, (p, ms) in enumerate(times)]
    landed, told = Everything(), Verdicts()
    for batch in data.draw(cut(stream)):
        records = records_of(batch)
        decision = decide(records, landed, HORIZON_HOURS)
        told |= named(records, decision)
        landed.add(records, records.good & (decision.verdict == Verdict.LANDS))
    assert sorted(told.values()) == ["duplicate"] * (len(stream) - 1) + ["lands"]


def test_within_a_batch_the_earlier_copy_lands_and_a_clock_that_steps_back_moves_no_offset() -> (
    None
):
    batch = [
        Arrival(0, 0, START_MS + 9, START_MS, "a", 1),
        Arrival(0, 1, START_MS - 9, START_MS, "a", 2),
        Arrival(1, 7, START_MS + 5, START_MS, "a", 1),
    ]
    records = records_of(batch)
    decision = decide(records, Everything(), HORIZON_HOURS)
    assert named(records, decision) == {(0, 0): "duplicate", (0, 1): "conflict", (1, 7): "lands"}


@pytest.mark.parametrize("order", [1, -1], ids=["the older first", "the newer first"])
def test_of_two_records_at_one_offset_the_one_that_was_lost_came_first(order: int) -> None:
    lost, taken = (Arrival(0, 5, START_MS + ms, START_MS, "a", ms) for ms in (1, 2))
    decision = decide(records_of([lost, taken][::order]), Everything(), HORIZON_HOURS)
    assert decision.verdict.tolist()[::order] == [Verdict.LANDS, Verdict.CONFLICT]


def test_an_empty_batch_and_one_without_good_records_have_verdicts_for_nobody() -> None:
    for batch in ([], [Arrival(0, 0, START_MS, 0, None, 0)]):
        decision = decide(records_of(batch), Everything(), HORIZON_HOURS)
        assert decision.verdict.tolist() == [Verdict.LANDS] * len(batch)
        assert not decision.unsearched.any()


def test_several_batches_records_are_one_batchs() -> None:
    parts = [records_of([Arrival(p, 1, START_MS, START_MS, "a", p)]) for p in range(3)]
    together = concatenated(parts)
    assert (len(together), together.content.tolist()) == (3, [0, 1, 2])


def test_extra_is_part_of_the_content_and_cannot_be_imitated() -> None:
    contents = [("1:a", None), ("1:a", '{"b":1}'), ('1:a\n{"b":1}', None), ("1:b", None)]
    keys = [content_key(*content) for content in contents]
    # A canonical form ends in a number, so no form is another one with extra.
    assert len({keys[0], keys[1], keys[3]}) == 3
    assert len({key_hash(name) for name in ("a", "b", "é", "")}) == 4


def _in_step(stream: list[Arrival]) -> list[Arrival]:
    ordered = sorted(stream, key=lambda a: a.broker_ms)
    offsets: dict[int, int] = {}
    result = []
    for arrival in ordered:
        offset = offsets.get(arrival.partition, 0)
        offsets[arrival.partition] = offset + 1
        result.append(
            Arrival(
                arrival.partition,
                offset,
                arrival.broker_ms,
                arrival.event_ms,
                arrival.event_id,
                arrival.content,
            )
        )
    return result


@st.composite
def cut_in_time(draw: st.DrawFn, stream: list[Arrival]) -> list[list[Arrival]]:
    """Batches that follow the broker's clock over all partitions."""
    ends = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    return [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]


def _stamp(number: int) -> Stamp:
    return Stamp("uuid", number, "topic", {0: number}, "form")


def _reopened(folder: Path, stamp: Stamp) -> KeyIndex:
    index = KeyIndex(folder)
    index.open()
    assert index.stamp == stamp
    return index
