import json

import dagster as dg

from retail_lakehouse.assets.keys import view_key
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS, VIEWS, view_named
from retail_lakehouse.sensors.views import views_sensor
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.resources.fakes import FakeWarehouse, Lakehouse
from retail_lakehouse_tests.sensors.conftest import Tick

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
    assert set(record) == OVER_INVENTORY
    one = record["mv_stock_newest"]
    assert one["rows"] == 42
    assert one["base_snapshots"] == {"inventory_events": snapshot}
    assert {"refreshed_at_ms", "duration_seconds", "newest_event_ms", "latency_seconds"} <= set(one)


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
