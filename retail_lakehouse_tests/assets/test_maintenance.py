"""Rules of the maintenance assets: each table's figures are its own, and numbers that plot."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from retail_lakehouse.assets.maintenance import maintenance_assets
from retail_lakehouse.build import build_defs
from retail_lakehouse.contracts.tables import MAINTAINED_TABLES
from retail_lakehouse.resources.spark import SparkResource
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse_tests.resources.fakes import Lakehouse

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from retail_lakehouse.streaming.session import SessionArguments


def test_each_task_has_an_asset_for_each_maintained_table() -> None:
    keys = {key.to_user_string() for asset in maintenance_assets() for key in asset.keys}
    assert keys == {
        f"maintenance/{task}/{table.name}"
        for task in ("compaction", "expiry", "orphans")
        for table in MAINTAINED_TABLES
    }


@pytest.mark.stack
def test_one_run_compacts_and_expires_every_table_and_shows_before_and_after(
    spark: "SparkSession", spark_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = open_catalog(spark_settings)
    for table in MAINTAINED_TABLES:
        if catalog.table_exists(table.identifier):
            catalog.drop_table(table.identifier)
    lakehouse = Lakehouse(spark_settings)
    for _ in range(3):
        lakehouse.quarantine("inventory", [b"{", b"["])

    @contextmanager
    def of_the_tests(_: SparkResource, arguments: "SessionArguments") -> "Iterator[SparkSession]":
        assert arguments.catalog_name == spark_settings.catalog_name
        yield spark

    # A session of its own costs half a minute; the replay of a quarantine has one in its test.
    monkeypatch.setattr(SparkResource, "session", of_the_tests)
    result = (
        build_defs(spark_settings)
        .resolve_job_def("compact_and_expire")
        .execute_in_process(
            run_config={"ops": {"maintenance_compaction": {"config": {"reopened": True}}}}
        )
    )
    made = [
        event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
    ]
    shown = {
        each.asset_key.to_user_string(): {name: v.value for name, v in each.metadata.items()}
        for each in made
    }
    assert len(shown) == 2 * len(MAINTAINED_TABLES)
    quarantine = shown["maintenance/compaction/inventory_events_quarantine"]
    assert (quarantine["files_before"], quarantine["files_after"]) == (3, 1)
    assert quarantine["replace_snapshots"] == 1
    planning_ms = quarantine["planning_ms_before"]
    assert isinstance(planning_ms, float)
    assert planning_ms > 0
    assert all(isinstance(v, int | float) for figures in shown.values() for v in figures.values())
    expired = shown["maintenance/expiry/inventory_events_quarantine"]
    assert isinstance(expired["disk_files_before"], int)
    assert expired["disk_files_before"] > 0
