"""The status has the same keys whatever is down, and its numbers come from marks and records."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from retail_lakehouse.contracts.mark import Counts, Mark, MarkError, MarkKind, TimeRange
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.tables import TABLES
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.contracts.views import VIEWS
from retail_lakehouse.local import facts
from retail_lakehouse.local.facts import (
    TableFacts,
    TopicFacts,
    ViewFacts,
    events_per_second,
    read_views,
)
from retail_lakehouse.local.live import what_is_missing
from retail_lakehouse.local.status import collect_status, late_views, pulse
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse.tables.marks import MarkedSnapshot
from retail_lakehouse.warehouse.refresh_record import refreshes_file


def table(name: str, newest_ms: int | None, **numbers: int) -> TableFacts:
    known = {"rows": 0, "read": 0, "landed": 0, "quarantined": 0, "duplicates": 0} | numbers
    return TableFacts(
        name=f"retail_db.{name}",
        kind="events",
        event="inventory",
        newest_ms=newest_ms,
        committed_ms=newest_ms,
        mark=None,
        events_per_second=10.0,
        arrivals=(),
        **known,
    )


def view(newest_ms: int | None, *, materialized: bool = True) -> ViewFacts:
    return ViewFacts("mart.v", materialized, 1, newest_ms, newest_ms, newest_ms, 0.1, "")


def snapshot(at_ms: int, read: int, kind: MarkKind = MarkKind.STREAM) -> MarkedSnapshot:
    mark = Mark(
        kind=kind,
        cluster_id="c",
        topic="t",
        topic_id="i",
        ranges={},
        until={},
        event_time=TimeRange(),
        broker_time=TimeRange(),
        batch=Counts(read=read),
        total=Counts(),
        batch_started_ms=at_ms,
        previous_commit_ms=None,
        contract_version=1,
        run_id="r",
        engine="spark",
    )
    return MarkedSnapshot(at_ms, None, at_ms, "append", read, 1, mark)


@pytest.mark.parametrize(
    ("snapshots", "rate"),
    [
        ([], 0.0),
        ([snapshot(100_000, 500)], 0.0),
        ([snapshot(100_000, 500), snapshot(110_000, 400), snapshot(120_000, 600)], 50.0),
        ([snapshot(1_000, 9_999), snapshot(110_000, 500), snapshot(120_000, 400)], 40.0),
        ([snapshot(100_000, 500), snapshot(110_000, 400, MarkKind.BACKFILL)], 0.0),
        ([snapshot(65_000, 9_999), snapshot(125_000, 600)], 10.0),
        ([snapshot(125_000, 500), snapshot(125_000, 400)], 0.0),
    ],
    ids=[
        "none",
        "one",
        "three",
        "old ones are left out",
        "backfill is no stream",
        "a minute ago is within the minute",
        "at the same moment",
    ],
)
def test_the_rate_is_what_the_commits_of_the_last_minute_read(
    snapshots: list[MarkedSnapshot], rate: float
) -> None:
    assert events_per_second(snapshots, now_ms=125_000) == rate


@pytest.mark.parametrize(
    ("now_ms", "rate"),
    [
        (100_000, 10.0),
        (103_999, 10.0),
        (104_000, 10.0),
        (106_000, 520 / 54),
        (118_000, 400 / 54),
        (159_999, 0.0),
    ],
    ids=["just committed", "the next is due", "at the usual time", "late", "dead", "long dead"],
)
def test_the_rate_holds_between_two_commits_and_falls_when_the_next_is_overdue(
    now_ms: int, rate: float
) -> None:
    every_four_seconds = [snapshot(at_ms, 40) for at_ms in range(20_000, 100_001, 4_000)]
    assert events_per_second(every_four_seconds, now_ms) == pytest.approx(rate)


def test_the_live_line_shows_the_worst_age_and_the_sums() -> None:
    tables = [table("a", 90_000, quarantined=1), table("b", 40_000, quarantined=2, duplicates=3)]
    views = [view(80_000), view(30_000), view(1_000, materialized=False)]
    line = pulse(tables, views, now_ms=100_000)
    assert (line.events_per_second, line.quarantined, line.duplicates) == (20.0, 3, 3)
    assert (line.table_age_seconds, line.view_age_seconds) == (60.0, 70.0)


def test_an_age_is_unknown_while_one_table_has_no_event() -> None:
    line = pulse([table("a", 90_000), table("b", None)], [], now_ms=100_000)
    assert line.table_age_seconds is None
    assert line.view_age_seconds is None


NOW = 10_000_000
LIMIT_MS = SERVICE_LEVELS.serving_lag_seconds * 1000
OLD = NOW - 10 * LIMIT_MS


def late(*, served: int | None, arrivals: list[tuple[int, int]], waiting: int) -> bool:
    """Whether a view of ten times the serving lag's age counts as late."""
    base = replace(table("inventory_events", OLD), arrivals=tuple(arrivals))
    topic = TopicFacts("retail.inventory.events", "i", {0: 0}, {0: waiting})
    shown = replace(view(OLD), base_snapshots={"inventory_events": served})
    return bool(late_views([shown, view(OLD, materialized=False)], [base], [topic], NOW))


