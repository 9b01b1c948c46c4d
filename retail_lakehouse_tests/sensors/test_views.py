import json
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from retail_lakehouse.assets.keys import view_key
from retail_lakehouse.assets.plain_views import COUNT_EVERY_REFRESHES, plain_views_over
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS, VIEWS, view_named
from retail_lakehouse.resources.warehouse import Refreshed
from retail_lakehouse.sensors.views import views_sensor
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.refresh import RefreshOutcome
from retail_lakehouse.warehouse.refresh_record import read_row_counts
from retail_lakehouse_tests.resources.fakes import FakeWarehouse, Lakehouse
from retail_lakehouse_tests.sensors.conftest import Later, Tick

MATERIALIZED = {view.name for view in MATERIALIZED_VIEWS}
PLAIN = {view.name for view in VIEWS} - MATERIALIZED
OVER_INVENTORY = {v.name for v in MATERIALIZED_VIEWS if v.source_tables == ("inventory_events",)}


def materialized(result: dg.SensorResult) -> set[dg.AssetKey]:
    return {e.asset_key for e in result.asset_events if isinstance(e, dg.AssetMaterialization)}


def failing(result: dg.SensorResult) -> dict[str, str]:
    return {
        event.asset_key.path[-1]: str(event.description)
        for event in result.asset_events
        if isinstance(event, dg.AssetCheckEvaluation) and not event.passed
    }


def test_all_due_views_are_refreshed_in_one_session(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    for event in ("inventory", "transactions", "clickstream"):
        lakehouse.commit(event, 2)
    result = tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    assert len(warehouse.sessions) == 1
    assert materialized(result) == {view_key(view) for view in VIEWS}


def test_plain_views_are_reported_as_heartbeats_and_only_when_what_they_read_is_new(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    lakehouse.commit("inventory", 2)
    first = materialized(tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse))
    assert view_key(view_named("mv_inventory_realtime")) in first
    assert view_key(view_named("web_funnel")) not in first
    lakehouse.commit("inventory", 2)
    second = materialized(tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse))
    assert {key.path[-1] for key in second} == OVER_INVENTORY


def test_nothing_new_opens_no_session(settings: Settings, lakehouse: Lakehouse, tick: Tick) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    lakehouse.commit("inventory", 2)
    tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    for _ in range(3):
        assert not materialized(tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse))
    assert len(warehouse.sessions) == 1


