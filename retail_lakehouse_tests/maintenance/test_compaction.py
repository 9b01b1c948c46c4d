"""Rules of compaction: one `replace`, the same rows, sorted; beside writers nothing is lost."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

from retail_lakehouse.local.warehouse.lake import Lake
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
    for first in range(0, 40, 10):
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
    assert (report.before.files, report.after.files) == (4, 2)
    assert report.before.rows == report.after.rows == 44
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


def test_a_replace_snapshot_has_no_file_that_a_view_would_fold(
    inventory: Tables, warehouse: Asker
) -> None:
    inventory.land(stock(1, 1))
    inventory.land(stock(2, 1))
    warehouse.do(STOCK_VIEW)
    inventory.compact()
    inventory.land(stock(3, 1))
    warehouse.do("REFRESH MATERIALIZED VIEW mart.stock")
    # Were the rewritten file folded as well, the two old rows would count twice.
    assert warehouse.value("SELECT SUM(events) FROM mart.stock") == 3
    lake = Lake(inventory.settings.catalog_db, inventory.settings.catalog_name)
    table = lake.table("retail_db", "inventory_events")
    assert [s.operation for s in table.ancestors()][:2] == ["append", "replace"]


def test_late_rows_reopen_their_hour_for_the_next_run(inventory: Tables) -> None:
    inventory.land(stock(1, 2), stock(2, 1))
    inventory.land(stock(3, 2), stock(4, 1))
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


def test_an_open_hour_is_left_alone(inventory: Tables) -> None:
    inventory.land(stock(1, 0))
    inventory.land(stock(2, 0))
    assert inventory.compact().snapshot_id is None
    assert inventory.operations() == ["append", "append"]


def test_a_quarantine_is_merged_into_one_file_and_its_mark_stays(inventory: Tables) -> None:
    for _ in range(3):
        inventory.land(b"{", b"[]")
    mark = last_mark(inventory.load(inventory.quarantine))
    content = inventory.content(inventory.quarantine)
    report = inventory.compact(contract=inventory.quarantine)
    assert (report.before.files, report.after.files) == (3, 1)
    assert inventory.content(inventory.quarantine) == content
    assert last_mark(inventory.load(inventory.quarantine)) == mark


def test_a_commit_that_lost_its_race_is_retried_and_nothing_is_lost(inventory: Tables) -> None:
    inventory.land(stock(1, 1))
    inventory.land(stock(2, 1))
    before = inventory.content()
    with conflicts(inventory, 3):
        report = inventory.compact()
    assert report.failed_commits == 0
    assert inventory.content() == before
    assert inventory.operations() == ["append", "append", "replace"]


def test_an_append_between_plan_and_commit_stays_and_keeps_the_last_mark(
    inventory: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.land(stock(1, 1))
    inventory.land(stock(2, 1))
    commit = Compaction._commit

    def behind_an_append(self: Compaction, *arguments: Any) -> int:
        inventory.land(stock(3, 1))
        return commit(self, *arguments)

    monkeypatch.setattr(Compaction, "_commit", behind_an_append)
    report = inventory.compact()
    assert report.failed_commits == 0
    assert (report.rewritten_files, report.after.files) == (2, 2)
    assert inventory.operations()[-2:] == ["append", "replace"]
    mark = last_mark(inventory.load())
    assert mark is not None
    assert (mark.until, mark.total.landed) == ({0: 3}, 3)
    assert len(inventory.content()) == 3


def test_a_rewrite_of_files_that_another_one_replaced_is_planned_anew(
    inventory: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.land(stock(1, 1))
    inventory.land(stock(2, 1))
    inventory.land(stock(3, 2))
    inventory.land(stock(4, 2))
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


def test_a_compaction_that_never_wins_gives_up_and_changes_nothing(
    inventory: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory.land(stock(1, 1))
    inventory.land(stock(2, 1))
    before = inventory.content()

    def lost(*_: object) -> int:
        raise room._ConflictError("another commit came before (test).")

    monkeypatch.setattr(Compaction, "_commit", lost)
    with pytest.raises(CompactionFailedError, match="the next run tries again"):
        inventory.compact()
    assert inventory.content() == before
    assert inventory.operations() == ["append", "append"]
    assert len([p for p in inventory.on_disk() if p.suffix == ".parquet"]) == 2


@pytest.mark.parametrize("loses_rows", [True, False])
def test_anything_else_than_a_replace_of_the_same_rows_is_refused(
    inventory: Tables, monkeypatch: pytest.MonkeyPatch, loses_rows: bool
) -> None:
    inventory.land(stock(1, 1), stock(2, 1))
    inventory.land(stock(3, 1))
    before = inventory.content()
    if loses_rows:
        write = Compaction._write
        monkeypatch.setattr(
            Compaction, "_write", lambda self, rows, *rest: write(self, rows.limit(2), *rest)
        )
    else:
        monkeypatch.setattr(room, "REPLACE", "append")
    with pytest.raises(CompactionRefusedError, match="Nothing was committed"):
        inventory.compact()
    assert inventory.content() == before
    assert inventory.operations() == ["append", "append"]
    assert len([p for p in inventory.on_disk() if p.suffix == ".parquet"]) == 2


@pytest.mark.slow
def test_beside_a_writer_neither_side_fails_and_no_row_is_lost_or_doubled(
    inventory: Tables,
) -> None:
    inventory.land(stock(0, 1))
    failures: list[BaseException] = []
    stop = threading.Event()

    def write() -> None:
        number = 1
        try:
            while not stop.is_set():
                inventory.land(stock(number, 1 + number % 3))
                number += 1
        except BaseException as error:  # noqa: BLE001 - the test shows it
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    replaced = 0
    try:
        for _ in range(4):
            replaced += inventory.compact().snapshot_id is not None
    finally:
        stop.set()
        writer.join(120)
    assert failures == []
    assert replaced > 0
    mark = last_mark(inventory.load())
    assert mark is not None
    assert len(inventory.content()) == mark.total.landed == mark.until[0]
    assert set(inventory.operations()) == {"append", "replace"}
