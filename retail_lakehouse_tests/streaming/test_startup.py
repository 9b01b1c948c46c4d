"""Rules of the start: which losses stop a job, and what accepting one means."""

import logging
from dataclasses import replace

import pytest

from retail_lakehouse.contracts.mark import Mark, MarkKind
from retail_lakehouse.streaming.kafka import EARLIEST, TopicFacts
from retail_lakehouse.streaming.startup import (
    Acceptance,
    LossError,
    check_offsets,
    check_quarantine_offsets,
    check_rows_have_mark,
    check_topic,
    has_begun,
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


CODE = "0123456789ab"
REFUSED = Acceptance(CODE, frozenset({""}))
GRANTED = Acceptance(CODE, frozenset({"ba9876543210", CODE}))


def mark(topic_id: str | None) -> Mark | None:
    return None if topic_id is None else replace(example_mark(), topic_id=topic_id)


@pytest.mark.parametrize(
    "rows, quarantine",
    [(None, None), ("new", None), ("new", "new"), (None, "new"), ("new", "old")],
)
def test_the_known_topic_is_let_in(
    rows: str | None, quarantine: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    check_topic("t", LIVE, mark(rows), mark(quarantine), REFUSED)
    assert caplog.text == ""


@pytest.mark.parametrize("rows, quarantine", [("old", None), ("old", GRANTED), (None, "old")])
def test_a_topic_made_again_is_refused_until_that_is_accepted(
    rows: str | None, quarantine: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        LossError,
        match=rf"made again.*landed 14 offsets.*--set accept_loss={CODE}`.*--accept_loss {CODE}",
    ):
        check_topic("t", LIVE, mark(rows), mark(quarantine), REFUSED)
    with caplog.at_level(logging.WARNING):
        check_topic("t", LIVE, mark(rows), mark(quarantine), GRANTED)
    assert "This was accepted" in caplog.text


def test_a_producers_clock_is_refused_whatever_is_accepted() -> None:
    live = replace(LIVE, timestamp_type="CreateTime")
    with pytest.raises(LossError, match="would hang on its producer's clock"):
        check_topic("t", live, None, None, GRANTED)


@pytest.mark.parametrize("until", [{}, {0: 10}, {0: 100, 1: 50}, {1: 0}])
def test_offsets_that_kafka_still_has_are_gone_on_from(until: dict[int, int]) -> None:
    assert check_offsets("t", LIVE, until, REFUSED) == until


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
        check_offsets("t", LIVE, until, REFUSED)
    assert check_offsets("t", LIVE, until, GRANTED) == moved


def test_a_partition_that_is_gone_is_another_topic_and_cannot_be_accepted() -> None:
    with pytest.raises(LossError, match="Partition 7 of t is gone"):
        check_offsets("t", LIVE, {7: 1}, GRANTED)


def test_a_quarantine_that_lags_behind_its_table_loses_nothing() -> None:
    # Kafka has dropped offset 3 long ago, but the rows' mark covers it.
    at = {0: 60}
    assert check_quarantine_offsets("t", LIVE, at, at, {0: 3}, REFUSED) == {0: 3}
    assert check_quarantine_offsets("t", LIVE, at, at, {}, REFUSED) == {}
    with pytest.raises(LossError, match="Kafka ends at offset 100"):
        check_quarantine_offsets("t", LIVE, at, at, {0: 101, 1: 4}, REFUSED)
    moved = check_quarantine_offsets("t", LIVE, at, at, {0: 101, 1: 4}, GRANTED)
    assert moved == {0: 100, 1: 4}


def test_a_quarantine_moves_back_with_the_offsets_of_its_table() -> None:
    # Kafka lost its tail: offsets from 100 on will be those of other records.
    until, moved = {0: 120}, {0: 100}
    assert check_quarantine_offsets("t", LIVE, until, moved, {0: 120}, GRANTED) == {0: 100}
    assert check_quarantine_offsets("t", LIVE, until, moved, {0: 110}, GRANTED) == {0: 100}
    assert check_quarantine_offsets("t", LIVE, until, moved, {0: 40}, GRANTED) == {0: 40}


def test_a_code_is_of_one_loss_of_one_topic_and_of_no_other() -> None:
    def code(topic: str, topic_id: str, *marks: Mark | None) -> str:
        return Acceptance.of(topic, topic_id, (marks[0], marks[1]), "").code

    rows, moved = mark("new"), replace(example_mark(), topic_id="new", until={0: 10, 1: 5})
    codes = [
        code("t", "new", rows, None),
        code("u", "new", rows, None),
        code("t", "newer", rows, None),
        code("t", "new", moved, None),
        code("t", "new", rows, moved),
        code("t", "new", None, rows),
        code("t", "new", mark("old"), None),
    ]
    assert len(set(codes)) == len(codes)
    assert code("t", "new", rows, None) == codes[0]


def test_the_codes_of_several_losses_are_given_with_commas() -> None:
    first = Acceptance.of("t", "new", (mark("old"), None), "")
    assert not first.granted
    told = f"ba9876543210, {first.code}"
    assert Acceptance.of("t", "new", (mark("old"), None), told).granted
    assert not Acceptance.of("u", "new", (mark("old"), None), told).granted


def test_what_retention_took_of_a_partition_that_the_marks_do_not_know_is_a_loss() -> None:
    live = replace(LIVE, earliest={0: 10, 1: 20})
    assert check_offsets("t", live, {}, REFUSED) == {}
    with pytest.raises(LossError, match=r"Partition 1 of t: offsets 0 to 19 "):
        check_offsets("t", live, {0: 10}, REFUSED, from_the_first=True)
    moved = check_offsets("t", live, {0: 10}, GRANTED, from_the_first=True)
    assert moved == {0: 10, 1: 20}
    assert check_offsets("t", LIVE, {0: 10}, REFUSED, from_the_first=True) == {0: 10}


def test_a_partition_is_owed_whole_only_once_the_table_has_taken_up_the_topic() -> None:
    taken_up = replace(example_mark(), topic_id="now")
    assert has_begun(taken_up, "now")
    assert has_begun(replace(taken_up, ranges={}), "now")
    # Killed inside the very first batch: the quarantine's mark may be all there is.
    assert not has_begun(None, "now")
    assert not has_begun(taken_up, "made again")
    backfill = replace(taken_up, kind=MarkKind.BACKFILL, ranges={}, until={})
    assert not has_begun(backfill, "now")
    assert has_begun(replace(backfill, until={0: 5}), "now")


def test_every_loss_is_said_at_once() -> None:
    with pytest.raises(LossError, match=r"Partition 0 of t: .* Partition 1 of t: "):
        check_offsets("t", LIVE, {0: 9, 1: 51}, REFUSED)


def test_rows_without_a_mark_are_never_read_again_from_the_beginning() -> None:
    check_rows_have_mark("retail_db.t", None, 0)
    with pytest.raises(LossError, match="holds 7 rows, but none of its snapshots carries a mark"):
        check_rows_have_mark("retail_db.t", None, 7)


def test_every_partition_is_named_and_a_new_one_starts_at_its_first_record() -> None:
    assert starting_offsets(LIVE, {0: 42}) == {0: 42, 1: EARLIEST}
