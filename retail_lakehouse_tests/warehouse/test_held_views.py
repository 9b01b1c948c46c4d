"""A gap injected: the view stands still in the real warehouse, then moves after its release.

Here: the sensor's tick and the commands against the stand-in server, and what its views hold. Not
here: what is found and held in each case (`sensors/test_holds.py`).
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from retail_lakehouse.build import build_defs
from retail_lakehouse.cli import app
from retail_lakehouse.contracts.views import materialized_over
from retail_lakehouse.local.status import collect_status
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.client import WarehouseClient
from retail_lakehouse.warehouse.ddl import ensure_schemas, ensure_views
from retail_lakehouse.warehouse.refresh_record import read_records
from retail_lakehouse_tests.resources import fakes
from retail_lakehouse_tests.warehouse.conftest import make_lakehouse

pytestmark = pytest.mark.stack

TABLE = "inventory_events"
OVER = [view.name for view in materialized_over(TABLE)]


class Platform:
    """The sensor that refreshes views, over tables of a test's own and the real server."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings = settings
        self.tables = fakes.Lakehouse(settings)
        self._instance = instance
        self._cursor: str | None = None

    def tick(self) -> dict[str, str]:
        """One tick of a daemon that has just started; returns the failed checks."""
        repository = build_defs(self.settings).get_repository_def()
        sensor = repository.get_sensor_def("refresh_due_views")
        resources = repository.get_top_level_resources()
        with dg.build_sensor_context(
            instance=self._instance,
            cursor=self._cursor,
            repository_def=repository,
            resources={name: resources[name] for name in sensor.required_resource_keys},
        ) as context:
            told = sensor.evaluate_tick(context)
        self._cursor = told.cursor
        return {
            str(event.check_name): str(event.description)
            for event in told.asset_events
            if isinstance(event, dg.AssetCheckEvaluation) and not event.passed
        }

    def shown(self) -> dict[str, tuple[int, int | None]]:
        """Of each view: the events that the warehouse shows in it, and the snapshot it serves."""
        records = read_records(self.settings.root)
        with WarehouseClient.from_settings(self.settings).session("tests:shown") as session:
            return {
                name: (
                    int(session.rows(f"SELECT SUM(events) FROM mart.{name}")[0][0]),
                    records[name].base_snapshots[TABLE],
                )
                for name in OVER
            }

    def command(self, *words: str) -> tuple[int, str]:
        """The exit code and output of a `views` command."""
        root, port = str(self.settings.root), f"warehouse_port={self.settings.warehouse_port}"
        arguments = ["views", *words, "--state-dir", root, "--set", port]
        told = CliRunner().invoke(app, arguments)
        return told.exit_code, told.output


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    lakehouse = make_lakehouse(tmp_path / "state", report_interval_seconds=0)
    try:
        with lakehouse.client.session("tests:views") as session:
            ensure_schemas(session)
            ensure_views(session)
        with dg.DagsterInstance.ephemeral() as instance:
            yield Platform(lakehouse.settings, instance)
    finally:
        lakehouse.stop()


def test_a_view_stands_still_over_a_gap_and_moves_after_its_release(platform: Platform) -> None:
    tables = platform.tables
    first = tables.commit("inventory", 5)
    assert platform.tick() == {}
    before = platform.shown()
    assert before == dict.fromkeys(OVER, (5, first))

    tables.lose("inventory", 40)
    tables.commit("inventory", 3)
    failed = platform.tick()
    assert list(failed) == ["offsets_contiguous"]
    assert "offsets 5 to 44 of partition 0 are in no commit" in failed["offsets_contiguous"]
    for _ in range(2):
        newest = tables.commit("inventory", 2)
        platform.tick()
        assert platform.shown() == before

    code, output = platform.command("refresh", "mv_stock_newest")
    assert code == 1
    assert "mv_stock_newest is held since" in output
    assert platform.shown() == before
    views = collect_status(platform.settings)["views"]
    assert isinstance(views, dict)
    assert all(views[f"mart.{name}"]["held_since"] for name in OVER)

    code, output = platform.command("release", TABLE, "--who", "ana")
    assert code == 0, output
    platform.tick()
    assert platform.shown() == dict.fromkeys(OVER, (12, newest))
    assert platform.command("refresh", "mv_stock_newest")[0] == 0
