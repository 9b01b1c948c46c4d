"""A gap, a copy or a broken contract holds the views over the table; a release lets them go."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from retail_lakehouse.assets import views
from retail_lakehouse.cli import app
from retail_lakehouse.contracts.service_levels import HOLDING, SERVICE_LEVELS
from retail_lakehouse.contracts.tables import TableContract, event_table, quarantine_table
from retail_lakehouse.contracts.views import materialized_over
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.warehouse import Refreshed
from retail_lakehouse.sensors.stream import stream_sensor
from retail_lakehouse.sensors.views import views_sensor
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.evaluated import read_evaluated
from retail_lakehouse.warehouse.holds import holds_file, read_holds
from retail_lakehouse.warehouse.refresh_record import read_records
from retail_lakehouse_tests.resources.fakes import (
    FakeJobs,
    FakeKafka,
    FakeWarehouse,
    Lakehouse,
    good_rows,
)
from retail_lakehouse_tests.sensors.conftest import Tick

INVENTORY = event_table("inventory")
OVER = {view.name for view in materialized_over(INVENTORY.name)}


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Moves the clock on by so many seconds."""
    real, ahead = time.time_ns, [0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + ahead[0] * 10**9)

    def move(seconds: int) -> None:
        ahead[0] += seconds

    return move


def failing(result: dg.SensorResult) -> dict[tuple[str, str], str]:
    return {
        (event.asset_key.path[-1], event.check_name or ""): str(event.description)
        for event in result.asset_events
        if isinstance(event, dg.AssetCheckEvaluation) and not event.passed
    }


def observed(result: dg.SensorResult) -> dict[str, dg.AssetObservation]:
    return {
        event.asset_key.path[-1]: event
        for event in result.asset_events
        if isinstance(event, dg.AssetObservation)
    }


def served(settings: Settings) -> dict[str, int | None]:
    """The snapshot of the inventory table that each view over it shows."""
    records = read_records(settings.root)
    return {name: records[name].base_snapshots[INVENTORY.name] for name in sorted(OVER)}


def release(settings: Settings, name: str, *more: str) -> str:
    arguments = ["views", "release", name, "--who", "ana", *more]
    told = CliRunner().invoke(app, [*arguments, "--state-dir", str(settings.root)])
    assert told.exit_code == 0, told.output
    return told.output


