"""Rules of reading a checkpoint: what disagrees or cannot be read is never gone on from."""

import pytest

from retail_lakehouse.streaming.checkpoint import (
    CheckpointDamagedError,
    CheckpointState,
    agrees,
    parse_commit,
    parse_offsets,
    planned_beyond,
    planned_records,
)

GOOD = 'v1\n{"batchWatermarkMs":0}\n{"t":{"0":5,"1":7}}'


def test_offsets_are_read_by_partition() -> None:
    assert parse_offsets(GOOD, "t") == {0: 5, 1: 7}


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_offsets_cut_anywhere_are_damaged(length: int) -> None:
    with pytest.raises(CheckpointDamagedError):
        parse_offsets(GOOD[:length], "t")


@pytest.mark.parametrize(
    "text", ["", "\0" * 50, GOOD + "\n{}", GOOD.replace("v1", "v2"), 'v1\n{}\n["t"]', "v1\n{}\n-"]
)
def test_offsets_of_another_shape_are_damaged(text: str) -> None:
    with pytest.raises(CheckpointDamagedError):
        parse_offsets(text, "t")


def test_offsets_of_another_topic_are_said_to_be() -> None:
    with pytest.raises(CheckpointDamagedError, match="belongs to another topic"):
        parse_offsets(GOOD, "other")


def test_a_commit_needs_its_version() -> None:
    parse_commit('v1\n{"nextBatchWatermarkMs":0}')
    with pytest.raises(CheckpointDamagedError):
        parse_commit("")


@pytest.mark.parametrize(
    "committed, planned, until, agreed",
    [
        ({0: 5}, None, {0: 5}, True),
        ({0: 5}, {0: 9}, {0: 5}, True),
        ({0: 5}, {0: 9}, {0: 9}, True),
        ({0: 5, 1: 0}, None, {0: 5}, True),
        ({0: 5}, None, {0: 5, 3: 0}, True),
        ({0: 5}, {0: 9}, {0: 7}, False),
        ({0: 5}, None, {0: 4}, False),
        ({0: 5}, None, {}, False),
        ({0: 5}, None, {0: 5, 1: 1}, False),
        ({0: 5, 1: 1}, None, {0: 5}, False),
        # The topic was made again beneath the job, and the table has landed nothing of the new one.
        ({0: 5, 1: 3}, {0: 0, 1: 0}, {0: 0, 1: 0}, False),
        ({0: 5, 1: 3}, {0: 9, 1: 0}, {0: 9, 1: 0}, False),
        ({0: 5, 1: 3}, {0: 9}, {0: 5, 1: 3}, False),
    ],
)
def test_it_agrees_only_where_going_on_reads_exactly_what_is_missing(
    committed: dict[int, int], planned: dict[int, int] | None, until: dict[int, int], agreed: bool
) -> None:
    assert agrees(CheckpointState(committed, planned), until) is agreed


def test_a_batch_planned_past_kafkas_end_is_told_by_partition() -> None:
    state = CheckpointState({0: 5, 1: 5}, {0: 9, 1: 7, 2: 1})
    assert planned_beyond(state, {0: 9, 1: 7, 2: 1}) == {}
    assert planned_beyond(state, {0: 8, 1: 7}) == {0: 9, 2: 1}
    assert planned_beyond(CheckpointState({0: 5}, None), {0: 1}) == {}


def test_a_planned_batch_has_the_records_that_have_not_landed() -> None:
    state = CheckpointState({0: 5, 1: 5}, {0: 9, 1: 7, 2: 1})
    assert planned_records(state, {0: 5, 1: 5}) == 7
    assert planned_records(state, {0: 9, 1: 7, 2: 1}) == 0
    assert planned_records(CheckpointState({0: 5}, None), {}) == 0
