"""Rules of the benchmark of one real hour: its gap is one, and what it must have seen to hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.real_hour import SKIPPED_RECORDS, Gap, Result, _one_row, _skipping, page
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.marks import last_mark, marked_snapshots
from retail_lakehouse.tables.offsets import follow
from retail_lakehouse_tests.resources.fakes import Lakehouse

HELD = Gap(alert_after_seconds=14.0, moved_after_release_seconds=9.0, alerts_opened=["a"])


def test_the_commit_skips_offsets_and_nothing_else_is_wrong_with_it(tmp_path: Path) -> None:
    lakehouse = Lakehouse(Settings.load({"state_dir": tmp_path / "state"}))
    lakehouse.commit(INVENTORY.name, 3)
    table = lakehouse.table(INVENTORY.name)
    mark = last_mark(table)
    assert mark is not None
    row = _one_row(table.scan(limit=1).to_arrow(), mark)
    append_marked(table, row, _skipping(mark))
    table = lakehouse.table(INVENTORY.name)
    breaks, covered = follow(marked_snapshots(table), None, from_the_first=True)
    assert len(breaks) == 1
    assert f"{SKIPPED_RECORDS} records" in breaks[0].sentence
    assert covered is not None
    assert covered.until[0] == 3 + SKIPPED_RECORDS + 1
    ids = table.scan().to_arrow().column("event_id").to_pylist()
    assert len(set(ids)) == len(ids) == 4
    assert row.schema.names == [field.name for field in table.schema().fields]
    assert event_table(INVENTORY).name in str(table.name())


def test_it_holds_without_a_false_alarm_and_with_views_that_stood_still_and_moved() -> None:
    held = Result({"cores": 2}, 60.0, alerts_lost=0, gap=HELD)
    assert held.held
    assert not replace(held, false_alarms=["opened x"]).held
    assert not replace(held, alerts_lost=None).held
    for change in (
        {"alert_after_seconds": None},
        {"moved_while_held": True},
        {"moved_after_release_seconds": None},
    ):
        assert not replace(held, gap=replace(HELD, **change)).held


def test_the_page_says_what_came_and_what_did_not() -> None:
    ticks: dict[str, dict[str, float | int]] = {"watch_stream": {"ticks": 240, "failed": 0}}
    result = Result({"cores": 2}, 60.0, ["opened an alert of the start"], ticks=ticks)
    told = page(result)
    assert "until then was told: opened an alert of the start." in told
    assert "False alarms: none." in told
    assert "| watch_stream | 240 | 0 |" in told
    assert "Told after (it did not come)" in told
