"""An event that landed twice is found, within a commit and across commits, and within bounds."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.tables import keys
from retail_lakehouse.tables.keys import KeyMemory, Keys, forget, keys_of
from retail_lakehouse_tests.resources.fakes import good_rows

HORIZON = 24


def rows(count: int = 3) -> pa.Table:
    return good_rows(event_table("inventory"), count).select(keys.COLUMNS)


def some(*numbers: int) -> Keys:
    return np.array(numbers, dtype=np.uint64)


def test_a_key_is_the_id_within_its_hour() -> None:
    one = rows(1)
    at = one["event_timestamp"][0].as_py()
    hour = at // 3_600_000 * 3_600_000

    def key(ms: int) -> Any:
        return keys_of(one.set_column(1, "event_timestamp", pa.array([ms], pa.int64())), 999)[0]

    assert key(hour) == key(hour + 3_599_999)
    assert key(hour) != key(hour + 3_600_000)
    assert len(np.unique(keys_of(rows(50), HORIZON))) == 50


def test_rows_past_the_dedupe_horizon_landed_without_a_search_and_are_left_out() -> None:
    late = rows(1)
    broker = late["kafka_timestamp"][0].as_py() + timedelta(hours=HORIZON + 1)
    late = late.set_column(2, "kafka_timestamp", pa.array([broker], pa.timestamp("us")))
    assert len(keys_of(late, HORIZON)) == 0
    assert len(keys_of(late, HORIZON + 2)) == 1


def test_a_backfilled_row_has_no_broker_time_and_a_key_all_the_same() -> None:
    backfilled = rows(2).set_column(2, "kafka_timestamp", pa.nulls(2, pa.timestamp("us")))
    assert len(keys_of(backfilled, HORIZON)) == 2


def test_copies_within_a_commit_and_of_former_commits_are_counted(tmp_path: Path) -> None:
    assert KeyMemory(tmp_path, [1]).repeats(1, some(5, 6, 6, 6)) == 2
    later = KeyMemory(tmp_path, [2, 3])
    assert later.repeats(2, some(6, 7)) == 1
    assert later.repeats(3, some(7, 8, 5)) == 2


def test_a_commit_that_is_looked_at_again_is_no_copy_of_itself(tmp_path: Path) -> None:
    for _ in range(2):
        assert KeyMemory(tmp_path, [1]).repeats(1, some(5, 6)) == 0


def test_the_oldest_commits_are_forgotten_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "COMMITS_MOST", 2)
    for number in (1, 2, 3):
        memory = KeyMemory(tmp_path, [number])
        memory.repeats(number, some(number))
        os.utime(tmp_path / f"{number}.npy", (number, number))
    memory.trim()
    assert KeyMemory(tmp_path, [9]).repeats(9, some(1, 2, 3)) == 2


def test_a_file_that_was_cut_is_as_good_as_none(tmp_path: Path) -> None:
    KeyMemory(tmp_path, [1]).repeats(1, some(5))
    (tmp_path / "1.npy").write_bytes(b"\x93NUM")
    assert KeyMemory(tmp_path, [2]).repeats(2, some(5)) == 0


def test_a_forgotten_memory_knows_nothing(tmp_path: Path) -> None:
    KeyMemory(tmp_path, [1]).repeats(1, some(5))
    forget(tmp_path)
    assert KeyMemory(tmp_path, [2]).repeats(2, some(5)) == 0
