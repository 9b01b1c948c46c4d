"""Rules of the verdicts at their limits: what is promised is kept at the limit itself."""

from dataclasses import replace

import pytest

from retail_lakehouse.assets.stream import TableLook
from retail_lakehouse.assets.topic_look import TopicLook
from retail_lakehouse.checks.judges import (
    judge_ingest_lag,
    judge_job,
    judge_quarantine_share,
    judge_topic,
)
from retail_lakehouse.checks.view_judges import judge_serving_lag
from retail_lakehouse.contracts.alerting import NOT_JUDGED
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.resources.job_runs import JobRun, JobState
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.checks import test_view_judges as views
from retail_lakehouse_tests.checks.test_judges import (
    AT,
    LAG,
    LEVELS,
    SETTINGS,
    SHARE,
    mark,
    snapshot,
    stream,
)


@pytest.mark.parametrize("present, passed", [(2, False), (3, True), (4, True)])
def test_a_topic_passes_with_the_partitions_of_its_contract_or_more(
    present: int, passed: bool
) -> None:
    offsets = dict.fromkeys(range(present), 0)
    seen = TopicLook(INVENTORY, AT, "t", offsets, offsets, None)
    assert judge_topic(seen, TOPICS[0], SETTINGS).passed is passed


def test_a_job_is_not_stalled_at_the_last_moment_of_its_patience() -> None:
    assert judge_job(stream(end=150, committed_ago=30), "inventory", SETTINGS, LEVELS, {}).passed
    late = judge_job(stream(end=150, committed_ago=30.1), "inventory", SETTINGS, LEVELS, {})
    assert not late.passed


def test_one_record_that_waits_is_enough_to_be_stalled() -> None:
    assert not judge_job(
        stream(end=101, committed_ago=31), "inventory", SETTINGS, LEVELS, {}
    ).passed


@pytest.mark.parametrize("started_ago, passed", [(179, True), (181, False)])
def test_a_job_that_has_just_started_has_three_of_its_triggers_where_those_are_longer(
    started_ago: float, passed: bool
) -> None:
    slow = Settings.load({"trigger_seconds": 60.0})
    look = stream(end=150, committed_ago=9_999, started_ago=started_ago)
    assert judge_job(look, "inventory", slow, LEVELS, {}).passed is passed


def test_a_job_that_has_yet_to_commit_is_not_said_to_commit() -> None:
    fresh = judge_job(
        stream(end=150, committed_ago=9_999, started_ago=20), "inventory", SETTINGS, LEVELS, {}
    )
    assert "has yet to commit its first batch" in fresh.sentence
    assert fresh.figures["last_commit_age_seconds"] == 9_999.0
    busy = judge_job(stream(end=150, committed_ago=5), "inventory", SETTINGS, LEVELS, {})
    assert busy.sentence == "The inventory job runs and commits; 50 wait."


def test_a_job_of_which_neither_start_nor_commit_is_known_is_not_called_stalled() -> None:
    run = JobRun("inventory", JobState.RUNNING, "It runs.", None, "7")
    look = replace(
        stream(end=150), jobs={"inventory": run}, tables={"inventory": TableLook(None, None)}
    )
    verdict = judge_job(look, "inventory", SETTINGS, LEVELS, {})
    assert (verdict.passed, verdict.sentence) == (True, "The inventory job runs; 50 records wait.")


def test_a_table_that_cannot_be_read_fails_every_verdict_that_needs_it() -> None:
    blind = replace(stream(), tables={"inventory": "There is no catalog."})
    for verdict in (
        judge_job(blind, "inventory", SETTINGS, LEVELS, {}),
        judge_ingest_lag(blind, INVENTORY, LAG, {}),
        judge_quarantine_share("There is no catalog.", SHARE),
    ):
        assert not verdict.passed
        assert "There is no catalog." in verdict.sentence


