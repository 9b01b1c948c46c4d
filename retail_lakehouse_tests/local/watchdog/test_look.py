"""What a look sees on this machine, and what it does about what is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retail_lakehouse.local.control import ControlServer, ProcessState, ProcessStatus
from retail_lakehouse.local.watchdog.look import Looker, disk_of
from retail_lakehouse_tests.alerts.build import fill


def test_a_look_at_nothing_is_a_look_and_no_error(tmp_path: Path) -> None:
    look = Looker(tmp_path / "state").look()
    assert look.history is None
    assert "runs.db cannot be read" in look.why_no_history
    assert not look.code.answers
    assert look.disk is not None
    assert (look.daemon_kept, look.code_kept) == (None, None)


def test_the_file_system_is_that_of_the_state_folder_even_before_it_is_made(
    small_disk: Path,
) -> None:
    before = disk_of(small_disk / "not" / "made")
    assert before is not None
    assert before.total_bytes == 2 * 1024 * 1024
    fill(small_disk)
    after = disk_of(small_disk)
    assert after is not None
    assert (after.free_bytes, after.total_bytes) == (0, before.total_bytes)


def test_a_file_system_that_does_not_answer_is_none(tmp_path: Path) -> None:
    def broken(path: Path) -> os.statvfs_result:
        raise OSError(5, "Input/output error")

    assert disk_of(tmp_path, broken) is None


@pytest.mark.parametrize("state", list(ProcessState))
def test_the_supervisors_word_is_running_stopped_or_neither(
    tmp_path: Path, state: ProcessState
) -> None:
    status = ProcessStatus("dagster-daemon", state, 1, None, 0, "It died.", "")
    server = ControlServer(tmp_path, lambda *_: {"dagster-daemon": status.to_json()})
    server.start()
    try:
        kept = Looker(tmp_path).look().daemon_kept
    finally:
        server.close()
    assert kept is not None
    assert kept.message == "It died."
    assert kept.is_running is (state is ProcessState.RUNNING)
    assert kept.is_stopped is (state in (ProcessState.STOPPED, ProcessState.STOPPING))