def test_a_view_that_shows_everything_is_not_late_however_old_that_is() -> None:
    assert not late(served=2, arrivals=[(2, OLD), (1, OLD - 5)], waiting=0)


def test_a_view_is_late_when_data_has_waited_for_longer_than_promised() -> None:
    assert late(served=1, arrivals=[(3, NOW), (2, NOW - LIMIT_MS - 1_000), (1, OLD)], waiting=0)
    assert late(served=None, arrivals=[(2, NOW - LIMIT_MS - 1_000)], waiting=0)


def test_the_first_data_after_a_quiet_night_does_not_make_a_view_late() -> None:
    assert not late(served=1, arrivals=[(2, NOW - 5_000), (1, OLD)], waiting=0)


def test_a_view_is_late_while_records_wait_that_would_be_newer() -> None:
    assert late(served=2, arrivals=[(2, OLD)], waiting=1)


def test_an_event_from_the_future_has_no_negative_age() -> None:
    assert pulse([table("a", 200_000)], [], now_ms=100_000).table_age_seconds == 0.0


def test_a_plain_view_over_what_was_never_refreshed_has_no_age(tmp_path: Path) -> None:
    path = refreshes_file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps({"mv_stock_newest": {"newest_event_ms": 5_000, "refreshed_at_ms": 9_000}})
    )
    by_name = {each.name: each for each in read_views(tmp_path)}
    assert by_name["mart.mv_inventory_realtime"].newest_ms is None
    assert by_name["mart.mv_inventory_realtime"].refreshed_ms is None


def test_a_plain_view_is_as_fresh_as_the_oldest_that_it_reads(tmp_path: Path) -> None:
    records = {
        "mv_stock_newest": {"newest_event_ms": 5_000, "refreshed_at_ms": 9_000, "rows": 3},
        "mv_inventory_hourly": {"newest_event_ms": 4_000, "refreshed_at_ms": 8_000, "rows": 4},
    }
    path = refreshes_file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(records))
    by_name = {each.name: each for each in read_views(tmp_path)}
    assert by_name["mart.mv_stock_newest"].rows == 3
    assert by_name["mart.stock_now"].newest_ms == 5_000
    assert by_name["mart.mv_inventory_realtime"].newest_ms == 4_000
    assert by_name["mart.mv_inventory_realtime"].refreshed_ms == 8_000
    assert by_name["mart.web_funnel"].newest_ms is None


def test_rows_are_told_with_their_age_of_plain_views_too(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    records = {
        "mv_stock_newest": {"refreshed_at_ms": now_ms - 5_000, "rows": 3},
        "stock_now": {"rows": 2, "rows_at_ms": now_ms - 90_000, "tried_at_ms": now_ms - 1_000},
        "web_funnel": {"rows": 4, "rows_at_ms": None},
    }
    path = refreshes_file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(records))
    views = collect_status(Settings.load({"state_dir": tmp_path}))["views"]
    assert isinstance(views, dict)
    assert (views["mart.mv_stock_newest"]["rows"], views["mart.stock_now"]["rows"]) == (3, 2)
    assert 5 <= views["mart.mv_stock_newest"]["rows_age_seconds"] < 60
    assert 90 <= views["mart.stock_now"]["rows_age_seconds"] < 150
    assert views["mart.web_funnel"]["rows"] is None
    assert views["mart.web_funnel"]["rows_age_seconds"] is None


