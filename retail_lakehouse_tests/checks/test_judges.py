from dataclasses import replace
from typing import Any

import pytest

from retail_lakehouse.assets.stream import StreamLook, TableLook
from retail_lakehouse.assets.topic_look import TopicLook
from retail_lakehouse.checks import measures
from retail_lakehouse.checks.judges import (
    judge_ingest_lag,
    judge_job,
    judge_quarantine_share,
    judge_topic,
)
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.contracts.service_levels import Measure, ServiceLevels, level_of
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.resources.job_runs import JobRun, JobState
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.landing import read_since_ms
from retail_lakehouse.tables.marks import MarkedSnapshot

AT = 1_800_000_000_000
LEVELS = ServiceLevels(
    ingest_lag_seconds=120, serving_lag_seconds=600, quarantine_share=0.05, stalled_after_triggers=3
)
LAG = level_of("inventory_events", Measure.INGEST_LAG)
SHARE = level_of("inventory_events_quarantine", Measure.QUARANTINE_SHARE)
SETTINGS = Settings.load({"trigger_seconds": 10.0})


def mark(*, newest_ms: int, batch: Counts | None = None, total: Counts | None = None) -> Mark:
    times = TimeRange(newest_ms - 1000, newest_ms)
    return Mark(
        kind=MarkKind.STREAM,
        cluster_id="c",
        topic=INVENTORY.topic,
        topic_id="t",
        ranges={},
        until={0: 100},
        event_time=times,
        broker_time=times,
        batch=batch or Counts(),
        total=total or Counts(),
        batch_started_ms=newest_ms,
        previous_commit_ms=None,
        contract_version=1,
        run_id="r",
        engine="spark",
    )


def snapshot(committed_ago: float, its_mark: Mark) -> MarkedSnapshot:
    committed_ms = AT - int(committed_ago * 1000)
    return MarkedSnapshot(1, None, committed_ms, "append", 1, 1, its_mark)


def stream(
    *,
    end: int = 100,
    committed_ago: float = 5.0,
    batch_seconds: float = 1.0,
    started_ago: float = 1000.0,
    state: JobState = JobState.RUNNING,
) -> StreamLook:
    last_mark = mark(newest_ms=AT - int((committed_ago + batch_seconds) * 1000))
    last = snapshot(committed_ago, last_mark)
    run = JobRun("inventory", state, "It is so.", AT - int(started_ago * 1000), "7")
    topic = TopicLook(INVENTORY, AT, "t", {0: 0}, {0: end}, {0: 100})
    return StreamLook(
        AT,
        {"inventory": topic},
        {"inventory": run},
        {"inventory": TableLook(last, last, {0: last_mark.broker_time.oldest_ms or 0})},
    )


@pytest.mark.parametrize("state", [s for s in JobState if s is not JobState.RUNNING])
def test_a_job_that_does_not_run_fails_with_its_own_sentence(state: JobState) -> None:
    verdict = judge_job(stream(state=state), "inventory", SETTINGS, LEVELS, {})
    assert not verdict.passed
    assert verdict.sentence == "It is so."


def test_a_job_that_is_silent_while_records_wait_is_stalled_after_three_triggers() -> None:
    assert judge_job(stream(end=150, committed_ago=29), "inventory", SETTINGS, LEVELS, {}).passed
    verdict = judge_job(stream(end=150, committed_ago=31), "inventory", SETTINGS, LEVELS, {})
    assert not verdict.passed
    assert "stalled: 50 records wait" in verdict.sentence


def test_a_job_with_nothing_to_do_is_not_stalled() -> None:
    assert judge_job(stream(end=100, committed_ago=9_999), "inventory", SETTINGS, LEVELS, {}).passed


def test_the_first_record_after_a_quiet_night_finds_no_job_that_slept() -> None:
    morning = stream(end=101, committed_ago=30_000, started_ago=40_000)
    assert not judge_job(morning, "inventory", SETTINGS, LEVELS, {}).passed
    verdict = judge_job(morning, "inventory", SETTINGS, LEVELS, {0: AT - 15_000})
    assert verdict.passed
    assert "1 wait" in verdict.sentence
    late = judge_job(morning, "inventory", SETTINGS, LEVELS, {0: AT - 31_000})
    assert "nothing was committed for 31 s" in late.sentence


