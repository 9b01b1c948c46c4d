"""Rules of the long run's report: when a fault counts as recovered from, and when the run held."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.long_run_report import LongRun, Parity, in_recovery, markdown, recoveries, to_json
from benchmarks.stack_faults import Fault
from benchmarks.stack_samples import Sample
from retail_lakehouse.local.recompute.captured import NotCaptured
from retail_lakehouse.local.recompute.history import ViewHistory
from retail_lakehouse.local.verify.report import Kinds

LIVE_AT = 1_795_410_000.0


def _sample(seconds: float, table: float | None, view: float | None = 5.0) -> Sample:
    return Sample(LIVE_AT + seconds, table, view, 300.0, 0, 0, 1.0, [])


def _run(samples: list[Sample], *faults: float) -> LongRun:
    run = LongRun(
        {"cores": 2, "processor": "x", "memory_gib": 8, "kernel": "k", "python": "3"}, 4, 300, 0
    )
    run.live_at = LIVE_AT
    run.samples = samples
    run.faults = [Fault("kill -9", 0.0, lambda _: "", LIVE_AT + at) for at in faults]
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


def test_a_good_sample_between_bad_ones_is_no_recovery() -> None:
    ages = [(30, 5), (40, 5), (50, 40), (60, 5), (70, None), (80, 5), (90, 5), (100, 5)]
    (recovery,) = recoveries(_run([_sample(at, age) for at, age in ages], 20))
    assert recovery.table_seconds == 60


def test_a_fault_that_is_never_recovered_from_fails_the_run() -> None:
    run = _run([_sample(at, 100.0 + at) for at in range(30, 200, 10)], 20)
    assert recoveries(run)[0].table_seconds is None
    assert all(in_recovery(run))
    assert not run.held
    assert "Not everything held." in markdown(run)
    assert "| never |" in markdown(run)


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
    assert "mv_web_sessions: how capturing ended is not known" in markdown(run)


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
