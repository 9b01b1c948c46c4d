"""Rules of the benchmark of Dagster's history: what a day is made of, and how it grows older."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from benchmarks.driven_platform import Clock, TickCost, cost_summary, driven
from benchmarks.event_log_page import Result, page
from benchmarks.grown_history import copy_events, copy_ticks, newest, ticks_file, used_bytes
from benchmarks.pages_over_http import PAGES
from benchmarks.tick_book import TickBook
from retail_lakehouse.history.prune import event_rows
from retail_lakehouse.local.dagster_instance import event_log_file, write_instance

KEY = dg.AssetKey(["retail_db", "a"])
START = datetime(2026, 10, 20, 6, tzinfo=UTC)


def result(hour_bytes: int, run_bytes: int) -> Result:
    return Result(
        {"cores": 2},
        {"watch_stream": 15.0},
        events_in_hour={"AssetCheckEvaluation": 100},
        event_log_bytes_in_hour=hour_bytes,
        run_bytes=run_bytes,
        whole_run_bytes=run_bytes,
        ticks_bytes_in_hour=1_000_000,
        first_hour={"watch_stream": cost_summary([TickCost(90.0, 10.0), TickCost(100.0, 100.0)])},
        first_day_queries={"runs": 2.0},
        month_queries={"runs": 3.0},
        first_day_pages={"ticks": 4.0},
        month_pages={"ticks": 5.0},
        history={"after the hour": {"events": 5, "event_log_bytes": 10, "ticks_bytes": 10}},
    )


def test_a_day_is_its_hours_and_their_maintenance_runs() -> None:
    told = result(500_000, 100_000)
    assert told.mb_a_day == 14.4
    assert told.ticks_mb == 6.0
    assert told.held
    assert not result(800_000, 100_000).held
    assert not result(0, 0).held, "nothing was measured"


def test_a_run_in_six_is_the_one_that_maintains_everything() -> None:
    told = replace(result(500_000, 100_000), whole_run_bytes=300_000)
    assert told.mb_a_day == 15.2
    assert "24 maintenance runs of 100 kB, 4 of them of 300 kB" in page(told)


def test_the_page_has_the_day_the_ticks_and_the_queries() -> None:
    told = page(result(500_000, 100_000))
    assert "**14.4 MB a day** (at most 20)" in told
    assert "2,400 AssetCheckEvaluation" in told
    assert "| watch_stream | 15 s | 150, 200, 200 |" in told
    assert "| runs | 2.0 | 3.0 |" in told
    assert "| ticks | 4.0 | 5.0 |" in told


def test_what_the_pages_ask_is_what_dagster_answers() -> None:
    schema = create_schema().graphql_schema
    for name, query in PAGES.items():
        assert validate(schema, parse(query)) == [], name


def test_a_driven_clock_stands_still_until_it_is_told_to_go_on() -> None:
    clock = Clock(round(START.timestamp() * 1000))
    with driven(clock):
        assert (time.time(), time.time_ns()) == (START.timestamp(), clock.at_ms * 1_000_000)
        clock.forward(90)
        assert time.time() == START.timestamp() + 90
    assert time.time() != START.timestamp() + 90


def test_copied_hours_are_as_large_and_as_many_later_and_pages_find_the_last(
    tmp_path: Path,
) -> None:
    home, clock = write_instance(tmp_path), Clock(round(START.timestamp() * 1000))
    with driven(clock), dg.DagsterInstance.from_config(str(home)) as instance:
        book = TickBook(instance)
        since = newest(home)
        for number in range(3):
            tags = {"dagster/data_version": str(number)}
            instance.report_runless_asset_event(dg.AssetMaterialization(KEY, tags=tags))
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(asset_key=KEY, check_name="lag", passed=True)
            )
            book.note("watch_stream", "a cursor", "Nothing new.")
            clock.forward(15)
        until, before = newest(home), used_bytes(event_log_file(home))
        copy_events(home, since, until, range(1, 101))
        copy_ticks(home, since, until, range(1, 3))
        assert event_rows(instance) == 6 * 101
        assert used_bytes(event_log_file(home)) > before + 100 * 1_000
        assert used_bytes(ticks_file(home)) > 0
        (last,) = instance.fetch_materializations(KEY, limit=1).records
        assert last.event_log_entry.dagster_event is not None
        assert last.storage_id == newest(home).event - 1
        check = dg.AssetCheckKey(KEY, "lag")
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])
        assert found[check].id == 3 * 101
        state = book.state("watch_stream")
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        assert len(ticks) == 9
