"""Rules of removal: the last mark survives, files go after their grace, young orphans stay."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retail_lakehouse.maintenance.cleanup import expire_snapshots, remove_orphans
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse_tests.maintenance.conftest import CLOSED, Tables, stock

pytestmark = pytest.mark.stack


def _expire(tables: Tables, minutes: float, now: datetime) -> int:
    catalog = tables.settings.catalog_name
    report = expire_snapshots(tables.spark, catalog, tables.rows, minutes, now)
    assert report.before.snapshots - report.after.snapshots >= 0
    return report.removed_files


def test_the_last_mark_survives_the_expiry_of_everything_behind_many_compactions(
    inventory: Tables,
) -> None:
    inventory.land(stock(1, 2), stock(2, 1))
    mark = last_mark(inventory.load())
    assert mark is not None
    inventory.compact()
    for _ in range(3):
        # Nothing is due any more: replaced by hand, as many compactions in a quiet table would.
        inventory.compaction().table.load().rewriteManifests().commit()
    content = inventory.content()

    _expire(inventory, 0, datetime.now(UTC) + timedelta(days=30))

    assert last_mark(inventory.load()) == mark
    assert inventory.operations()[0] == "append"
    assert inventory.content() == content
    # A job that starts now goes on behind the mark, and its commit lets the old snapshot go.
    inventory.land(stock(5, 0))
    _expire(inventory, 0, datetime.now(UTC) + timedelta(days=30))
    assert len(inventory.operations()) == 1
    assert len(inventory.content()) == len(content) + 1


def test_replaced_files_go_after_the_grace_and_not_before(inventory: Tables) -> None:
    inventory.land(stock(1, 1))
    inventory.land(stock(2, 1))
    replaced = {Path(file.file_path.removeprefix("file:")) for file in inventory.files()}
    inventory.compact(CLOSED)
    inventory.land(stock(3, 0))
    now = datetime.now(UTC)

    assert _expire(inventory, 15, now) == 0
    assert _expire(inventory, 15, now + timedelta(minutes=14)) == 0
    assert all(path.exists() for path in replaced)
    assert _expire(inventory, 15, now + timedelta(minutes=16)) >= 2
    assert not any(path.exists() for path in replaced)
    assert len(inventory.content()) == 3


def test_an_orphan_of_three_days_is_removed_and_what_is_younger_or_named_is_spared(
    inventory: Tables,
) -> None:
    inventory.land(stock(1, 1))
    folder = Path(inventory.files()[0].file_path.removeprefix("file:")).parent
    old, young = folder / "00000-killed-job.parquet", folder / "00000-commit-under-way.parquet"
    now = datetime.now(UTC)
    for path, days in ((old, 3.1), (young, 2.9)):
        path.write_bytes(b"x" * 100)
        os.utime(path, times=((now - timedelta(days=days)).timestamp(),) * 2)
    named = [path for path in inventory.on_disk() if path not in (old, young)]
    for path in named:
        os.utime(path, times=((now - timedelta(days=30)).timestamp(),) * 2)

    catalog = inventory.settings.catalog_name
    # Dropped tables of other tests lie in the same place, younger than three days.
    report = remove_orphans(inventory.spark, catalog, inventory.rows)

    assert (report.removed_files, report.removed_bytes) == (1, 100)
    assert not old.exists()
    assert young.exists()
    assert len(inventory.content()) == 1
    data = [path for path in named if path.suffix in (".parquet", ".avro")]
    assert data
    assert all(path.exists() for path in data)
