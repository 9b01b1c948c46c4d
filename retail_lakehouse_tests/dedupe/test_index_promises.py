"""Rules of what an index says of itself: it claims no more than it has, and undoes no promise."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from retail_lakehouse.dedupe import key_index
from retail_lakehouse.dedupe.key_index import KeyIndex, Stamp

_ROW = np.array([[1, 1, 1]], dtype=np.int64)


def _stamp(number: int) -> Stamp:
    return Stamp("uuid", number, "topic", {0: number}, "form")


def _hours(*hours: int) -> "np.typing.NDArray[np.int64]":
    return np.array(hours, dtype=np.int64)


def _opened(folder: Path) -> KeyIndex:
    index = KeyIndex(folder)
    index.open()
    return index


def test_an_hour_that_was_forgotten_is_never_claimed_again(tmp_path: Path) -> None:
    index = _opened(tmp_path)
    index.seal(_stamp(0), 100)
    index.add(_hours(100), _ROW, _stamp(1), 100)
    index.add(_hours(102), _ROW, _stamp(2), 102)
    # The broker's clock has stepped back: hour 100 is within a record's horizon, and gone.
    index.add(_hours(102), _ROW + 1, _stamp(3), 100)
    assert index.oldest_hour == 102
    index.close()
    assert _opened(tmp_path).oldest_hour == 102
    index.open()
    index.seal(_stamp(4), 101)
    assert index.oldest_hour == 102


def test_a_bulk_that_is_never_sealed_takes_no_run_from_the_state_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_index, "BULK_KEYS", 1)
    index = _opened(tmp_path)
    index.seal(_stamp(0), 100)
    index.add(_hours(100), _ROW, _stamp(1), 100)
    index.fold()
    index.add_bulk(_hours(100), _ROW + 1, 100)
    index.add_bulk(_hours(100), _ROW + 2, 100)
    # A kill here.
    again = _opened(tmp_path)
    assert (again.stamp, len(again)) == (_stamp(1), 1)
    known, content = again.find(100, _ROW[:, 0], _ROW[:, 1])
    assert (known.tolist(), content.tolist()) == ([True], [1])


def test_a_block_of_the_log_with_one_changed_byte_is_not_believed(tmp_path: Path) -> None:
    index = _opened(tmp_path / "whole")
    index.seal(_stamp(0), 100)
    index.add(_hours(100), _ROW, _stamp(1), 100)
    (log,) = (tmp_path / "whole").glob("log-*")
    first = log.stat().st_size
    index.add(_hours(100), _ROW + 1, _stamp(2), 100)
    index.close()
    content = log.read_bytes()
    for position in (*range(first, len(content), 9), len(content) - 1):
        folder = tmp_path / str(position)
        shutil.copytree(tmp_path / "whole", folder)
        changed = bytearray(content)
        changed[position] ^= 1
        (folder / log.name).write_bytes(changed)
        again = _opened(folder)
        assert (again.stamp, len(again)) == (_stamp(1), 1)
        again.close()


def test_what_was_collected_and_never_sealed_is_gone_when_it_is_opened_again(
    tmp_path: Path,
) -> None:
    index = _opened(tmp_path)
    index.seal(_stamp(0), 100)
    index.add(_hours(100), _ROW, _stamp(1), 100)
    index.add_bulk(_hours(100), _ROW + 1, 100)
    index.open()
    index.seal(_stamp(2), 100)
    assert len(index) == 1


def test_more_keys_than_memory_may_hold_go_to_a_run_and_start_the_log_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_index, "MEMORY_KEYS", 2)
    index = _opened(tmp_path)
    index.seal(_stamp(0), 100)
    index.add(_hours(100, 100), np.repeat(_ROW, 2, axis=0), _stamp(1), 100)
    assert list(tmp_path.glob("run-*")) == []
    index.add(_hours(100), _ROW + 1, _stamp(2), 100)
    assert len(list(tmp_path.glob("run-*"))) == 1
    assert [log.stat().st_size for log in tmp_path.glob("log-*")] == [0]