def test_only_views_over_a_changed_table_are_due(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    for event in ("inventory", "transactions"):
        lakehouse.commit(event, 2)
    tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    lakehouse.commit("inventory", 1)
    tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    assert set(warehouse.sessions[-1][1]) == OVER_INVENTORY


def test_a_refresh_leaves_metadata_and_the_record_for_status(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    snapshot = lakehouse.commit("inventory", 2)
    result = tick(views_sensor(settings), iceberg=lakehouse.resource(), warehouse=FakeWarehouse())
    event = next(e for e in result.asset_events if isinstance(e, dg.AssetMaterialization))
    told = {name: value.value for name, value in event.metadata.items()}
    assert event.tags == {"dagster/data_version": str(snapshot)}
    assert told["dagster/row_count"] == 42
    assert told["incremental"] is True
    assert told["state"] == 1
    assert 3.0 <= told["age_seconds"] < 30  # type: ignore[operator]

    record = json.loads((settings.root / "run" / "view_refreshes.json").read_text())
    assert set(record) == {view.name for view in VIEWS} - (MATERIALIZED - OVER_INVENTORY)
    one = record["mv_stock_newest"]
    assert one["rows"] == 42
    assert one["base_snapshots"] == {"inventory_events": snapshot}
    assert {"refreshed_at_ms", "duration_seconds", "newest_event_ms", "latency_seconds"} <= set(one)


def test_plain_views_are_counted_by_the_first_refresh_and_then_by_one_in_twenty(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    every_seconds = COUNT_EVERY_REFRESHES * settings.refresh_seconds
    for seconds in (0, settings.refresh_seconds, every_seconds, settings.refresh_seconds):
        later(seconds)
        lakehouse.commit("inventory", 1)
        tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    over_inventory = {view.name for view in plain_views_over(OVER_INVENTORY)}
    assert "web_funnel" not in over_inventory
    assert warehouse.counted == [PLAIN, set(), over_inventory, set()]


def test_a_start_counts_again_and_a_refresh_of_nothing_under_a_view_does_not(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    warehouse = FakeWarehouse()
    lakehouse.commit("inventory", 1)
    tick(views_sensor(settings), iceberg=lakehouse.resource(), warehouse=warehouse)
    later(1)
    restarted = views_sensor(settings)
    lakehouse.commit("clickstream", 1)
    tick(restarted, iceberg=lakehouse.resource(), warehouse=warehouse)
    over_clicks = {"web_funnel", "pipeline_lag", "pipeline_age", "quarantine"}
    assert warehouse.counted == [PLAIN, over_clicks]


def test_an_empty_plain_view_is_counted_again_by_the_next_refresh(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse(plain_rows=0)
    for event in ("inventory", "clickstream", "clickstream"):
        lakehouse.commit(event, 1)
        tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
        warehouse.plain_rows = 3
    assert "web_funnel" in warehouse.counted[1]
    assert "stock_now" not in warehouse.counted[1]
    assert warehouse.counted[2] == set()


def test_a_count_that_failed_keeps_the_last_one_with_its_time_and_waits_its_turn(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    told = []
    for seconds in (0, 1_000, 1):
        later(seconds)
        lakehouse.commit("inventory", 1)
        tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
        told.append(read_row_counts(settings.root)["stock_now"])
        warehouse.plain_rows = None
    first, second, third = told
    assert (second.rows, second.rows_at_ms) == (7, first.rows_at_ms)
    assert second.tried_at_ms >= first.tried_at_ms + 1_000_000
    assert third == second
    assert warehouse.counted[2] == set()


def test_the_rows_of_a_plain_view_are_metadata_with_the_time_of_the_count(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.commit("inventory", 2)
    result = tick(views_sensor(settings), iceberg=lakehouse.resource(), warehouse=FakeWarehouse())
    key = view_key(view_named("mv_inventory_realtime"))
    (event,) = (
        each
        for each in result.asset_events
        if isinstance(each, dg.AssetMaterialization) and each.asset_key == key
    )
    counted_ms = read_row_counts(settings.root)["mv_inventory_realtime"].rows_at_ms
    assert counted_ms is not None
    assert event.metadata["dagster/row_count"].value == 7
    assert event.metadata["rows_counted"].value == counted_ms / 1000


def test_a_warehouse_that_is_down_turns_its_views_red_at_once_and_green_again(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse(outage="No warehouse answers.")
    lakehouse.commit("inventory", 2)
    result = tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    assert failing(result) == dict.fromkeys(OVER_INVENTORY, "No warehouse answers.")
    assert not materialized(result)

    warehouse.outage = ""
    result = tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    assert {key.path[-1] for key in materialized(result)} >= OVER_INVENTORY
    assert failing(result) == {}


@pytest.mark.parametrize("outcome", [RefreshOutcome.FAILED, RefreshOutcome.BUSY])
def test_a_refresh_that_failed_is_red_at_once_and_one_under_way_is_not(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, outcome: RefreshOutcome
) -> None:
    class Refusing(FakeWarehouse):
        def refresh(self, *told: Any, **named: Any) -> Refreshed:
            done = super().refresh(*told, **named)
            results = [replace(each, outcome=outcome, status="Why not.") for each in done.results]
            return replace(done, results=results)

    lakehouse.commit("inventory", 2)
    result = tick(views_sensor(settings), iceberg=lakehouse.resource(), warehouse=Refusing())
    failed = outcome is RefreshOutcome.FAILED
    assert failing(result) == (dict.fromkeys(OVER_INVENTORY, "Why not.") if failed else {})
    assert not materialized(result)


def test_a_full_recomputation_is_a_warning(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.commit("inventory", 2)
    result = tick(
        views_sensor(settings),
        iceberg=lakehouse.resource(),
        warehouse=FakeWarehouse(incremental=False),
    )
    warned = [
        event
        for event in result.asset_events
        if isinstance(event, dg.AssetCheckEvaluation) and not event.passed
    ]
    assert {event.check_name for event in warned} == {"refreshed_incrementally"}
    assert {event.severity for event in warned} == {dg.AssetCheckSeverity.WARN}


def test_a_damaged_record_makes_every_view_due_and_breaks_nothing(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    lakehouse.commit("inventory", 2)
    tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    (settings.root / "run" / "view_refreshes.json").write_text("{")
    tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    assert len(warehouse.sessions) == 2


def test_a_refresh_is_told_once_and_not_hidden_by_a_report_of_silence(
    lakehouse: Lakehouse, tick: Tick
) -> None:
    # On AWS the interval alone is longer than silence may go untold.
    slow = lakehouse.settings.model_copy(update={"refresh_interval_seconds": 300})
    lakehouse.commit("inventory", 2)
    result = tick(views_sensor(slow), iceberg=lakehouse.resource(), warehouse=FakeWarehouse())
    told = [e for e in result.asset_events if isinstance(e, dg.AssetMaterialization)]
    refreshed = [e for e in told if e.asset_key.path[-1] in OVER_INVENTORY]
    assert len(refreshed) == len(OVER_INVENTORY)
    assert all("refresh_seconds" in each.metadata for each in refreshed)


def test_a_mark_that_nobody_can_read_keeps_no_other_tables_views_from_theirs(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    lakehouse.commit("clickstream", 2)
    lakehouse.unreadable_mark("inventory")
    result = tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    ((_, refreshed),) = warehouse.sessions
    assert set(refreshed).isdisjoint(OVER_INVENTORY)
    assert refreshed
    assert set(failing(result)) == {*OVER_INVENTORY, "inventory_events"}


def test_the_last_refresh_before_the_data_stops_is_told_when_its_report_is_due(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    sensor = views_sensor(settings.model_copy(update={"report_interval_seconds": 300}))
    warehouse = FakeWarehouse()
    lakehouse.commit("inventory", 2)
    tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    later(15)
    shown = lakehouse.commit("inventory", 2)
    quiet = tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    assert len(warehouse.sessions) == 2
    assert materialized(quiet) == set()
    later(285)
    told = tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    assert len(warehouse.sessions) == 2
    assert {key.path[-1] for key in materialized(told)} == OVER_INVENTORY
    versions = {
        dict(e.tags or {})["dagster/data_version"]
        for e in told.asset_events
        if isinstance(e, dg.AssetMaterialization)
    }
    assert versions == {str(shown)}
    later(300)
    silence = tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    assert all(
        str(e.description).startswith("Nothing waits to be shown")
        for e in silence.asset_events
        if isinstance(e, dg.AssetMaterialization)
    )
