"""Temporary files lie in memory only where they fit and programs may be run from there."""

import os
from pathlib import Path

import pytest

from retail_lakehouse_tests import temporary_files
from retail_lakehouse_tests.temporary_files import folder_in_memory, is_roomy

GIB = 1024**3


def disk(free_bytes: int, flags: int = 0) -> os.statvfs_result:
    blocks = free_bytes // 4096
    return os.statvfs_result((4096, 4096, blocks, blocks, blocks, 10, 10, 10, flags, 255))


@pytest.mark.parametrize(
    "told, available_bytes, will_do",
    [
        (disk(8 * GIB), 16 * GIB, True),
        (disk(64 * 1024**2), 16 * GIB, False),
        (disk(8 * GIB, os.ST_NOEXEC), 16 * GIB, False),
        (disk(8 * GIB), 8 * GIB, False),
    ],
    ids=["roomy", "a container's", "no programs", "little memory"],
)
def test_files_lie_in_memory_only_where_they_fit_and_programs_run(
    told: os.statvfs_result, available_bytes: int, will_do: bool
) -> None:
    assert is_roomy(told, available_bytes) is will_do


def test_a_machine_without_a_disk_in_memory_has_no_folder_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary_files, "MEMORY_DISK", tmp_path / "none")
    assert folder_in_memory() is None