def test_every_view_is_listed_before_the_first_refresh(tmp_path: Path) -> None:
    assert [each.name for each in read_views(tmp_path)] == [v.qualified_name for v in VIEWS]


def test_with_everything_down_the_keys_are_there_and_the_problems_say_so(tmp_path: Path) -> None:
    settings = Settings.load({"state_dir": tmp_path / "state"})
    told = collect_status(settings)
    assert {
        "bootstrap_servers",
        "dagster_url",
        "catalog",
        "warehouse",
        "topics",
        "jobs",
        "tables",
        "views",
        "quarantined",
        "duplicates",
    } <= told.keys()
    catalog, warehouse, jobs = told["catalog"], told["warehouse"], told["jobs"]
    assert isinstance(catalog, dict)
    assert catalog.keys() == {"name", "uri", "warehouse"}
    assert isinstance(warehouse, dict)
    assert warehouse.keys() == {
        "host",
        "port",
        "database",
        "user",
        "password_file",
        "ssl",
        "schemas",
    }
    assert isinstance(jobs, dict)
    assert jobs.keys() == {topic.event for topic in TOPICS}
    assert jobs["inventory"]["pid"] is None
    problems = told["problems"]
    assert isinstance(problems, list)
    assert any("Start it with `make dev`" in problem for problem in problems)
    json.dumps(told)
    assert not settings.root.exists()


def test_a_start_that_is_not_live_says_how_far_its_events_came(tmp_path: Path) -> None:
    told = collect_status(Settings.load({"state_dir": tmp_path}))
    now_ms = time.time() * 1000
    assert "Nothing runs for the state folder" in what_is_missing(told, now_ms - 1000, now_ms)
    told["problems"] = []
    assert "landed in retail_db.inventory_events" in what_is_missing(told, now_ms - 1000, now_ms)
    fresh = {"age_seconds": 0.1}
    told["tables"] = {f"retail_db.{topic.event}_events": fresh for topic in TOPICS}
    assert "mart.stock_now has not been" in what_is_missing(told, now_ms - 1000, now_ms)
    told["views"] = {"mart.stock_now": {"refreshed_age_seconds": 0.1}}
    assert "shows no event of this start" in what_is_missing(told, now_ms - 1000, now_ms)


def test_a_catalog_that_cannot_be_read_is_one_sentence_among_the_problems(tmp_path: Path) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    settings.catalog_db.parent.mkdir(parents=True)
    settings.catalog_db.write_bytes(b"no database at all" * 100)
    told = collect_status(settings)
    problems = told["problems"]
    assert isinstance(problems, list)
    assert any("cannot be opened: DatabaseError" in each for each in problems)
    assert told["tables"] == {}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MarkError("The mark of bronze.x is damaged."), r"just now \(The mark of bronze\.x is dam"),
        (FileNotFoundError("no metadata file"), r"just now \(no metadata file\)"),
        (OperationalError("SELECT", {}, Exception("it is locked")), r"just now \(it is locked\)"),
    ],
)
def test_what_cannot_be_read_just_now_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    reader = facts.TableReader(settings)

    def damaged(contracts: object) -> list[TableFacts]:
        raise error

    monkeypatch.setattr(reader, "_read", damaged)
    with pytest.raises(facts.TablesUnreadableError, match=sentence):
        reader.read()


def test_tables_without_a_commit_are_listed_with_no_age(tmp_path: Path) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    prepare_catalog(settings)
    ensure_tables(open_catalog(settings), settings)
    code = f"""
import json
from pathlib import Path
from retail_lakehouse.local.status import collect_status
from retail_lakehouse.local.without_pandas import leave_pandas_out
from retail_lakehouse.settings import Settings
leave_pandas_out()
print(json.dumps(collect_status(Settings.load({{"state_dir": Path({str(tmp_path)!r})}}))))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    tables = json.loads(answer.stdout)["tables"]
    assert tables.keys() == {table.qualified_name for table in TABLES}
    assert tables["retail_db.inventory_events"]["rows"] == 0
    assert tables["retail_db.inventory_events"]["age_seconds"] is None
