"""Rules of the benchmark that drives days: what stores send, when clocks move, what is a false
alarm; and a short drive of the real control plane."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.driven_days import (
    FAULTY,
    STEP_SECONDS,
    SWITCHING_ZONES,
    Alert,
    Fault,
    Outcome,
    Plan,
    Traffic,
    drive,
    edges,
    moved,
    stores_are,
    switches_of,
)
from benchmarks.fourteen_days import FAULT_START, HEALTHY_STEPS, START, Row, page, wanted
from retail_lakehouse.contracts.opening_hours import Hours, OpeningCalendar, calendar_of
from retail_lakehouse.contracts.reference_data import stores
from retail_lakehouse.sensors.edges import HEARTBEAT_SECONDS

MINUTE = 60_000
STALLED = "retail_db/inventory_events:ingest_lag"


def outcome(*opened: str, fault: str | None = None) -> Outcome:
    alerts = [Alert("opened", name, "It fails.", 1_830_000) for name in opened]
    return Outcome(
        "days", "then", 336.0, [], fault, last_healthy_ms=600_000 if fault else None, alerts=alerts
    )


def test_stores_send_by_the_share_that_is_open_and_no_record_is_lost_between_two_steps() -> None:
    always = OpeningCalendar((Hours("UTC", 0, 1440, 4),), grace_seconds=0)
    at = round(START.timestamp() * 1000)
    whole, steps = Traffic(always), Traffic(always)
    in_one = whole.records(at, at + 60 * MINUTE)
    in_steps = sum(steps.records(at + n * MINUTE, at + (n + 1) * MINUTE) for n in range(60))
    assert 1_000 < in_one < 1_400
    assert in_steps == pytest.approx(in_one, rel=0.15)
    quarter = OpeningCalendar((*always.hours, Hours("UTC", 0, 0, 12)), grace_seconds=0)
    assert Traffic(quarter).records(at, at + 60 * MINUTE) == pytest.approx(in_one / 4, abs=1)
    assert Traffic(quarter).records(at, at) == 0


def test_moved_stores_keep_their_hours_and_the_online_shop_stays() -> None:
    there = moved(stores(), SWITCHING_ZONES)
    for before, after in zip(stores(), there, strict=True):
        assert after == replace(before, time_zone=after.time_zone)
        assert (after.time_zone in SWITCHING_ZONES) is not before.is_virtual
    assert {store.time_zone for store in there if not store.is_virtual} == set(SWITCHING_ZONES)
    assert moved(stores(), ()) == stores()


def test_calendars_are_those_of_the_moved_stores_for_the_block_alone() -> None:
    before = calendar_of(FAULTY.name)
    with stores_are(moved(stores(), SWITCHING_ZONES)):
        assert {each.time_zone for each in calendar_of(FAULTY.name).hours} == set(SWITCHING_ZONES)
    assert calendar_of(FAULTY.name) == before


def test_both_zones_leave_summer_time_within_the_days() -> None:
    told = {zone: switches_of(zone, START, 14 * 24) for zone in SWITCHING_ZONES}
    assert told == {
        "Europe/Berlin": ["2026-10-25 01:00 UTC"],
        "America/New_York": ["2026-11-01 06:00 UTC"],
    }


def test_openings_and_closings_are_changes_of_the_share() -> None:
    assert edges([0.0, 0.5, 0.5, 1.0, 0.2, 0.0]) == (2, 2)


def test_an_alarm_that_nobody_wants_is_false_and_a_wanted_one_may_not_be_missing() -> None:
    assert Row(outcome(), frozenset()).held
    assert Row(outcome(STALLED), frozenset()).false == [STALLED]
    assert Row(outcome(fault="stall"), frozenset([STALLED])).missing == [STALLED]
    assert not Row(outcome("x:volume", STALLED, fault="stall"), frozenset([STALLED])).held


def test_the_page_says_the_step_the_false_alarms_and_how_soon_a_fault_was_told() -> None:
    rows = [
        Row(outcome(STALLED), frozenset()),
        Row(outcome(STALLED, fault="stall"), frozenset([STALLED])),
    ]
    told = page(rows, {"cores": 2})
    assert f"step of {STEP_SECONDS} s" in told
    assert "**False alarms: 1.**" in told
    assert f"- opened {STALLED}: It fails." in told
    assert "| 1230 s | none | none |" in told


def test_each_control_wants_its_own_checks_and_the_days_want_none() -> None:
    plans = wanted(14)
    assert [each.plan.steps for each in plans[:2]] == [2016, 2016]
    assert all((each.plan.fault is None) is not bool(each.names) for each in plans)
    assert {each.plan.fault for each in plans[2:]} == set(Fault)


def test_three_real_steps_tell_of_nothing_and_a_stall_is_told_by_its_own_checks(
    tmp_path: Path,
) -> None:
    plan = Plan("short", FAULT_START, 4, SWITCHING_ZONES, Fault.STALL, 1)
    came = drive(plan, tmp_path)
    (stall,) = (each for each in wanted(1) if each.plan.fault is Fault.STALL)
    assert came.opened == stall.names
    assert came.commits >= 10
    assert (
        came.last_healthy_ms == round(datetime(2026, 10, 27, 12, 20, tzinfo=UTC).timestamp()) * 1000
    )


def test_a_fault_begins_right_after_a_heartbeat_so_that_no_check_is_missed_meanwhile() -> None:
    assert (HEALTHY_STEPS - 1) * STEP_SECONDS % HEARTBEAT_SECONDS == 0
