"""A comparison reads the snapshots it began with, whatever is committed meanwhile."""

from datetime import datetime
from pathlib import Path

import pytest

from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.local.recompute.pinned import SnapshotGone, _copied, raw_rows
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse_tests.contracts.test_mark import example_mark
from retail_lakehouse_tests.warehouse.raw_rows import RawRows, arrow

INVENTORY = event_table("inventory")
OVER_INVENTORY = [v.name for v in MATERIALIZED_VIEWS if v.source_tables == (INVENTORY.name,)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings.load({"state_dir": tmp_path})
    prepare_catalog(settings)
    ensure_tables(open_catalog(settings), settings)
    return settings


def folded(snapshot: int | None) -> dict[str, int | None]:
    return {
        view.name: snapshot if view.name in OVER_INVENTORY else None for view in MATERIALIZED_VIEWS
    }


def test_a_metadata_file_that_later_commits_delete_is_read_to_the_end(settings: Settings) -> None:
    raw = RawRows(1, datetime(2026, 11, 1, 12))  # noqa: DTZ001 - the tables have no zone
    table = open_catalog(settings).load_table(INVENTORY.identifier)
    append_marked(table, arrow(INVENTORY, [raw.inventory() for _ in range(3)]), example_mark())
    snapshot = table.refresh().current_snapshot()
    assert snapshot is not None
    with raw_rows(settings, folded(snapshot.snapshot_id)) as rows:
        Path(table.metadata_location.removeprefix("file://")).unlink()
        for view in OVER_INVENTORY:
            assert rows.execute(f"SELECT count(*) FROM {view}").fetchone() == (3,)


@pytest.mark.parametrize("scheme", ["file:", "file://", ""])
def test_a_metadata_file_is_found_however_its_writer_spells_its_place(
    tmp_path: Path, scheme: str
) -> None:
    source = tmp_path / "00001-a.metadata.json"
    source.write_text("{}")
    (tmp_path / "copies").mkdir()
    copy = Path(_copied(f"{scheme}{source}", tmp_path / "copies"))
    assert copy.parent == tmp_path / "copies"
    assert copy.read_text() == "{}"


def test_a_snapshot_that_has_expired_is_said_to_be_gone(settings: Settings) -> None:
    with pytest.raises(SnapshotGone, match="which has expired"), raw_rows(settings, folded(7)):
        raise AssertionError("the rows of no snapshot")
