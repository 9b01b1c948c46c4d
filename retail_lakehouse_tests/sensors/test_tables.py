from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from retail_lakehouse.assets.keys import table_key
from retail_lakehouse.assets.tables import TableNews, table_metadata
from retail_lakehouse.contracts.mark import Counts
from retail_lakehouse.contracts.tables import (
    DIMENSIONS,
    TableContract,
    event_table,
    quarantine_table,
)
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.sensors.tables import SPARE_SECONDS, tables_sensor
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.marks import MarkedSnapshot
from retail_lakehouse_tests.contracts.test_mark import example_mark
from retail_lakehouse_tests.resources.fakes import FakeKafka, Lakehouse
from retail_lakehouse_tests.sensors.conftest import Later, Tick

INVENTORY = table_key(event_table("inventory"))


def values(event: Any) -> dict[str, Any]:
    return {name: value.value for name, value in event.metadata.items()}


def test_several_snapshots_are_one_materialization_with_summed_rows(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    first = lakehouse.commit("inventory", 3, quarantined=1)
    second = lakehouse.commit("inventory", 4, duplicates=2)
    result = tick(tables_sensor(settings), iceberg=lakehouse.resource(), kafka=FakeKafka())

    (event,) = result.asset_events
    assert event.asset_key == INVENTORY
    assert isinstance(event, dg.AssetMaterialization)
    assert event.tags == {"dagster/data_version": str(second)}
    told = values(event)
    assert told["rows_added"] == 7
    assert told["snapshots"] == 2
    assert told["snapshot_ids"] == [str(first), str(second)]
    assert told["quarantined"] == 1
    assert told["duplicates_dropped"] == 2
    assert told["records_read"] == 10
    assert told["with_unknown_fields"] == 0
    assert told["duplicates_past_horizon_at_most"] == 0
    assert told["dagster/row_count"] == 7
    assert told["offsets"] == {"0": "0 to 9"}
    assert told["until"] == {"0": 10, "1": 0, "2": 0}
    assert "gap" not in told


def test_unknown_fields_and_what_was_not_searched_for_are_summed() -> None:
    counts = Counts(read=5, landed=4, quarantined=1, unsearched=2, with_extra=3)
    commits = [
        MarkedSnapshot(n, None, 9_000, "append", 4, 1, replace(example_mark(), batch=counts))
        for n in (1, 2)
    ]
    news = TableNews(event_table("inventory"), tuple(commits), None, False, {})
    told = table_metadata(news, 10_000)
    assert told["with_unknown_fields"] == 6
    assert told["duplicates_past_horizon_at_most"] == 4


def test_a_tick_without_a_new_snapshot_reports_nothing(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.commit("inventory", 3)
    sensor = tables_sensor(settings)
    tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka())
    result = tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka())
    assert result.asset_events == []


def test_only_what_came_since_the_last_tick_is_counted(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor = tables_sensor(settings)
    lakehouse.commit("inventory", 3)
    tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka())
    lakehouse.commit("inventory", 5)
    (event,) = tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka()).asset_events
    assert values(event)["rows_added"] == 5


def test_event_and_quarantine_tables_are_reported_apart(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.commit("inventory", 3)
    lakehouse.commit("inventory", 1, contract=quarantine_table("inventory"))
    keys = [
        e.asset_key
        for e in tick(
            tables_sensor(settings), iceberg=lakehouse.resource(), kafka=FakeKafka()
        ).asset_events
    ]
    assert keys == [INVENTORY, table_key(quarantine_table("inventory"))]


def test_a_clock_that_is_ahead_does_not_make_a_table_look_fresh(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.commit("inventory", 1, age_seconds=100, ahead_seconds=500)
    (event,) = tick(
        tables_sensor(settings), iceberg=lakehouse.resource(), kafka=FakeKafka()
    ).asset_events
    assert values(event)["age_seconds"] >= 100


def test_an_expired_cursor_snapshot_is_a_gap_and_no_error(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor = tables_sensor(settings)
    reported = lakehouse.commit("inventory", 1)
    tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka())
    expired = lakehouse.commit("inventory", 2)
    lakehouse.commit("inventory", 4)
    table = lakehouse.table("inventory")
    table.maintenance.expire_snapshots().by_ids([reported, expired]).commit()

    (event,) = tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka()).asset_events
    told = values(event)
    assert str(reported) in told["gap"]
    assert told["rows_added"] == 4
    assert told["total"]["read"] == 7


def test_a_compaction_that_was_seen_is_where_the_next_look_begins(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor = tables_sensor(settings)
    reported = lakehouse.commit("inventory", 1)
    tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka())
    lakehouse.replace("inventory")
    tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka())
    lakehouse.commit("inventory", 2)
    lakehouse.table("inventory").maintenance.expire_snapshots().by_ids([reported]).commit()
    (event,) = tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka()).asset_events
    told = values(event)
    assert told["rows_added"] == 2
    assert "gap" not in told


