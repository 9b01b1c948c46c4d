from dataclasses import replace
from typing import Any

import pytest

from retail_lakehouse.assets.views import BaseLook
from retail_lakehouse.checks.judges import Verdict
from retail_lakehouse.checks.view_judges import (
    judge_incremental,
    judge_serving_lag,
    judge_snapshots_outlast,
)
from retail_lakehouse.contracts.alerting import NOT_JUDGED
from retail_lakehouse.contracts.service_levels import Measure, level_of
from retail_lakehouse.contracts.view_contract import EXTERNAL_SCHEMA
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.warehouse.holds import Finding, Hold
from retail_lakehouse.warehouse.refresh_record import ViewRecord

AT = 1_800_000_000_000
VIEW = MATERIALIZED_VIEWS[0]
LEVEL = level_of(VIEW.name, Measure.SERVING_LAG)
(TABLE,) = VIEW.source_tables


def record(served: int | None = 7, **changes: Any) -> ViewRecord:
    fields: dict[str, Any] = {
        "refreshed_at_ms": AT - 10_000,
        "duration_seconds": 0.5,
        "rows": 3,
        "newest_event_ms": AT - 20_000,
        "refresh_status": "Refresh successfully updated MV incrementally",
        "state": 1,
        "latency_seconds": 0.1,
        "incremental": True,
        "base_snapshots": {TABLE: served},
    }
    return ViewRecord(**(fields | changes))


def bases(*arrived_ago: tuple[int, float]) -> dict[str, BaseLook | str]:
    arrivals = tuple((snapshot, AT - int(ago * 1000)) for snapshot, ago in arrived_ago)
    return {TABLE: BaseLook(arrivals[0][0] if arrivals else None, arrivals)}


def test_a_view_that_shows_the_newest_snapshot_waits_for_nothing() -> None:
    verdict = judge_serving_lag(VIEW, record(7), bases((7, 9_999)), None, AT, LEVEL)
    assert verdict.passed
    assert verdict.figures["age_seconds"] == 20.0


def test_a_stream_that_is_silent_shows_as_age_and_is_not_blamed_on_the_view() -> None:
    old = record(7, newest_event_ms=AT - 5_000_000)
    verdict = judge_serving_lag(VIEW, old, bases((7, 4_990)), None, AT, LEVEL)
    assert verdict.passed
    assert verdict.figures["age_seconds"] == 5_000.0
    assert "serving_lag_seconds" not in verdict.figures


@pytest.mark.parametrize("ago, passed", [(599, True), (601, False)])
def test_lag_counts_from_the_first_snapshot_that_the_view_does_not_show(
    ago: float, passed: bool
) -> None:
    seen = bases((9, 5), (8, ago), (7, 5_000))
    verdict = judge_serving_lag(VIEW, record(7), seen, None, AT, LEVEL)
    assert verdict.passed is passed
    assert verdict.figures["serving_lag_seconds"] == ago


def test_of_several_tables_under_a_view_the_one_that_waits_longest_counts() -> None:
    joined = replace(VIEW, depends_on=(*VIEW.depends_on, f"{EXTERNAL_SCHEMA}.dim_store"))
    both = {**bases((8, 601)), "dim_store": BaseLook(9, ((9, AT - 5_000),))}
    verdict = judge_serving_lag(joined, record(7), both, None, AT, LEVEL)
    assert not verdict.passed
    assert verdict.figures["serving_lag_seconds"] == 601


def test_a_view_without_a_row_has_no_age() -> None:
    verdict = judge_serving_lag(
        VIEW, record(7, newest_event_ms=None), bases((7, 5)), None, AT, LEVEL
    )
    assert verdict.passed
    assert "age_seconds" not in verdict.figures


def test_before_anything_has_landed_a_view_is_not_said_to_show_it() -> None:
    nothing = judge_serving_lag(VIEW, None, bases(), None, AT, LEVEL)
    assert (nothing.passed, nothing.sentence) == (True, "Nothing has landed.")
    shown = judge_serving_lag(VIEW, record(7), bases((7, 5)), None, AT, LEVEL)
    assert shown.sentence == "The view shows everything that has landed."


def test_a_failed_refresh_is_red_at_once() -> None:
    verdict = judge_serving_lag(VIEW, record(7), bases((7, 1)), "No warehouse.", AT, LEVEL)
    assert not verdict.passed
    assert verdict.sentence == "No warehouse."


def test_a_table_that_cannot_be_loaded_is_no_reason_to_call_its_view_served() -> None:
    verdict = judge_serving_lag(VIEW, None, {TABLE: "There is no catalog."}, None, AT, LEVEL)
    assert not verdict.passed
    assert verdict.sentence == "There is no catalog."
    assert verdict.figures == NOT_JUDGED


def test_a_full_recomputation_warns_and_what_was_not_said_is_not_guessed() -> None:
    full = judge_incremental(VIEW, record(incremental=False))
    assert not full.passed
    assert full.warn_only
    assert judge_incremental(VIEW, record(incremental=None)).passed
    assert judge_incremental(VIEW, None).passed


RETENTION, EVERY = 900, 15


def outlasts(served: int | None, kept: dict[int, float], hold: Hold | None = None) -> Verdict:
    """`kept`: by snapshot, how long ago it was committed."""
    instants = {snapshot: AT - int(ago * 1000) for snapshot, ago in kept.items()}
    newest = max(kept) if kept else None
    looks: dict[str, BaseLook | str] = {TABLE: BaseLook(newest, (), instants)}
    return judge_snapshots_outlast(VIEW, record(served), looks, RETENTION, EVERY, AT, hold)


@pytest.mark.parametrize("ago, passed", [(884, True), (886, False), (9_999, False)])
def test_what_a_view_has_folded_outlasts_its_next_refresh(ago: float, passed: bool) -> None:
    # It expires once it has not been the newest for the retention, however old it is.
    verdict = outlasts(7, {7: 50_000, 8: ago, 9: 5})
    assert verdict.passed is passed
    assert verdict.passed or verdict.warn_only
    assert verdict.figures["expires_in_seconds"] == RETENTION - ago


def test_the_newest_snapshot_never_expires() -> None:
    assert outlasts(9, {9: 50_000}).passed
    assert outlasts(None, {9: 5}).passed


def test_a_snapshot_that_has_expired_is_said_to_make_the_refresh_dear() -> None:
    verdict = outlasts(7, {8: 100, 9: 5})
    assert not verdict.passed
    assert "has expired" in verdict.sentence


def test_of_a_view_that_is_held_neither_lag_nor_expiry_is_asked() -> None:
    gap = Finding.of(TABLE, Measure.OFFSETS_CONTIGUOUS, 8, "A gap.", AT - 9_000_000)
    hold = Hold(gap.found_at_ms, (gap,))
    assert outlasts(7, {8: 100, 9: 5}, hold).passed
    late = bases((8, 9_000), (7, 10_000))
    verdict = judge_serving_lag(VIEW, record(7), late, None, AT, LEVEL, hold)
    assert verdict.passed
    assert verdict.figures["serving_lag_seconds"] == 9_000
    assert "is held since" in verdict.sentence
    assert not judge_serving_lag(VIEW, record(7), late, None, AT, LEVEL).passed
