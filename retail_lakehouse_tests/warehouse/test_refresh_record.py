"""Rules of the file of refreshes: damage is left out, and no writer loses another's record."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from retail_lakehouse.contracts.views import materialized_under, view_named
from retail_lakehouse.warehouse.refresh_record import (
    RowCount,
    ViewRecord,
    newest_shown_ms,
    read_records,
    read_row_counts,
    refreshes_file,
    write_records,
)

WHOLE = ViewRecord(9_000, 0.5, 3, 8_000, "Refreshed incrementally", 1, 0.1, True, {"t": 7})
EMPTY = ViewRecord(9_000, 0.0, None, None, "", None, None, None, {})


def _told(root: Path, content: object) -> Path:
    path = refreshes_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


def test_what_is_written_is_read_back_beside_what_was_there(tmp_path: Path) -> None:
    count = RowCount(2, 8_000, 9_000)
    write_records(tmp_path, {"mv_a": WHOLE, "plain": RowCount(None, None, 1)})
    write_records(tmp_path, {"mv_b": EMPTY, "plain": count})
    assert read_records(tmp_path) == {"mv_a": WHOLE, "mv_b": EMPTY}
    assert read_row_counts(tmp_path) == {"plain": count}


def test_of_two_who_write_at_once_neither_loses_what_the_other_wrote(tmp_path: Path) -> None:
    def write(name: str) -> None:
        for n in range(20):
            write_records(tmp_path, {f"{name}{n}": WHOLE})

    writers = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert len(read_records(tmp_path)) == 60


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "null", '{"mv_a": 7, "mv_b": []}'])
def test_a_file_that_is_no_record_is_as_none(tmp_path: Path, content: str) -> None:
    assert read_records(_told(tmp_path, content)) == {}
    assert read_row_counts(tmp_path) == {}


def test_of_a_record_only_what_can_be_understood_is_kept(tmp_path: Path) -> None:
    odd = {
        "refreshed_at_ms": 9_000.0,
        "duration_seconds": "fast",
        "rows": "3",
        "refresh_status": None,
        "incremental": "yes",
        "base_snapshots": [7],
    }
    whole = {"refreshed_at_ms": 9_000, "base_snapshots": {"t": 7, "u": "eight"}, "incremental": 0}
    read = read_records(_told(tmp_path, {"odd": odd, "whole": whole, "bad": {"rows": 3}}))
    assert read.keys() == {"odd", "whole"}
    assert read["odd"] == EMPTY
    assert read["whole"].base_snapshots == {"t": 7, "u": None}
    assert read["whole"].incremental is None


def test_a_view_is_as_new_as_the_oldest_under_it_and_unknown_until_all_are_known() -> None:
    age = view_named("pipeline_age")
    under = sorted(materialized_under(age))
    assert len(under) > 1
    records = {name: replace(WHOLE, newest_event_ms=8_000 - n) for n, name in enumerate(under)}
    assert newest_shown_ms(age, records) == 8_000 - len(under) + 1
    assert newest_shown_ms(age, records | {under[0]: EMPTY}) is None
    assert newest_shown_ms(age, {name: records[name] for name in under[1:]}) is None
    assert newest_shown_ms(view_named(under[0]), records) == 8_000
