"""The page on freshness names every check, and the limits that the contract has."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from retail_lakehouse.assets.keys import MATERIALIZED_VIEWS_GROUP, TABLES_GROUP
from retail_lakehouse.build import build_defs
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS, Measure
from retail_lakehouse.settings import Settings

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "freshness.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


def test_the_page_says_of_every_check_what_it_cannot_see() -> None:
    cannot = PAGE.partition("## What the checks cannot see")[2]
    for measure in Measure:
        assert f"- `{measure}`" in cannot, measure


def test_the_pages_limits_are_those_of_the_contract() -> None:
    levels = SERVICE_LEVELS
    assert f"`ingest_lag` after {levels.ingest_lag_seconds} s" in WORDS
    assert f"`serving_lag` after {levels.serving_lag_seconds} s" in WORDS
    assert f"`events_arrive` after {levels.silence_seconds} s" in WORDS
    assert f"`checks_looked_at` after {levels.unlooked_seconds // 60} minutes" in WORDS
    assert f"minimum of {levels.minimum_events_per_minute:g} event a minute" in WORDS
    assert f"allows {levels.clock_ahead_seconds} s" in WORDS
    assert levels.stalled_after_triggers == 3
    assert "after three triggers" in WORDS


def test_the_badge_turns_red_when_the_page_says_so() -> None:
    settings = Settings.load({"state_dir": "unused"})
    graph = build_defs(settings).resolve_asset_graph()
    seconds = SERVICE_LEVELS.serving_lag_seconds + settings.report_interval_seconds
    for path in (["retail_db", "inventory_events"], ["mart", "mv_stock_newest"]):
        policy = graph.get(dg.AssetKey(path)).freshness_policy
        assert isinstance(policy, TimeWindowFreshnessPolicy)
        assert policy.fail_window.to_timedelta() == timedelta(seconds=seconds)
        assert policy.warn_window is not None
    assert f"red after {seconds:,} s without a report" in WORDS


def test_only_event_tables_and_materialized_views_have_a_badge() -> None:
    graph = build_defs(Settings.load({"state_dir": "unused"})).resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    groups = {node.group_name for node in nodes if node.freshness_policy is not None}
    assert groups == {TABLES_GROUP, MATERIALIZED_VIEWS_GROUP}
