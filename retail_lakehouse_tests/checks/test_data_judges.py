"""Verdicts on new data: a finding stays failed until it is let go; what is unread is said."""

from dataclasses import replace

import pytest

from retail_lakehouse.alerts.incidents import is_judged
from retail_lakehouse.checks.data_judges import judge_new_data
from retail_lakehouse.contracts.service_levels import HOLDING, Measure
from retail_lakehouse.tables.evaluated import Evaluated
from retail_lakehouse.warehouse.holds import Finding

TABLE = "inventory_events"
SEEN = Evaluated(uuid="u", snapshot_id=7, at_ms=1, rows_new=500, rows_read=200)


def finding(number: int = 1) -> Finding:
    return Finding.of(TABLE, Measure.UNIQUE_BY_KEY, number, f"Copies in {number}.", 1)


def test_a_finding_fails_with_what_is_held_and_how_to_let_it_go() -> None:
    verdict = judge_new_data(TABLE, Measure.UNIQUE_BY_KEY, SEEN, [finding(1), finding(2)])
    assert not verdict.passed
    assert not verdict.warn_only
    assert verdict.sentence.startswith("Copies in 1. There are 2 such findings. Held are mv_")
    assert "`retail-lakehouse views release inventory_events`" in verdict.sentence
    assert verdict.figures["finding"] == finding(1).code


@pytest.mark.parametrize("measure", HOLDING)
def test_a_passing_verdict_says_how_much_was_read(measure: Measure) -> None:
    verdict = judge_new_data(TABLE, measure, SEEN, [])
    assert verdict.passed
    if measure is not Measure.OFFSETS_CONTIGUOUS:
        assert "200 of the 500 rows that came last were read" in verdict.sentence
        assert verdict.figures == {"rows_new": 500, "rows_read": 200}


def test_commits_that_expired_before_anybody_looked_are_said() -> None:
    unseen = replace(SEEN, unseen_commits=True)
    verdict = judge_new_data(TABLE, Measure.OFFSETS_CONTIGUOUS, unseen, [])
    assert verdict.passed
    assert "had expired before anybody looked" in verdict.sentence


def test_what_cannot_be_seen_fails_and_rows_that_cannot_be_read_leave_the_marks_alone() -> None:
    assert not judge_new_data(TABLE, Measure.OFFSETS_CONTIGUOUS, "No catalog.", []).passed
    unread = replace(SEEN, fault="A file is gone.")
    assert judge_new_data(TABLE, Measure.OFFSETS_CONTIGUOUS, unread, []).passed
    unjudged = judge_new_data(TABLE, Measure.UNIQUE_BY_KEY, unread, [])
    assert not unjudged.passed
    assert is_judged(unjudged.figures) is False
    assert is_judged(judge_new_data(TABLE, Measure.VOLUME, "No catalog.", []).figures) is False


def test_an_empty_table_has_nothing_wrong() -> None:
    empty = Evaluated(uuid="u", snapshot_id=None, at_ms=1)
    assert judge_new_data(TABLE, Measure.UNIQUE_BY_KEY, empty, []).sentence == "Nothing has landed."