def test_a_job_whose_batches_are_longer_than_its_trigger_is_given_their_time() -> None:
    slow = stream(end=150, committed_ago=80, batch_seconds=30)
    assert judge_job(slow, "inventory", SETTINGS, LEVELS, {}).passed


@pytest.mark.parametrize("batch_seconds, passed", [(42, True), (43, False)])
def test_a_batch_of_which_no_two_fit_into_the_ingest_lag_with_room_is_a_warning(
    batch_seconds: float, passed: bool
) -> None:
    slow = stream(end=150, committed_ago=1, batch_seconds=batch_seconds)
    verdict = judge_job(slow, "inventory", SETTINGS, LEVELS, {})
    assert verdict.passed is passed
    assert verdict.warn_only is not passed
    assert verdict.figures["batch_seconds"] == batch_seconds
    assert passed or "took 43 s, over the 42 s" in verdict.sentence


@pytest.mark.parametrize("started_ago, passed", [(20, True), (119, True), (121, False)])
def test_a_job_that_has_just_started_has_as_long_as_a_record_may_take_to_land(
    started_ago: float, passed: bool
) -> None:
    fresh = stream(end=150, committed_ago=9_999, started_ago=started_ago)
    assert judge_job(fresh, "inventory", SETTINGS, LEVELS, {}).passed is passed


def test_a_job_whose_topic_cannot_be_read_is_not_called_healthy() -> None:
    blind = replace(stream(), topics={"inventory": "Kafka did not answer."})
    verdict = judge_job(blind, "inventory", SETTINGS, LEVELS, {})
    assert not verdict.passed
    assert "Kafka did not answer." in verdict.sentence


def test_lag_is_data_time_and_zero_when_everything_has_landed() -> None:
    quiet = judge_ingest_lag(stream(end=100, committed_ago=9_999), INVENTORY, LAG, {})
    assert quiet.passed
    assert quiet.figures["ingest_lag_seconds"] == 0.0

    late = judge_ingest_lag(stream(end=101, committed_ago=200), INVENTORY, LAG, {})
    assert not late.passed
    assert late.figures["ingest_lag_seconds"] == pytest.approx(202.0)


def test_the_first_record_after_a_quiet_night_is_not_a_night_old() -> None:
    morning = stream(end=101, committed_ago=30_000)
    assert not judge_ingest_lag(morning, INVENTORY, LAG, {}).passed
    assert judge_ingest_lag(morning, INVENTORY, LAG, {0: AT - 15_000}).passed


def test_a_job_is_not_called_stalled_by_the_first_record_after_a_quiet_night() -> None:
    morning = stream(end=150, committed_ago=30_000, started_ago=90_000)
    assert not judge_job(morning, "inventory", SETTINGS, LEVELS, {}).passed
    assert judge_job(morning, "inventory", SETTINGS, LEVELS, {0: AT - 15_000}).passed
    assert not judge_job(morning, "inventory", SETTINGS, LEVELS, {0: AT - 31_000}).passed


def _partitioned(read_ago: dict[int, float], waiting: dict[int, int]) -> StreamLook:
    """Partitions that were read up to offset 100 by batches of `read_ago` seconds ago."""
    marks = [
        replace(
            mark(newest_ms=AT - int(ago * 1000)),
            ranges={partition: (90, 100)},
            until=dict.fromkeys(waiting, 100),
        )
        for partition, ago in sorted(read_ago.items(), key=lambda each: each[1])
    ]
    last = snapshot(min(read_ago.values()), marks[0])
    end = {partition: 100 + records for partition, records in waiting.items()}
    seen = TopicLook(INVENTORY, AT, "t", dict.fromkeys(end, 0), end, dict.fromkeys(end, 100))
    table = TableLook(last, last, read_since_ms(marks))
    return replace(stream(), topics={"inventory": seen}, tables={"inventory": table})


def test_a_partition_that_lags_is_not_hidden_by_two_that_advance() -> None:
    look = _partitioned({0: 5, 1: 5, 2: 400}, {0: 3, 1: 3, 2: 50})
    verdict = judge_ingest_lag(look, INVENTORY, LAG, {})
    assert not verdict.passed
    assert verdict.figures["oldest_in_partition"] == 2
    assert verdict.figures["ingest_lag_seconds"] == pytest.approx(401.0)


