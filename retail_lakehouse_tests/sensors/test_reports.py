"""Rules of what a tick says: edges in the log, and one sentence in the list of ticks."""

import logging

import dagster as dg
import pytest

from retail_lakehouse.checks.judged import JudgedCheck
from retail_lakehouse.checks.judges import Verdict
from retail_lakehouse.sensors.edges import (
    FAILING_HEARTBEAT_SECONDS,
    HEARTBEAT_SECONDS,
    Memory,
)
from retail_lakehouse.sensors.reports import check_events, report_every_seconds, tick_sentence
from retail_lakehouse.settings import Settings

KEY = dg.AssetCheckKey(dg.AssetKey(["jobs", "inventory"]), "healthy")
FAILED = JudgedCheck(KEY, Verdict(False, "It is stalled."))
PASSED = JudgedCheck(KEY, Verdict(True, "It commits."))


def test_edges_are_logged_as_new_or_recovered_and_heartbeats_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory, later = Memory(), HEARTBEAT_SECONDS * 1000
    with caplog.at_level(logging.INFO):
        assert check_events([PASSED], memory, 0) == [PASSED.evaluation()]
        assert check_events([PASSED], memory, 1) == []
        assert check_events([PASSED], memory, later) == [PASSED.evaluation()]
        assert caplog.messages == []
        assert check_events([FAILED], memory, later + 1) == [FAILED.evaluation()]
        assert check_events([PASSED], memory, later + 2) == [PASSED.evaluation()]
    assert caplog.messages == [
        "new failure: jobs/inventory:healthy. It is stalled.",
        "recovered: jobs/inventory:healthy. It commits.",
    ]


def test_what_fails_is_told_anew_more_often_with_the_figures_of_its_moment() -> None:
    memory, later = Memory(), FAILING_HEARTBEAT_SECONDS * 1000
    worse = JudgedCheck(KEY, Verdict(False, "It is stalled for longer."))
    check_events([FAILED], memory, 0)
    assert check_events([worse], memory, later - 1) == []
    assert check_events([worse], memory, later) == [worse.evaluation()]
    assert later < HEARTBEAT_SECONDS * 1000


def test_a_tick_says_what_it_reported_and_the_first_that_fails() -> None:
    assert tick_sentence(0, [PASSED, PASSED]) == "Nothing new; all 2 checks pass."
    assert tick_sentence(3, [PASSED]) == "3 events reported; all 1 checks pass."
    told = tick_sentence(0, [PASSED, FAILED, PASSED])
    assert told == "Nothing new; 1 of 3 checks fail, the first: It is stalled."


def test_a_warning_that_becomes_an_outage_is_news_though_it_had_failed_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory, warned = Memory(), JudgedCheck(KEY, Verdict(False, "It is slow.", warn_only=True))
    check_events([warned], memory, 0)
    assert check_events([warned], memory, 1) == []
    with caplog.at_level(logging.INFO):
        assert check_events([FAILED], memory, 2) == [FAILED.evaluation()]
    assert caplog.messages == ["new failure: jobs/inventory:healthy. It is stalled."]


def test_the_tick_that_is_meant_reports_though_it_comes_a_moment_early() -> None:
    assert report_every_seconds(Settings.load({"report_interval_seconds": 60}), 15) == 52.5
    assert report_every_seconds(Settings.load({"report_interval_seconds": 0}), 15) == 0.0