def test_a_dimension_that_cannot_be_loaded_is_named_beside_what_was_reported(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.commit("inventory", 3)
    result = tick(tables_sensor(settings), iceberg=lakehouse.resource(), kafka=FakeKafka())
    for dimension in DIMENSIONS:
        assert f"The table {dimension.qualified_name} does not exist" in str(result.skip_reason)
    assert "1 tables have new data" in str(result.skip_reason)


def test_a_missing_catalog_is_a_sentence_and_is_not_made_by_looking(
    settings: Settings, tick: Tick
) -> None:
    result = tick(
        tables_sensor(settings), iceberg=IcebergCatalogResource.of(settings), kafka=FakeKafka()
    )
    assert str(result.skip_reason).count("There is no catalog") == 1
    assert not settings.catalog_db.exists()


def test_a_compaction_is_no_news_and_hides_none(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor = tables_sensor(settings)
    lakehouse.commit("inventory", 3)
    tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka())
    lakehouse.replace("inventory")
    assert tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka()).asset_events == []

    committed = lakehouse.commit("inventory", 2)
    lakehouse.replace("inventory")
    (event,) = tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka()).asset_events
    assert values(event)["rows_added"] == 2
    assert isinstance(event, dg.AssetMaterialization)
    assert event.tags == {"dagster/data_version": str(committed)}


def test_a_mark_that_nobody_can_read_is_named_beside_what_was_reported(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.unreadable_mark("inventory")
    lakehouse.commit("clickstream", 2)
    kafka = FakeKafka({"clickstream": 2})
    result = tick(tables_sensor(settings), iceberg=lakehouse.resource(), kafka=kafka)
    assert "version 99" in str(result.skip_reason)
    told = [e for e in result.asset_events if isinstance(e, dg.AssetMaterialization)]
    assert [each.asset_key.path[-1] for each in told] == ["clickstream_events"]


def test_news_is_gathered_until_the_report_is_due_and_none_is_lost(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    sensor = tables_sensor(settings.model_copy(update={"report_interval_seconds": 300}))
    # Silence is no news: what says that nothing waits is not asked for here.
    seen: dict[str, Any] = {"iceberg": lakehouse.resource(), "kafka": FakeKafka(outage="Down.")}
    lakehouse.commit("inventory", 1)
    assert len(tick(sensor, **seen).asset_events) == 1
    for rows in (2, 3):
        later(15)
        lakehouse.commit("inventory", rows)
        waiting = tick(sensor, **seen)
        assert waiting.asset_events == []
        assert "1 have snapshots that wait for their next report" in str(waiting.skip_reason)
    # Nothing more comes, and what came is told all the same.
    later(270)
    (event,) = tick(sensor, **seen).asset_events
    told = values(event)
    assert told["rows_added"] == 5
    assert told["snapshots"] == 2
    later(600)
    assert tick(sensor, **seen).asset_events == []


def test_a_quarantine_is_reported_more_seldom(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Later
) -> None:
    sensor = tables_sensor(settings.model_copy(update={"report_interval_seconds": 300}))
    reported = []
    for _ in range(8):
        lakehouse.commit("inventory", 1, contract=quarantine_table("inventory"))
        told = tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka(outage="Down."))
        reported.append(len(told.asset_events))
        later(300)
    assert reported == [1, 0, 1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("contract", [event_table("inventory"), quarantine_table("inventory")])
def test_news_is_reported_while_the_snapshot_of_the_last_report_is_kept(
    settings: Settings,
    lakehouse: Lakehouse,
    tick: Tick,
    later: Later,
    contract: TableContract,
) -> None:
    slow = settings.model_copy(update={"report_interval_seconds": 3_600})
    sensor, reported = tables_sensor(slow), []
    for second in range(0, slow.retention_minutes * 60, 60):
        lakehouse.commit("inventory", 1, contract=contract)
        told = tick(sensor, iceberg=lakehouse.resource(), kafka=FakeKafka(outage="Down."))
        reported += [second] * len(told.asset_events)
        later(60)
    assert reported == [0, slow.retention_minutes * 60 - SPARE_SECONDS]