def test_a_gap_makes_the_views_stand_still_until_they_are_let_go(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse, iceberg = views_sensor(settings), FakeWarehouse(), lakehouse.resource()
    before = lakehouse.commit("inventory", 3)
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    assert set(served(settings).values()) == {before}

    lakehouse.lose("inventory", 40)
    after_gap = lakehouse.commit("inventory", 3)
    lakehouse.commit("transactions", 3)
    result = tick(sensor, iceberg=iceberg, warehouse=warehouse)
    # It stands still, the views over other tables move, and one check opens one alert.
    assert set(served(settings).values()) == {before}
    assert warehouse.sessions[-1][1]
    assert not OVER & set(warehouse.sessions[-1][1])
    ((where, sentence),) = failing(result).items()
    assert where == (INVENTORY.name, "offsets_contiguous")
    assert "offsets 3 to 42 of partition 0 are in no commit (40 records at the most)" in sentence
    assert set(observed(result)) == OVER
    page = observed(result)["mv_stock_newest"]
    assert page.metadata["held_since"].value == pytest.approx(time.time(), abs=60)
    assert "are in no commit" in str(page.metadata["held_because"].value)
    assert result.skip_reason is not None
    assert "Held are mv_" in str(result.skip_reason.skip_message)

    # However often it is looked at, and after a restart.
    for _ in range(2):
        lakehouse.commit("inventory", 1)
        newest = views_sensor(settings)
        assert not failing(tick(newest, iceberg=iceberg, warehouse=warehouse))
        assert set(served(settings).values()) == {before}

    told = release(settings, INVENTORY.name)
    assert "by ana" in told
    newest_id = lakehouse.commit("inventory", 1)
    result = tick(sensor, iceberg=iceberg, warehouse=warehouse)
    assert set(served(settings).values()) == {newest_id}
    assert newest_id != after_gap
    recovered = [
        event
        for event in result.asset_events
        if isinstance(event, dg.AssetCheckEvaluation) and event.check_name == "offsets_contiguous"
    ]
    assert [event.passed for event in recovered] == [True]


def test_what_lands_while_the_warehouse_wakes_up_is_looked_at_before_it_is_folded(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waking(FakeWarehouse):
        def refresh(self, *told: Any, **named: Any) -> Refreshed:
            lakehouse.lose("inventory", 40)
            lakehouse.commit("inventory", 3)
            return super().refresh(*told, **named)

    sensor, iceberg = views_sensor(settings), lakehouse.resource()
    before = lakehouse.commit("inventory", 3)
    tick(sensor, iceberg=iceberg, warehouse=FakeWarehouse())
    lakehouse.commit("inventory", 3)
    sales = lakehouse.commit("transactions", 3)
    monkeypatch.setattr(views, "LOOK_LASTS_SECONDS", -1.0)
    result = tick(sensor, iceberg=iceberg, warehouse=Waking())
    assert set(served(settings).values()) == {before}
    assert read_records(settings.root)["mv_sales_quarter_hour"].base_snapshots == {
        event_table("transactions").name: sales
    }
    assert set(failing(result)) == {(INVENTORY.name, "offsets_contiguous")}
    assert set(observed(result)) == OVER


def test_a_gap_after_a_release_holds_again(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse, iceberg = views_sensor(settings), FakeWarehouse(), lakehouse.resource()
    lakehouse.commit("inventory", 3)
    for _ in range(2):
        lakehouse.lose("inventory", 1)
        lakehouse.commit("inventory", 3)
        tick(sensor, iceberg=iceberg, warehouse=warehouse)
        assert read_holds(settings.root).hold_of("mv_stock_newest") is not None
        release(settings, INVENTORY.name)
    assert read_holds(settings.root).hold_of("mv_stock_newest") is None


def test_what_was_let_go_is_not_found_again_when_the_last_look_is_lost(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse, iceberg = views_sensor(settings), FakeWarehouse(), lakehouse.resource()
    lakehouse.commit("inventory", 3)
    lakehouse.lose("inventory", 1)
    lakehouse.commit("inventory", 3)
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    release(settings, INVENTORY.name)
    (settings.root / "run" / "evaluated.json").unlink()
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    assert read_holds(settings.root).hold_of("mv_stock_newest") is None
    assert len(served(settings)) == len(OVER)


def test_one_view_is_let_go_and_the_others_stay(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse, iceberg = views_sensor(settings), FakeWarehouse(), lakehouse.resource()
    lakehouse.commit("inventory", 3)
    lakehouse.lose("inventory", 1)
    lakehouse.commit("inventory", 3)
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    assert warehouse.sessions == []
    release(settings, "mart.mv_stock_newest")
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    assert [views for _, views in warehouse.sessions] == [("mv_stock_newest",)]


def with_rows(lakehouse: Lakehouse, rows: pa.Table) -> int:
    """Commits these rows of the inventory table."""

    class Given(Lakehouse):
        def rows(self, contract: TableContract, count: int) -> Any:
            return rows

    given = Given(lakehouse.settings)
    given.marks = lakehouse.marks
    return given.commit("inventory", rows.num_rows)


def test_an_event_that_lands_twice_holds_the_views(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse, iceberg = views_sensor(settings), FakeWarehouse(), lakehouse.resource()
    rows = good_rows(INVENTORY, 5)
    before = with_rows(lakehouse, rows)
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    again = with_rows(lakehouse, rows.slice(0, 2))
    result = tick(sensor, iceberg=iceberg, warehouse=warehouse)
    assert set(served(settings).values()) == {before}
    told = failing(result)
    assert set(told) == {(INVENTORY.name, "unique_by_key")}
    assert f"2 of the 2 rows that snapshot {again} brought" in told[INVENTORY.name, "unique_by_key"]


def test_a_row_that_breaks_the_contract_holds_the_views(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse, iceberg = views_sensor(settings), FakeWarehouse(), lakehouse.resource()
    rows = good_rows(INVENTORY, 3)
    place = rows.schema.get_field_index("quantity_reserved")
    wrong = pa.array([1, -4, -5], pa.int32())
    with_rows(lakehouse, rows.set_column(place, rows.schema.field(place), wrong))
    told = failing(tick(sensor, iceberg=iceberg, warehouse=warehouse))
    assert warehouse.sessions == []
    assert set(told) == {(INVENTORY.name, "conforms_to_contract")}
    assert "quantity_reserved is below 0 (2)" in told[INVENTORY.name, "conforms_to_contract"]


def test_a_file_that_is_gone_fails_the_checks_and_holds_nothing(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.commit("inventory", 3)
    for file in (settings.root / "warehouse" / "iceberg").rglob("*.parquet"):
        file.rename(file.with_suffix(".gone"))
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    told = failing(tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse))
    assert {check for _, check in told} == {"unique_by_key", "conforms_to_contract"}
    assert all("cannot be read" in sentence for sentence in told.values())
    assert read_holds(settings.root).findings == ()
    for file in (settings.root / "warehouse" / "iceberg").rglob("*.gone"):
        file.rename(file.with_suffix(".parquet"))
    assert not failing(tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse))
    assert read_evaluated(settings.root)[INVENTORY.name].rows_read == 3


def test_more_rows_than_the_bound_are_read_from_the_newest_commits(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.assets import new_data

    monkeypatch.setattr(new_data, "ROWS_MOST", 7)
    for count in (5, 4, 5):
        lakehouse.commit("inventory", count)
    tick(views_sensor(settings), iceberg=lakehouse.resource(), warehouse=FakeWarehouse())
    seen = read_evaluated(settings.root)[INVENTORY.name]
    assert (seen.rows_new, seen.rows_read) == (14, 7)


def test_only_what_is_new_is_read(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.tables import added_rows

    sensor, warehouse, iceberg = views_sensor(settings), FakeWarehouse(), lakehouse.resource()
    lakehouse.commit("inventory", 3)
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    real, read = added_rows.added_rows, []

    def noted(table: Any, contract: TableContract, snapshot_id: int, *more: Any) -> pa.Table:
        read.append(snapshot_id)
        return real(table, contract, snapshot_id, *more)

    monkeypatch.setattr(added_rows, "added_rows", noted)
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    assert read == []
    new = lakehouse.commit("inventory", 3)
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    assert read == [new]


def test_a_loss_in_the_quarantine_is_told_and_holds_no_view(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse, iceberg = views_sensor(settings), FakeWarehouse(), lakehouse.resource()
    name = quarantine_table("inventory").name
    lakehouse.commit("inventory", 3)
    lakehouse.quarantine("inventory", [b"{"])
    lakehouse.marks[name] = replace(lakehouse.marks[name], until={0: 9, 1: 0, 2: 0})
    lakehouse.quarantine("inventory", [b"["])
    told = failing(tick(sensor, iceberg=iceberg, warehouse=warehouse))
    assert set(told) == {(name, "offsets_contiguous")}
    assert "No view is held by it." in told[name, "offsets_contiguous"]
    assert set(served(settings)) == OVER


def test_while_it_is_held_no_other_check_of_the_view_fails(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, later: Callable[[int], None]
) -> None:
    sensor, warehouse, iceberg = views_sensor(settings), FakeWarehouse(), lakehouse.resource()
    lakehouse.commit("inventory", 3)
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    lakehouse.lose("inventory", 1)
    lakehouse.commit("inventory", 3)
    tick(sensor, iceberg=iceberg, warehouse=warehouse)
    later(3 * SERVICE_LEVELS.serving_lag_seconds)
    lakehouse.commit("inventory", 3)
    told = failing(tick(sensor, iceberg=iceberg, warehouse=warehouse))
    assert {check for _, check in told} <= {measure.value for measure in HOLDING}
    # Nor in the eyes of the sensor that looks for a refresh that is paused.
    ends = {"inventory": 11}
    other = tick(
        stream_sensor(settings), iceberg=iceberg, kafka=FakeKafka(ends), streaming_jobs=FakeJobs()
    )
    assert "serving_lag" not in {check for _, check in failing(other)}


def test_an_outage_of_the_warehouse_is_told_of_the_views_that_nothing_holds(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, iceberg = views_sensor(settings), lakehouse.resource()
    lakehouse.commit("inventory", 3)
    lakehouse.lose("inventory", 1)
    lakehouse.commit("inventory", 3)
    lakehouse.commit("transactions", 3)
    down = FakeWarehouse(outage="No warehouse answers.")
    told = failing(tick(sensor, iceberg=iceberg, warehouse=down))
    assert {check for name, check in told if name == INVENTORY.name} == {"offsets_contiguous"}
    late = {name for name, check in told if check == "serving_lag"}
    assert "mv_sales_quarter_hour" in late
    assert not late & OVER


def test_a_book_that_cannot_be_read_lets_nothing_be_refreshed(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse = views_sensor(settings), FakeWarehouse()
    lakehouse.commit("inventory", 3)
    holds_file(settings.root).parent.mkdir(parents=True, exist_ok=True)
    holds_file(settings.root).write_text("{")
    told = failing(tick(sensor, iceberg=lakehouse.resource(), warehouse=warehouse))
    assert warehouse.sessions == []
    assert {(name, "serving_lag") for name in OVER} <= set(told)
    assert all("so no view is refreshed" in sentence for sentence in told.values())


def test_a_table_that_cannot_be_loaded_fails_its_checks_with_the_sentence(
    settings: Settings, tick: Tick
) -> None:
    told = failing(
        tick(
            views_sensor(settings),
            iceberg=IcebergCatalogResource.of(settings),
            warehouse=FakeWarehouse(),
        )
    )
    assert {check for name, check in told if name == INVENTORY.name} == {
        measure.value for measure in HOLDING
    }


def test_a_compaction_and_a_rollback_are_no_gap_and_no_copy(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor, warehouse, iceberg = views_sensor(settings), FakeWarehouse(), lakehouse.resource()
    rows = good_rows(INVENTORY, 4)
    kept = with_rows(lakehouse, good_rows(INVENTORY, 2))
    marks = dict(lakehouse.marks)
    with_rows(lakehouse, rows)
    lakehouse.replace("inventory")
    assert not failing(tick(sensor, iceberg=iceberg, warehouse=warehouse))
    lakehouse.table("inventory").manage_snapshots().rollback_to_snapshot(kept).commit()
    lakehouse.marks = marks
    again = with_rows(lakehouse, rows)
    assert not failing(tick(sensor, iceberg=iceberg, warehouse=warehouse))
    assert set(served(settings).values()) == {again}
