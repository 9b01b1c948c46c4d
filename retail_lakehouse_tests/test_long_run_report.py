"""Rules of the long run's report: when a fault counts as recovered from, when the run held, and
that no miss of an aim is hidden."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks
from benchmarks.long_run_page import markdown
from benchmarks.long_run_report import (
    LongRun,
    Parity,
    failures,
    from_json,
    in_recovery,
    recoveries,
    to_json,
)
from benchmarks.stack_faults import Inflicted
from benchmarks.stack_samples import Sample
from retail_lakehouse.local.recompute.captured import NotCaptured
from retail_lakehouse.local.recompute.history import ViewHistory
from retail_lakehouse.local.verify.report import Kinds

LIVE_AT = 1_795_410_000.0


def _sample(seconds: float, table: float | None, view: float | None = 5.0) -> Sample:
    return Sample(LIVE_AT + seconds, table, view, 300.0, 0, 0, 1.0, [])


def _run(samples: list[Sample], *faults: float) -> LongRun:
    run = LongRun(
        {"cores": 2, "processor": "x", "memory_gib": 8, "kernel": "k", "python": "3"},
        minutes=4,
        events_per_second=300,
        plain_views=["web_funnel", "pipeline_age"],
    )
    run.live_at = LIVE_AT
    run.samples = samples
    run.faults = [Inflicted("kill -9", LIVE_AT + at, "") for at in faults]
    run.parity = [Parity(LIVE_AT, 1.0, 5, [], "")]
    run.history = [ViewHistory("mv_web_sessions", 20, (4,), 19, 19, "", 1.0, has_end=True)]
    run.verify_lines, run.verify_ok, run.final_parity_ok = ["All 48 checks hold."], True, True
    return run


def test_ages_from_before_a_fault_are_no_recovery() -> None:
    ages = [(10, 5), (22, 12), (32, 22), (42, 32), (52, 8), (62, 9), (72, 7)]
    run = _run([_sample(at, age) for at, age in ages], 20)
    (recovery,) = recoveries(run)
    assert recovery.table_seconds == 32
    assert recovery.worst_table_age == 32
    assert in_recovery(run) == [False, True, True, True, False, False, False]
    assert run.held


def test_the_kinds_of_duplicates_that_a_run_has_seen_are_on_its_page() -> None:
    run = _run([_sample(at, 5.0) for at in range(10, 100, 10)])
    run.verify_lines = [str(Kinds("t", {"ON_TIME": 7, "DUPLICATE_RESTART": 2})), "All 1 hold."]
    page = markdown(run)
    assert "- `verify`: All 1 hold.\n  - t: kinds in the ledger: on_time 7, duplicate_res" in page
    run.verify_lines = ["All 1 hold."]
    assert "Which kinds of duplicates the topics had, it did not tell" in markdown(run)


def test_a_good_sample_between_bad_ones_is_no_recovery() -> None:
    ages = [(30, 5), (40, 5), (50, 40), (60, 5), (70, None), (80, 5), (90, 5), (100, 5)]
    (recovery,) = recoveries(_run([_sample(at, age) for at, age in ages], 20))
    assert recovery.table_seconds == 60


def test_a_fault_that_is_never_recovered_from_fails_the_run() -> None:
    run = _run([_sample(at, 100.0 + at) for at in range(30, 200, 10)], 20)
    assert recoveries(run)[0].table_seconds is None
    assert all(in_recovery(run))
    assert not run.held
    assert "**Not everything held: the tables never were good again after: kill -9.**" in markdown(
        run
    )
    assert "| never |" in markdown(run)


def test_a_view_that_never_recovers_fails_the_run_though_its_tables_did() -> None:
    run = _run([_sample(at, 5.0, 100.0 + at) for at in range(30, 200, 10)], 20)
    assert recoveries(run)[0].table_seconds is not None
    assert not run.held
    assert failures(run) == ["the views never were good again after: kill -9"]


def test_an_aim_that_one_calm_sample_missed_is_told_with_when_and_how_much() -> None:
    ages = {70: (30.0, 12.0), 100: (8.0, 66.6), 110: (8.0, 61.0), 130: (8.0, None)}
    run = _run([_sample(at, *ages.get(at, (5.0, 5.0))) for at in range(10, 400, 10)])
    page = markdown(run)
    assert "**Everything held.**\n\nAims, at each of the 39 samples" in page
    assert "- under 30 s at the table: **aim missed** at 1 of them: minute 1.2, 30 s.\n" in page
    told = "**aim missed** at 3 of them: minute 1.7 to 1.8, 67 s; minute 2.2, age unknown.\n"
    assert f"- under 60 s at the view: {told}" in page


def test_what_a_fault_does_to_the_ages_is_no_missed_aim() -> None:
    ages = [(10, 5), (22, 31), (32, 41), (42, 8), (52, 9), (62, 7)]
    page = markdown(_run([_sample(at, age) for at, age in ages], 15))
    assert "- under 30 s at the table: held.\n" in page
    assert "- under 60 s at the view: held.\n" in page


def test_the_page_tells_what_was_compared_after_every_refresh_and_what_was_not() -> None:
    page = markdown(_run([_sample(at, 5.0) for at in range(10, 100, 10)]))
    assert "The 1 materialized views after every refresh against the raw rows" in page
    assert "The 2 plain views on top (`web_funnel`, `pipeline_age`) are queries" in page
    assert "compared 1 times, 0 with a difference" in page


def test_the_page_can_be_written_anew_from_the_json() -> None:
    run = _run([_sample(at, 5.0, 5.55) for at in range(10, 100, 10)], 20)
    run.not_captured = [NotCaptured(7, ("mv_a",), "no answer")]
    run.live_after_seconds = 59.46
    again = from_json(json.loads(json.dumps(to_json(run))))
    assert again == run
    assert markdown(again) == markdown(run)


@pytest.mark.parametrize("name", ["long_run"])
def test_the_committed_page_is_what_its_json_gives(name: str) -> None:
    stem = Path(benchmarks.__file__).parent / "results" / name
    told = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    run = from_json(told)
    assert told["held"] == run.held
    assert stem.with_suffix(".md").read_text(encoding="utf-8") == markdown(run), (
        "Write it anew: python -m benchmarks.long_run_page benchmarks/results/long_run.json"
    )


def test_one_difference_of_a_view_or_one_process_left_fails_the_run() -> None:
    samples = [_sample(at, 5.0) for at in range(10, 100, 10)]
    assert _run(samples).held
    differs = _run(samples)
    differs.parity.append(Parity(LIVE_AT, 1.0, 5, ["stock_by_category: 1 missing"], ""))
    left = _run(samples)
    left.left_behind = ["17 java"]
    assert not differs.held
    assert not left.held


def test_one_digest_that_differs_or_none_at_all_fails_the_run() -> None:
    samples = [_sample(at, 5.0) for at in range(10, 100, 10)]
    held, differs, never = _run(samples), _run(samples), _run(samples)
    line = "refreshes: 20, digests: 19, equal: 19; refreshes without a digest: 1"
    assert line in markdown(held)
    differs.history = [replace(held.history[0], equal=18, difference="After refresh 6 it had 3.")]
    assert not differs.held
    assert "mv_web_sessions: After refresh 6 it had 3." in markdown(differs)
    never.history, never.history_error = [], "There are no digests."
    assert not never.held
    assert "not compared. There are no digests." in markdown(never)
    assert to_json(never)["history_error"] == "There are no digests."


def test_more_than_one_refresh_in_twenty_without_a_digest_fails_the_run() -> None:
    samples = [_sample(at, 5.0) for at in range(10, 100, 10)]
    held, hardly, one_of_two = _run(samples), _run(samples), _run(samples)
    assert held.held
    (known,) = held.history
    # As if one refresh of 300 had been captured, and that one is equal.
    hardly.history = [
        replace(known, refreshes=300, missed=tuple(range(2, 301)), digests=1, equal=1)
    ]
    assert not hardly.held
    # A view that was hardly seen does not hide behind one that was.
    one_of_two.history = [replace(known, refreshes=300), replace(known, missed=(4, 5))]
    assert not one_of_two.held


def test_a_run_whose_recorder_has_not_ended_by_itself_fails() -> None:
    run = _run([_sample(at, 5.0) for at in range(10, 100, 10)])
    run.history = [replace(run.history[0], has_end=False)]
    assert not run.held
    assert "How capturing ended is not known of mv_web_sessions" in markdown(run)
    assert "**Nothing failed, but not all was written down: how capturing" in markdown(run)


def test_refreshes_that_were_not_read_are_on_the_page_with_the_reason() -> None:
    run = _run([_sample(at, 5.0) for at in range(10, 100, 10)])
    assert "Not read before" not in markdown(run)
    at_ms = round((LIVE_AT + 90) * 1000)
    lost = NotCaptured(at_ms, ("mv_a", "mv_b"), "WarehouseUnreachable: No\nanswer.")
    run.not_captured = [lost] * 22
    page = markdown(run)
    assert page.count("- minute 1.5: mv_a, mv_b. WarehouseUnreachable: No answer.\n") == 20
    assert "- and 2 more\n" in page
    assert len(to_json(run)["not_captured"]) == 22


def test_the_quarter_with_the_hours_turn_is_marked() -> None:
    run = _run([_sample(at, 5.0) for at in range(10, 2700, 10)])
    run.live_at = LIVE_AT - LIVE_AT % 3600 + 3600 - 1000
    run.samples = [_sample(run.live_at - LIVE_AT + at, 5.0) for at in range(10, 2700, 10)]
    rows = [line for line in markdown(run).splitlines() if "hour's turn" in line]
    assert [row.split(" ")[1] for row in rows] == ["15-30"]
