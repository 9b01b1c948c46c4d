"""Rules of compaction: one `replace`, the same rows, sorted; beside writers nothing is lost."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

from retail_lakehouse.maintenance import compaction as room
from retail_lakehouse.maintenance.compaction import (
    Compaction,
    CompactionFailedError,
    CompactionRefusedError,
)
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse_tests.local.warehouse.conftest import Asker
from retail_lakehouse_tests.maintenance.conftest import CLOSED, STOCK_VIEW, Tables, stock

pytestmark = pytest.mark.stack


@contextmanager
def conflicts(tables: Tables, count: int) -> Iterator[None]:
    """The next `count` commits to the catalog find that another one came before."""
    with sqlite3.connect(tables.settings.catalog_db, timeout=60) as db:
        db.execute("CREATE TABLE conflicts_to_come (number INTEGER)")
        db.execute("INSERT INTO conflicts_to_come VALUES (?)", (count,))
        # An update that changes no row is what JdbcCatalog takes for a lost race.
        db.execute(
            "CREATE TRIGGER lost_race BEFORE UPDATE ON iceberg_tables "
            "WHEN (SELECT number FROM conflicts_to_come) > 0 BEGIN "
            "UPDATE conflicts_to_come SET number = number - 1; SELECT RAISE(IGNORE); END"
        )
    db.close()
    try:
        yield
    finally:
        with sqlite3.connect(tables.settings.catalog_db, timeout=60) as db:
            db.execute("DROP TRIGGER lost_race")
            ((left,),) = db.execute("SELECT number FROM conflicts_to_come").fetchall()
            db.execute("DROP TABLE conflicts_to_come")
        db.close()
        assert left == 0


def _hours(tables: Tables) -> list[tuple[Any, ...]]:
    return sorted((file.spec_id, *file.partition) for file in tables.files())


def test_a_closed_hour_becomes_one_sorted_file_in_one_replace_snapshot_and_views_stay_equal(
    inventory: Tables, warehouse: Asker
) -> None:
    for first in range(0, 30, 10):
        inventory.land(
            *(stock(n, 1, f"S{n % 4:04d}") for n in range(first, first + 10)),
            stock(100 + first, 0),
        )
    warehouse.do(STOCK_VIEW)
    before, shown = inventory.content(), warehouse.rows("SELECT * FROM mart.stock ORDER BY 1, 2")
    mark, operations = last_mark(inventory.load()), inventory.operations()

    # Each batch's rows of the closed hour lie with those of the running one: nothing is due yet.
    assert inventory.compact().snapshot_id is None
    report = inventory.compact(CLOSED + timedelta(hours=1))

    assert inventory.operations() == [*operations, "replace"]
    assert report.snapshot_id == inventory.load().current_snapshot().snapshot_id
    assert (report.before.files, report.after.files) == (3, 2)
    assert report.before.rows == report.after.rows == 33
    assert report.after.bytes < report.before.bytes
    assert report.before.planning_ms > 0
    assert inventory.content() == before
    assert last_mark(inventory.load()) == mark
    for file in inventory.files():
        assert len(file.partition) == 2
        rows = pq.read_table(file.file_path.removeprefix("file:")).to_pylist()
        keys = [(r["store_id"], r["sku"], r["event_timestamp"]) for r in rows]
        assert keys == sorted(keys)

    warehouse.do("REFRESH MATERIALIZED VIEW mart.stock")
    assert "recompute" not in warehouse.last_refresh()
    assert warehouse.note("stock") == ""
    assert warehouse.rows("SELECT * FROM mart.stock ORDER BY 1, 2") == shown
    # Nothing is due twice.
    assert inventory.compact(CLOSED + timedelta(hours=1)).snapshot_id is None
    # Were the rewritten files folded with the next rows, the old ones would count twice.
    inventory.land(stock(500, 1))
    warehouse.do("REFRESH MATERIALIZED VIEW mart.stock")
    assert warehouse.note("stock") == ""
    assert warehouse.value("SELECT SUM(events) FROM mart.stock") == 34


def test_late_rows_reopen_their_hour_for_the_next_run(inventory: Tables) -> None:
    inventory.land(stock(1, 2), stock(2, 1))
    inventory.compact()
    assert len(inventory.files()) == 2

    inventory.land(stock(5, 2, "S0000"))
    content = inventory.content()
    assert inventory.compact(reopened=False).snapshot_id is None
    report = inventory.compact()

    assert report.rewritten_files == 2
    assert len(inventory.files()) == 2
    assert inventory.content() == content
    assert {spec for spec, *_ in _hours(inventory)} == {1}


def test_a_quarantine_is_merged_into_one_file_and_its_mark_stays(inventory: Tables) -> None:
    for _ in range(2):
        inventory.land(b"{", b"[]")
    mark = last_mark(inventory.load(inventory.quarantine))
    content = inventory.content(inventory.quarantine)
    report = inventory.compact(contract=inventory.quarantine)
    assert (report.before.files, report.after.files) == (2, 1)
    assert inventory.content(inventory.quarantine) == content
    assert last_mark(inventory.load(inventory.quarantine)) == mark


def test_a_commit_that_lost_its_race_is_retried_and_nothing_is_lost(inventory: Tables) -> None:
    inventory.land(stock(1, 1), stock(2, 1))
    before = inventory.content()
    with conflicts(inventory, 3):
        report = inventory.compact()
    assert report.failed_commits == 0
    assert inventory.content() == before
    assert inventory.operations() == ["append", "replace"]


def test_an_append_between_plan_and_commit_stays_and_keeps_the_last_mark(
    inventory: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.land(stock(1, 1), stock(2, 1))
    commit = Compaction._commit

    def behind_an_append(self: Compaction, *arguments: Any) -> int:
        inventory.land(stock(3, 1))
        return commit(self, *arguments)

    monkeypatch.setattr(Compaction, "_commit", behind_an_append)
    report = inventory.compact()
    assert report.failed_commits == 0
    assert (report.rewritten_files, report.after.files) == (1, 2)
    assert inventory.operations() == ["append", "append", "replace"]
    mark = last_mark(inventory.load())
    assert mark is not None
    assert (mark.until, mark.total.landed) == ({0: 3}, 3)
    assert len(inventory.content()) == 3


def test_a_rewrite_of_files_that_another_one_replaced_is_planned_anew(
    inventory: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.land(stock(1, 1), stock(3, 2))
    before = inventory.content()
    commit, others = Compaction._commit, iter([True])

    def behind_another(self: Compaction, *arguments: Any) -> int:
        if next(others, False):
            monkeypatch.setattr(Compaction, "_commit", commit)
            inventory.compact()
            inventory.land(stock(5, 2))
            monkeypatch.setattr(Compaction, "_commit", behind_another)
        return commit(self, *arguments)

    monkeypatch.setattr(Compaction, "_commit", behind_another)
    report = inventory.compact()
    assert report.failed_commits == 1
    assert report.rewritten_files == 2
    assert len(inventory.content()) == len(before) + 1
    assert inventory.operations().count("replace") == 2
    # What the failed attempt had written is gone: only what snapshots name was added.
    data = [path for path in inventory.on_disk() if path.suffix == ".parquet"]
    named = {e["file_path"] for e in inventory.load().inspect.all_files().to_pylist()}
    assert {path.name for path in data} == {name.rpartition("/")[2] for name in named}


def test_a_rewrite_that_another_one_made_needless_counts_as_a_failed_commit(
    inventory: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.land(stock(1, 1))
    before, commit = inventory.content(), Compaction._commit

    def behind_another(self: Compaction, *arguments: Any) -> int:
        monkeypatch.setattr(Compaction, "_commit", commit)
        inventory.compact()
        return commit(self, *arguments)

    monkeypatch.setattr(Compaction, "_commit", behind_another)
    report = inventory.compact()
    assert (report.failed_commits, report.snapshot_id) == (1, None)
    assert inventory.operations() == ["append", "replace"]
    assert inventory.content() == before


def test_what_is_no_replace_of_the_same_rows_is_refused_and_changes_nothing(
    inventory: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.land(stock(1, 1), stock(2, 1), stock(3, 1))
    before, write = inventory.content(), Compaction._write

    def nothing_changed() -> None:
        assert inventory.content() == before
        assert inventory.operations() == ["append"]
        assert len([p for p in inventory.on_disk() if p.suffix == ".parquet"]) == 1

    def loses_a_row(self: Compaction, rows: Any, *rest: Any) -> None:
        write(self, rows.limit(2), *rest)

    def never_wins(*_: object) -> int:
        raise room._ConflictError("another commit came before (test).")

    with monkeypatch.context() as patch:
        patch.setattr(Compaction, "_write", loses_a_row)
        with pytest.raises(CompactionRefusedError, match=r"wrote 2\. Nothing was committed"):
            inventory.compact()
    nothing_changed()
    with monkeypatch.context() as patch:
        patch.setattr(room, "REPLACE", "append")
        with pytest.raises(CompactionRefusedError, match="committed as 'replace'"):
            inventory.compact()
    nothing_changed()
    with monkeypatch.context() as patch:
        patch.setattr(room, "ATTEMPTS", 2)
        patch.setattr(Compaction, "_commit", never_wins)
        with pytest.raises(CompactionFailedError, match="the next run tries again"):
            inventory.compact()
    nothing_changed()