def test_a_partition_that_was_quiet_for_long_does_not_lag_by_its_first_record() -> None:
    look = _partitioned({0: 5, 1: 5, 2: 400}, {0: 3, 1: 3, 2: 1})
    assert judge_ingest_lag(look, INVENTORY, LAG, {2: AT - 20_000}).passed


def test_a_partition_that_no_retained_mark_advanced_waits_since_the_oldest() -> None:
    look = _partitioned({0: 5, 1: 200}, {0: 3, 1: 0, 2: 9})
    verdict = judge_ingest_lag(look, INVENTORY, LAG, {})
    assert not verdict.passed
    assert verdict.figures["oldest_in_partition"] == 2


def test_a_mark_of_another_topic_id_covers_nothing() -> None:
    from retail_lakehouse.assets.topic_look import look
    from retail_lakehouse.kafka.admin import PartitionOffsets, TopicDescription

    made_anew = TopicDescription(INVENTORY.topic, "other", (PartitionOffsets(0, 40, 90),))
    assert look(INVENTORY, made_anew, mark(newest_ms=AT), AT).backlog == 50


def test_too_few_partitions_fail_the_topic() -> None:
    seen = TopicLook(INVENTORY, AT, "t", {0: 0}, {0: 5}, None)
    verdict = judge_topic(seen, TOPICS[0], SETTINGS)
    assert not verdict.passed
    assert "has 1 partitions and 3 are wanted" in verdict.sentence


@pytest.mark.parametrize("bad, passed", [(50, True), (51, False)])
def test_quarantine_share_is_that_of_the_window_and_not_since_ever(bad: int, passed: bool) -> None:
    # Before the window everything was bad; within it 1,000 records are read, `bad` of them bad.
    before = Counts(read=10_000, quarantined=10_000)
    first_batch = Counts(read=400, quarantined=bad, landed=400 - bad)
    second_batch = Counts(read=600, landed=600)
    first = snapshot(
        1_800, mark(newest_ms=AT - 1_900_000, batch=first_batch, total=before + first_batch)
    )
    last = snapshot(
        5,
        mark(newest_ms=AT - 6_000, batch=second_batch, total=before + first_batch + second_batch),
    )
    verdict = judge_quarantine_share(TableLook(first, last), SHARE)
    assert verdict.passed is passed
    assert verdict.figures["read"] == 1_000
    assert verdict.figures["quarantined"] == bad
    # The window begins with the oldest mark's own batch, as its records do.
    assert verdict.figures["window_minutes"] == pytest.approx(31.6)


def test_an_hour_in_which_nothing_was_read_has_no_share() -> None:
    never = judge_quarantine_share(TableLook(None, None), SHARE)
    assert (never.passed, never.sentence) == (True, "Nothing was read yet.")
    half = Counts(read=10, quarantined=5, landed=5)
    last = snapshot(3_700, mark(newest_ms=AT - 3_701_000, batch=half, total=half))
    quiet = judge_quarantine_share(TableLook(None, last), SHARE)
    assert (quiet.passed, quiet.sentence) == (True, "Nothing was read in the last hour.")


def test_a_share_names_the_reasons_that_most_have() -> None:
    batch = Counts(read=400, quarantined=100, landed=300)
    only = snapshot(5, mark(newest_ms=AT - 6_000, batch=batch, total=batch))
    told = {"json": 60, "type": 30, "time": 9, "range": 1}
    verdict = judge_quarantine_share(TableLook(only, only), SHARE, reasons=told)
    assert "are quarantined, most for json (60), type (30), time (9)" in verdict.sentence
    assert verdict.figures["reason_json"] == 60
    assert "reason_range" not in verdict.figures


def test_what_waits_is_as_old_as_the_broker_says_and_not_as_the_marks_allow() -> None:
    look = stream(end=150, committed_ago=200)
    topic = look.topics["inventory"]
    assert isinstance(topic, TopicLook)
    told = replace(look, topics={"inventory": replace(topic, oldest_waiting_ms={0: AT - 40_000})})
    verdict = judge_ingest_lag(told, INVENTORY, LAG, {})
    assert verdict.passed
    assert verdict.sentence == "50 records wait, the oldest for 40 s."
    assert verdict.figures["ingest_lag_seconds"] == 40.0
    assert "202 s at most" in judge_ingest_lag(look, INVENTORY, LAG, {}).sentence


