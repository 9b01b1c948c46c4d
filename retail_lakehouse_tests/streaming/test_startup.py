"""Rules of the start: which losses stop a job, and what accepting one means."""

import logging
from dataclasses import replace

import pytest

from retail_lakehouse.contracts.mark import Mark
from retail_lakehouse.streaming.kafka import EARLIEST, TopicFacts
from retail_lakehouse.streaming.startup import (
    LossError,
    check_offsets,
    check_quarantine_offsets,
    check_rows_have_mark,
    check_topic,
    starting_offsets,
)
from retail_lakehouse_tests.contracts.test_mark import example_mark

LIVE = TopicFacts(
    cluster_id="c",
    topic_id="new",
    earliest={0: 10, 1: 0},
    end={0: 100, 1: 50},
    timestamp_type="LogAppendTime",
)


def mark(topic_id: str | None) -> Mark | None:
    return None if topic_id is None else replace(example_mark(), topic_id=topic_id)


@pytest.mark.parametrize(
    "rows, quarantine",
    [(None, None), ("new", None), ("new", "new"), (None, "new"), ("new", "old")],
)
def test_the_known_topic_is_let_in(rows: str | None, quarantine: str | None) -> None:
    check_topic("t", LIVE, mark(rows), mark(quarantine), "")


@pytest.mark.parametrize("rows, quarantine", [("old", None), ("old", "new"), (None, "old")])
def test_a_topic_made_again_is_refused_until_its_own_id_is_accepted(
    rows: str | None, quarantine: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    for accepted in ("", "old", "other"):
        with pytest.raises(
            LossError,
            match=r"made again.*landed 14 offsets.*dev --set accept_loss=new`.*--accept_loss new",
        ):
            check_topic("t", LIVE, mark(rows), mark(quarantine), accepted)
    with caplog.at_level(logging.WARNING):
        check_topic("t", LIVE, mark(rows), mark(quarantine), "new")
    assert "This was accepted" in caplog.text


def test_a_producers_clock_is_refused_whatever_is_accepted() -> None:
    live = replace(LIVE, timestamp_type="CreateTime")
    with pytest.raises(LossError, match="would hang on its producer's clock"):
        check_topic("t", live, None, None, "new")


@pytest.mark.parametrize("until", [{}, {0: 10}, {0: 100, 1: 50}, {1: 0}])
def test_offsets_that_kafka_still_has_are_gone_on_from(until: dict[int, int]) -> None:
    assert check_offsets("t", LIVE, until, "") == until


@pytest.mark.parametrize(
    "until, sentence, moved",
    [
        (
            {0: 9, 1: 5},
            r"Partition 0 of t: offsets 9 to 9 \(1 records at the most\)",
            {0: 10, 1: 5},
        ),
        ({1: 51}, r"Kafka ends at offset 50 but the table has landed up to 51", {1: 50}),
    ],
)
def test_offsets_that_are_gone_stop_the_job_until_accepted(
    until: dict[int, int], sentence: str, moved: dict[int, int]
) -> None:
    with pytest.raises(LossError, match=sentence):
        check_offsets("t", LIVE, until, "old")
    assert check_offsets("t", LIVE, until, "new") == moved


def test_a_partition_that_is_gone_is_another_topic_and_cannot_be_accepted() -> None:
    with pytest.raises(LossError, match="Partition 7 of t is gone"):
        check_offsets("t", LIVE, {7: 1}, "new")


def test_a_quarantine_that_lags_behind_its_table_loses_nothing() -> None:
    # Kafka has dropped offset 3 long ago, but the rows' mark covers it.
    at = {0: 60}
    assert check_quarantine_offsets("t", LIVE, at, at, {0: 3}, "") == {0: 3}
    assert check_quarantine_offsets("t", LIVE, at, at, {}, "") == {}
    with pytest.raises(LossError, match="Kafka ends at offset 100"):
        check_quarantine_offsets("t", LIVE, at, at, {0: 101, 1: 4}, "")
    moved = check_quarantine_offsets("t", LIVE, at, at, {0: 101, 1: 4}, "new")
    assert moved == {0: 100, 1: 4}


def test_a_quarantine_moves_back_with_the_offsets_of_its_table() -> None:
    # Kafka lost its tail: offsets from 100 on will be those of other records.
    until, moved = {0: 120}, {0: 100}
    assert check_quarantine_offsets("t", LIVE, until, moved, {0: 120}, "new") == {0: 100}
    assert check_quarantine_offsets("t", LIVE, until, moved, {0: 110}, "new") == {0: 100}
    assert check_quarantine_offsets("t", LIVE, until, moved, {0: 40}, "new") == {0: 40}


def test_every_loss_is_said_at_once() -> None:
    with pytest.raises(LossError, match=r"Partition 0 of t: .* Partition 1 of t: "):
        check_offsets("t", LIVE, {0: 9, 1: 51}, "")


def test_rows_without_a_mark_are_never_read_again_from_the_beginning() -> None:
    check_rows_have_mark("retail_db.t", None, 0)
    with pytest.raises(LossError, match="holds 7 rows, but none of its snapshots carries a mark"):
        check_rows_have_mark("retail_db.t", None, 7)


def test_every_partition_is_named_and_a_new_one_starts_at_its_first_record() -> None:
    assert starting_offsets(LIVE, {0: 42}) == {0: 42, 1: EARLIEST}
