"""Rules of the mark: it survives a summary as it is, and a damaged one is never half read."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retail_lakehouse.contracts.mark import (
    SUMMARY_KEY,
    Counts,
    Mark,
    MarkError,
    MarkKind,
    TimeRange,
)

_LONGS = st.integers(0, 2**62)
_COUNTS = st.builds(Counts, *(_LONGS for _ in fields(Counts)))
_TIMES = st.one_of(st.just(TimeRange()), st.builds(TimeRange, _LONGS, _LONGS))
_RANGES = st.dictionaries(st.integers(0, 99), st.tuples(_LONGS, _LONGS), max_size=5)


def _mark(ranges: dict[int, tuple[int, int]], elsewhere: dict[int, int], **named: Any) -> Mark:
    """A mark that has an `until` for each partition that it advanced, as every mark has."""
    ends = {partition: end for partition, (_, end) in ranges.items()}
    return Mark(ranges=ranges, until=ends | elsewhere, **named)


MARKS = st.builds(
    _mark,
    kind=st.sampled_from(MarkKind),
    cluster_id=st.text(max_size=22),
    topic=st.text(max_size=30),
    topic_id=st.text(max_size=22),
    ranges=_RANGES,
    elsewhere=st.dictionaries(st.integers(0, 99), _LONGS, max_size=5),
    event_time=_TIMES,
    broker_time=_TIMES,
    batch=_COUNTS,
    total=_COUNTS,
    batch_started_ms=_LONGS,
    previous_commit_ms=st.one_of(st.none(), _LONGS),
    contract_version=st.integers(1, 99),
    run_id=st.text(max_size=20),
    engine=st.sampled_from(["spark", "embedded"]),
    newest_ms=st.one_of(st.none(), _LONGS),
)


def example_mark() -> Mark:
    return Mark(
        kind=MarkKind.STREAM,
        cluster_id="c",
        topic="t",
        topic_id="i",
        ranges={0: (3, 5)},
        until={0: 5, 1: 9},
        event_time=TimeRange(1, 2),
        broker_time=TimeRange(3, 4),
        batch=Counts(read=2, landed=2),
        total=Counts(read=14, landed=12, quarantined=1, duplicates=1),
        batch_started_ms=7,
        previous_commit_ms=None,
        contract_version=1,
        run_id="r",
        engine="spark",
    )


@given(MARKS)
def test_a_mark_comes_out_of_a_summary_as_it_went_in(mark: Mark) -> None:
    summary = {"added-records": "7", **mark.to_summary()}
    assert Mark.from_summary(summary) == mark
    assert all(isinstance(value, str) for value in summary.values())


def test_a_commit_without_a_mark_has_none() -> None:
    assert Mark.from_summary({"added-records": "7"}) is None


def _without(name: str) -> str:
    raw = json.loads(example_mark().to_summary()[SUMMARY_KEY])
    del raw[name]
    return json.dumps(raw)


def _with(**changes: object) -> str:
    return json.dumps(json.loads(example_mark().to_summary()[SUMMARY_KEY]) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        '{"version":1',
        *(_without(field.name) for field in fields(Mark) if field.name != "newest_ms"),
        _with(kind="other"),
        _with(ranges=[[0, 1]]),
        _with(ranges={"0": [1]}),
        _with(until={"x": 1}),
        _with(until=None),
        _with(batch={"read": 1, "colour": 2}),
        _with(batch={"read": "many"}),
        _with(total=7),
        _with(total={"read": float("inf")}),
        _with(event_time={"oldest_ms": []}),
        _with(newest_ms="soon"),
        _with(version="1"),
        _with(version=None),
    ],
)
def test_a_damaged_mark_is_an_error_that_says_what_to_do(text: str) -> None:
    with pytest.raises(MarkError, match="Compare it with the commit before it"):
        Mark.from_summary({SUMMARY_KEY: text})


def test_a_mark_of_a_newer_program_is_refused_by_its_version() -> None:
    with pytest.raises(
        MarkError, match=r"^A commit carries a mark of version 3.*update the program"
    ):
        Mark.from_summary({SUMMARY_KEY: _with(version=3, added_later=True)})


def test_a_mark_that_wrote_every_until_is_read_as_before_and_written_as_today() -> None:
    old = _with(version=1, until={"0": 5, "1": 9})
    mark = Mark.from_summary({SUMMARY_KEY: old})
    assert mark == replace(example_mark(), version=1)
    assert mark is not None
    assert mark.to_summary() == example_mark().to_summary()


def test_what_moves_no_offset_carries_offsets_and_totals_over() -> None:
    before = example_mark()
    carried = before.carried(MarkKind.REPLAY, "r2", 99, engine="other", contract_version=2)
    assert (carried.until, carried.total, carried.topic_id) == (before.until, before.total, "i")
    assert (carried.ranges, carried.batch, carried.event_time) == ({}, Counts(), TimeRange())
    assert (carried.kind, carried.run_id, carried.batch_started_ms) == (MarkKind.REPLAY, "r2", 99)


def test_a_commit_that_carries_offsets_over_says_who_wrote_it_and_by_which_contract() -> None:
    carried = example_mark().carried(MarkKind.REPLAY, "r2", 99, engine="other", contract_version=2)
    assert (carried.engine, carried.contract_version) == ("other", 2)


def test_counts_add_up_name_by_name() -> None:
    assert Counts(1, 2, 3, 4, 5, 6) + Counts(10, 20, 30, 40, 50, 60) == Counts(
        11, 22, 33, 44, 55, 66
    )


def test_a_mark_of_a_wide_topic_stays_small() -> None:
    partitions = range(24)
    ends = {p: 9_000_000_000 + p for p in partitions}
    counts = Counts(read=240_000, landed=230_000, quarantined=5_000, duplicates=5_000)
    wide = replace(
        example_mark(),
        ranges={p: (end - 10_000, end) for p, end in ends.items()},
        until=ends,
        batch=counts,
        total=counts,
    )
    # Ten thousand retained snapshots are then under 20 MB in each metadata file.
    assert len(json.dumps(wide.to_summary())) < 1_500