def test_of_several_partitions_the_one_counts_whose_record_waits_longest() -> None:
    look = _partitioned({0: 5, 1: 5, 2: 400}, {0: 3, 1: 0, 2: 50})
    topic = look.topics["inventory"]
    assert isinstance(topic, TopicLook)
    arrived = {0: AT - 4_000, 2: AT - 130_000}
    told = replace(look, topics={"inventory": replace(topic, oldest_waiting_ms=arrived)})
    verdict = judge_ingest_lag(told, INVENTORY, LAG, {})
    assert not verdict.passed
    assert verdict.figures["oldest_in_partition"] == 2
    assert verdict.figures["ingest_lag_seconds"] == 130.0
    # Of one partition nobody told: what all of them allow is the bound.
    partly = replace(told, topics={"inventory": replace(topic, oldest_waiting_ms={0: AT})})
    assert "at most" in judge_ingest_lag(partly, INVENTORY, LAG, {}).sentence


def _run(look: StreamLook, **changes: Any) -> StreamLook:
    run = replace(look.jobs["inventory"], **changes)
    return replace(look, jobs={"inventory": run})


@pytest.mark.parametrize("awaited_ago, passed", [(30, True), (900, True), (901, False)])
def test_a_run_that_is_on_its_way_has_its_time_for_that(awaited_ago: int, passed: bool) -> None:
    coming = _run(
        stream(end=150, state=JobState.STARTING), awaited_since_ms=AT - awaited_ago * 1000
    )
    verdict = judge_job(coming, "inventory", SETTINGS, LEVELS, {})
    assert (verdict.passed, verdict.sentence) == (passed, "It is so.")


@pytest.mark.parametrize("end", [100, 150])
def test_a_job_that_waits_for_a_lease_is_named_so_whether_records_wait_or_not(end: int) -> None:
    aside = _run(stream(end=end, committed_ago=9_999), yielded_at_ms=AT - 1_000)
    verdict = judge_job(aside, "inventory", SETTINGS, LEVELS, {})
    assert verdict.passed
    assert verdict.figures["state"] == "standing aside"
    assert "stands aside while a replay" in verdict.sentence


@pytest.mark.parametrize(
    "yielded_ago, started_ago, state, aside",
    [
        (1, 1_000, JobState.RUNNING, True),
        (10, 1_000, JobState.RUNNING, True),
        (11, 1_000, JobState.RUNNING, False),
        # It was the run before that stood aside.
        (5, 3, JobState.RUNNING, False),
        (1, 1_000, JobState.FAILED, False),
    ],
)
def test_a_job_stands_aside_for_as_long_as_it_says_so(
    yielded_ago: int, started_ago: float, state: JobState, aside: bool
) -> None:
    look = _run(stream(started_ago=started_ago, state=state), yielded_at_ms=AT - yielded_ago * 1000)
    assert measures.stands_aside(look.jobs["inventory"], AT) is aside


@pytest.mark.parametrize("arrived_ago, passed", [(3, True), (30, True), (31, False)])
def test_no_job_is_stalled_for_longer_than_there_was_something_to_commit(
    arrived_ago: int, passed: bool
) -> None:
    # Nothing waited at the look before, which was longer ago than three triggers.
    look = stream(end=101, committed_ago=9_999, started_ago=20_000)
    topic = look.topics["inventory"]
    assert isinstance(topic, TopicLook)
    told = replace(topic, oldest_waiting_ms={0: AT - arrived_ago * 1000})
    verdict = judge_job(
        replace(look, topics={"inventory": told}),
        "inventory",
        SETTINGS,
        LEVELS,
        {0: AT - 60_000},
    )
    assert verdict.passed is passed


def test_a_partition_that_has_just_got_its_first_record_hides_no_stall_in_another() -> None:
    look = _partitioned({0: 900, 1: 900}, {0: 3, 1: 3})
    drained = {0: AT - 400_000, 1: AT - 5_000}
    verdict = judge_job(look, "inventory", SETTINGS, LEVELS, drained)
    assert not verdict.passed
    assert verdict.figures["quiet_seconds"] == 400.0
