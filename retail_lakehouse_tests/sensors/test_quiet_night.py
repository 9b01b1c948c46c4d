"""Freshness policies judge the age of the last materialization: a quiet night is no failure."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import pytest

from retail_lakehouse.assets.keys import table_key, view_key
from retail_lakehouse.assets.tables import table_specs
from retail_lakehouse.assets.views import materialized_view_assets
from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.sensors.tables import tables_sensor
from retail_lakehouse.sensors.views import views_sensor
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.resources.fakes import FakeKafka, FakeWarehouse, Lakehouse
from retail_lakehouse_tests.sensors.conftest import Later, Tick

QUIET_SECONDS = 2_400
"""More than twice the longest that a table or a view may go without a report."""
TABLES = {table_key(event_table(event)) for event in EVENTS}
VIEWS = {view_key(view) for view in MATERIALIZED_VIEWS}
AWS_INTERVALS = {"sensor_interval_seconds": 30, "refresh_interval_seconds": 300}


@pytest.fixture(params=[("local", 0), ("local", 900), ("aws", 900)], ids=str)
def paced(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """The settings, with the intervals of each profile, and with news gathered or not."""
    profile, gathered_seconds = request.param
    intervals = AWS_INTERVALS if profile == "aws" else {}
    return settings.model_copy(update={**intervals, "report_interval_seconds": gathered_seconds})


def reports(result: dg.SensorResult, keys: set[dg.AssetKey]) -> dict[dg.AssetKey, Any]:
    return {
        event.asset_key: event
        for event in result.asset_events
        if isinstance(event, dg.AssetMaterialization) and event.asset_key in keys
    }


def oldest(keys: set[dg.AssetKey], every: int, tick_once: Callable[[], Any], later: Later) -> int:
    """The most seconds that any of the assets went without a report in `QUIET_SECONDS` of ticks."""
    told = dict.fromkeys(keys, 0)
    worst = 0
    for second in range(0, QUIET_SECONDS, every):
        result = tick_once()
        worst = max([worst, *(second - at for at in told.values())])
        told |= dict.fromkeys(reports(result, keys), second)
        later(every)
    return worst


def warn_seconds(specs: Mapping[dg.AssetKey, dg.AssetSpec], keys: set[dg.AssetKey]) -> float:
    policies = [specs[key].freshness_policy for key in keys]
    windows = [p.warn_window for p in policies if isinstance(p, dg.FreshnessPolicy)]  # type: ignore[attr-defined]
    assert len(windows) == len(keys)
    return float(min(window.to_timedelta().total_seconds() for window in windows))


def test_tables_that_have_every_record_stay_fresh_through_a_quiet_time(
    paced: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    for event in EVENTS:
        lakehouse.commit(event.name, 3)
    sensor, kafka = tables_sensor(paced), FakeKafka(dict.fromkeys((e.name for e in EVENTS), 3))

    def tick_once() -> dg.SensorResult:
        return tick(sensor, iceberg=lakehouse.resource(), kafka=kafka)

    specs = {spec.key: spec for spec in table_specs(paced)}
    warned = warn_seconds(specs, TABLES)
    assert 2 * warned < QUIET_SECONDS
    assert oldest(TABLES, paced.sensor_seconds, tick_once, later) < warned


def test_views_that_show_all_that_landed_stay_fresh_through_a_quiet_time_without_a_session(
    paced: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    for event in EVENTS:
        lakehouse.commit(event.name, 3)
    sensor, warehouse = views_sensor(paced), FakeWarehouse()

    def tick_once() -> dg.SensorResult:
        return tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)

    specs = {spec.key: spec for spec in materialized_view_assets(paced).specs}
    warned = warn_seconds(specs, VIEWS)
    assert 2 * warned < QUIET_SECONDS
    assert oldest(VIEWS, paced.refresh_seconds, tick_once, later) < warned
    assert len(warehouse.sessions) == 1


def test_silence_is_not_told_more_often_than_news(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    for event in EVENTS:
        lakehouse.commit(event.name, 3)
    gathered = settings.model_copy(update={**AWS_INTERVALS, "report_interval_seconds": 300})
    kafka, warehouse = FakeKafka(dict.fromkeys((e.name for e in EVENTS), 3)), FakeWarehouse()
    iceberg, tables, views = lakehouse.resource(), tables_sensor(gathered), views_sensor(gathered)
    told: Counter[dg.AssetKey] = Counter()
    for second in range(0, 1_200, gathered.sensor_seconds):
        told.update(reports(tick(tables, iceberg=iceberg, kafka=kafka), TABLES).keys())
        if second % gathered.refresh_seconds == 0:
            shown = tick(views, iceberg=iceberg, warehouse=warehouse)
            told.update(reports(shown, VIEWS).keys())
        later(gathered.sensor_seconds)
    assert told == dict.fromkeys(TABLES | VIEWS, 4)


def test_a_quiet_report_is_no_new_data(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    snapshot = lakehouse.commit("inventory", 3)
    lakehouse.replace("inventory")
    sensor, kafka = tables_sensor(settings), FakeKafka({"inventory": 3})
    tick(sensor, iceberg=lakehouse.resource(), kafka=kafka)
    later(300)
    result = tick(sensor, iceberg=lakehouse.resource(), kafka=kafka)
    (event,) = result.asset_events
    assert isinstance(event, dg.AssetMaterialization)
    assert event.tags == {"dagster/data_version": str(snapshot)}
    assert event.metadata["rows_added"].value == 0
    assert event.metadata["dagster/row_count"].value == 3
    assert "Nothing to report. 1 tables have all that was sent." in str(result.skip_reason)


@pytest.mark.parametrize(
    "kafka", [FakeKafka({"inventory": 4}), FakeKafka(outage="Kafka did not answer.")]
)
def test_a_table_for_which_records_wait_or_may_wait_is_left_to_turn_red(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later, kafka: FakeKafka
) -> None:
    lakehouse.commit("inventory", 3)
    sensor = tables_sensor(settings)
    tick(sensor, iceberg=lakehouse.resource(), kafka=kafka)
    for _ in range(3):
        later(300)
        result = tick(sensor, iceberg=lakehouse.resource(), kafka=kafka)
        assert not reports(result, TABLES)


def test_a_view_for_which_data_waits_is_left_to_turn_red(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    for event in ("inventory", "transactions"):
        lakehouse.commit(event, 3)
    tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse)
    warehouse.outage = "No warehouse answers."
    lakehouse.commit("inventory", 1)
    later(300)
    told = reports(tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse), VIEWS)
    assert told
    inventory = {view_key(v) for v in MATERIALIZED_VIEWS if "inventory_events" in v.source_tables}
    assert not told.keys() & inventory


def test_a_busy_table_is_reported_with_its_news_only(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    sensor, kafka = tables_sensor(settings), FakeKafka(outage="Nobody should ask.")
    for _ in range(3):
        later(settings.sensor_seconds)
        lakehouse.commit("inventory", 1)
        (event,) = tick(sensor, iceberg=lakehouse.resource(), kafka=kafka).asset_events
        assert event.metadata["rows_added"].value == 1
