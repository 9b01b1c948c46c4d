"""Rules of a run's file: one changed byte anywhere in it is noticed."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from retail_lakehouse.dedupe import run_file
from retail_lakehouse.dedupe.run_file import checksum_of, load_run, write_run


def test_a_checksum_is_over_every_part_of_a_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_file, "_CHUNK_ROWS", 2)
    rows = np.arange(15, dtype=np.int64).reshape(5, 3)
    assert checksum_of(rows) == zlib.crc32(rows.tobytes())


@pytest.mark.parametrize("position", [0, 2, 4])
def test_a_long_run_that_was_changed_in_any_part_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, position: int
) -> None:
    monkeypatch.setattr(run_file, "_CHUNK_ROWS", 2)
    rows = np.arange(15, dtype=np.int64).reshape(5, 3)
    path = tmp_path / "run-0.npy"
    run, _ = write_run(path, rows)
    changed = rows.copy()
    changed[position, 2] += 1
    np.save(path, changed)
    with pytest.raises(ValueError, match="is not what was written"):
        load_run(path, 5, run.checksum, None)
