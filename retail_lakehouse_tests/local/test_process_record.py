"""Rules of recorded processes: identity is id and start time, and an end is certain."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from retail_lakehouse.local.process_record import (
    ProcessRecord,
    end_process,
    read_record,
    write_record,
)
from retail_lakehouse.local.processes import end_session, session_members


def _start(script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True)


def test_a_record_is_read_back_as_written(tmp_path: Path) -> None:
    child = _start("exec sleep 30")
    written = write_record(tmp_path / "run" / "x.json", child.pid, {"port": 1, "log": "a"})
    assert read_record(tmp_path / "run" / "x.json") == written
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["x.json"]
    assert written.is_alive()
    child.kill()
    child.wait()


def test_whoever_reads_a_record_while_it_is_written_anew_has_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    before = write_record(path, os.getpid(), {"log": "before"})
    with path.open() as reading:
        write_record(path, os.getpid(), {"log": "after"})
        assert ProcessRecord.from_json(json.loads(reading.read())) == before


def test_a_record_that_cannot_be_written_leaves_the_one_before_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    before = write_record(path, os.getpid(), {"log": "before"})

    def refuse(told: object, file: IO[str], indent: int) -> None:
        file.write("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", refuse)
    with pytest.raises(OSError, match="No space left on device"):
        write_record(path, os.getpid(), {"log": "after"})
    assert list(tmp_path.iterdir()) == [path]
    assert read_record(path) == before


def test_an_id_that_was_given_out_again_is_another_process(tmp_path: Path) -> None:
    child = _start("exec sleep 30")
    record = write_record(tmp_path / "x.json", child.pid, {})
    assert not ProcessRecord(record.pid, record.create_time - 60).is_alive()
    assert end_process(ProcessRecord(record.pid, record.create_time - 60), 1.0)
    assert child.poll() is None
    child.kill()
    child.wait()


def test_a_clock_that_is_set_makes_no_stranger_of_a_process(tmp_path: Path) -> None:
    child = _start("exec sleep 30")
    record = write_record(tmp_path / "x.json", child.pid, {})
    if record.birth is None:
        pytest.skip("this system tells no ticks since its boot")
    moved = replace(record, create_time=record.create_time - 3600)
    assert moved.is_alive()
    assert [each.pid for each in session_members(moved)] == [child.pid]
    other_boot = replace(record, birth=replace(record.birth, boot_id="another"))
    earlier = replace(record, birth=replace(record.birth, ticks=record.birth.ticks - 1))
    for stranger in (other_boot, earlier):
        assert not stranger.is_alive()
        assert session_members(stranger) == []
    end_session(moved, grace_seconds=5.0)
    assert child.wait(timeout=5) == -signal.SIGTERM


def test_children_of_a_dead_leader_are_found_after_the_clock_was_set(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    child = _start(f"sleep 60 & echo $! > {mark}; wait")
    record = write_record(tmp_path / "x.json", child.pid, {})
    if record.birth is None:
        pytest.skip("this system tells no ticks since its boot")
    while not (mark.exists() and mark.read_text().strip()):
        time.sleep(0.01)
    child.kill()
    child.wait()
    moved = replace(record, create_time=record.create_time + 3600)
    assert [each.pid for each in session_members(moved)] == [int(mark.read_text())]
    end_session(moved, grace_seconds=0.1)
    assert session_members(record) == []


def test_a_process_that_ended_but_was_not_collected_is_dead(tmp_path: Path) -> None:
    child = _start("exec sleep 30")
    record = write_record(tmp_path / "x.json", child.pid, {})
    child.kill()
    deadline = time.monotonic() + 5
    while record.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not record.is_alive()
    child.wait()


def test_a_process_that_ends_when_asked_is_not_killed(tmp_path: Path) -> None:
    child = _start("exec sleep 30")
    record = write_record(tmp_path / "x.json", child.pid, {})
    threading.Thread(target=child.wait).start()
    assert end_process(record, 5.0)
    assert not record.is_alive()
    assert end_process(record, 5.0)


def test_a_process_that_ended_is_ended_though_its_parent_does_not_collect_it(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "child"
    parent = _start(f"sleep 60 & echo $! > {mark}; exec sleep 60")
    while not (mark.exists() and mark.read_text().strip()):
        time.sleep(0.01)
    record = write_record(tmp_path / "x.json", int(mark.read_text()), {})
    assert end_process(record, 0.5)
    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait()


def test_a_process_that_ignores_the_request_is_killed_with_its_group(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    child = _start(f"trap '' TERM; sleep 60 & echo $! > {mark}; while :; do sleep 0.1; done")
    record = write_record(tmp_path / "x.json", child.pid, {})
    while not (mark.exists() and mark.read_text().strip()):
        time.sleep(0.01)
    grandchild = write_record(tmp_path / "y.json", int(mark.read_text()), {})
    assert end_process(record, 0.5) is False
    assert not record.is_alive()
    deadline = time.monotonic() + 5
    while grandchild.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not grandchild.is_alive()


@pytest.mark.parametrize("content", ["", "{", "{}", '{"pid": "x"}', "[]"])
def test_a_record_that_cannot_be_understood_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    assert read_record(tmp_path / "x.json") is None
    assert read_record(tmp_path / "absent.json") is None