def test_what_nobody_could_look_at_is_told_as_not_judged() -> None:
    blind = replace(stream(), tables={"inventory": "There is no catalog."})
    deaf = replace(stream(), topics={"inventory": "Kafka did not answer."})
    for verdict in (
        judge_ingest_lag(blind, INVENTORY, LAG, {}),
        judge_ingest_lag(deaf, INVENTORY, LAG, {}),
        judge_quarantine_share("There is no catalog.", SHARE),
    ):
        assert verdict.figures == NOT_JUDGED


def test_what_waits_in_a_topic_that_cannot_be_read_is_not_called_landed() -> None:
    blind = replace(stream(), topics={"inventory": "Kafka did not answer."})
    verdict = judge_ingest_lag(blind, INVENTORY, LAG, {})
    assert not verdict.passed
    assert "Kafka did not answer." in verdict.sentence


@pytest.mark.parametrize("ago, passed", [(120.0, True), (120.1, False)])
def test_a_lag_of_what_is_promised_is_kept(ago: float, passed: bool) -> None:
    drained = {0: AT - int(ago * 1000)}
    look = stream(end=101, committed_ago=9_999)
    assert judge_ingest_lag(look, INVENTORY, LAG, drained).passed is passed


@pytest.mark.parametrize("ago, passed", [(600.0, True), (600.1, False)])
def test_a_view_may_wait_as_long_as_is_promised(ago: float, passed: bool) -> None:
    seen = views.bases((8, ago), (7, 5_000))
    verdict = judge_serving_lag(views.VIEW, views.record(7), seen, None, views.AT, views.LEVEL)
    assert verdict.passed is passed


def test_a_quarantine_that_cannot_be_read_fails_whatever_its_share() -> None:
    look = snapshot(5, mark(newest_ms=AT))
    verdict = judge_quarantine_share(TableLook(look, look), SHARE, "It cannot be loaded.")
    assert (verdict.passed, verdict.sentence) == (False, "It cannot be loaded.")


def test_the_marks_of_a_topic_that_was_made_anew_do_not_say_that_it_was_read() -> None:
    look = stream(committed_ago=5)
    anew = TopicLook(INVENTORY, AT, "other", {0: 0}, {0: 9}, None)
    verdict = judge_ingest_lag(
        replace(look, topics={"inventory": anew}), INVENTORY, LAG, drained_at_ms={}
    )
    assert not verdict.passed
    assert "none has ever landed" in verdict.sentence


def test_a_partition_that_was_drained_before_any_retained_mark_waits_since_then() -> None:
    seen = TopicLook(INVENTORY, AT, "t", {0: 0, 1: 0}, {0: 100, 1: 105}, {0: 100, 1: 100})
    look = replace(stream(committed_ago=5), topics={"inventory": seen})
    verdict = judge_ingest_lag(look, INVENTORY, LAG, {1: AT - 900_000})
    assert not verdict.passed
    assert verdict.figures["oldest_in_partition"] == 1
    assert verdict.figures["ingest_lag_seconds"] == pytest.approx(900.0)


def test_an_empty_partition_of_which_nothing_is_known_does_not_hide_the_others_lag() -> None:
    seen = TopicLook(INVENTORY, AT, "t", {0: 0, 1: 0}, {0: 4, 1: 0}, None)
    look = replace(
        stream(), topics={"inventory": seen}, tables={"inventory": TableLook(None, None)}
    )
    verdict = judge_ingest_lag(look, INVENTORY, LAG, {0: AT - 7_000})
    assert verdict.passed
    assert verdict.figures["ingest_lag_seconds"] == pytest.approx(7.0)


@pytest.mark.parametrize("started_ago, passed", [(119, True), (121, False)])
def test_a_job_that_never_committed_is_as_quiet_as_it_runs_long(
    started_ago: float, passed: bool
) -> None:
    look = replace(
        stream(end=150, started_ago=started_ago), tables={"inventory": TableLook(None, None)}
    )
    assert judge_job(look, "inventory", SETTINGS, LEVELS, {}).passed is passed


def test_an_hour_in_which_nothing_was_read_has_no_bad_share() -> None:
    look = snapshot(5, mark(newest_ms=AT))
    verdict = judge_quarantine_share(TableLook(look, look), SHARE)
    assert verdict.passed
    assert verdict.figures["quarantine_share"] == 0.0
