import errno
import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest

from retail_lakehouse.alerts import record_file
from retail_lakehouse.alerts.record_file import (
    HalfFullError,
    RecordFileError,
    open_records,
)
from retail_lakehouse_tests.alerts.build import fill

HALF = 1024


def contents(path: Path, half: int = HALF) -> list[bytes]:
    with open_records(path, half) as records:
        return list(records.records)


def test_records_are_read_as_they_were_written_and_the_file_keeps_its_size(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    for number in range(5):
        with open_records(path, HALF) as records:
            records.append(b"record %d" % number)
    assert contents(path) == [b"record %d" % number for number in range(5)]
    assert path.stat().st_size == 2 * HALF
    assert path.stat().st_blocks * 512 >= 2 * HALF
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_half_is_said_and_a_rewrite_frees_it(tmp_path: Path) -> None:
    with open_records(tmp_path / "outbox", HALF) as records:
        while records.room >= 100:
            records.append(b"x" * 100)
        with pytest.raises(HalfFullError):
            records.append(b"x" * 100)
        records.rewrite([b"kept"])
        records.append(b"new")
    assert contents(tmp_path / "outbox") == [b"kept", b"new"]


class _Recorder:
    """Every write to the file, in order, as (position, bytes)."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, bytes]] = []
        self.real = os.pwrite

    def __call__(self, descriptor: int, content: bytes, position: int) -> int:
        self.writes.append((position, bytes(content)))
        return self.real(descriptor, content, position)


def test_a_kill_at_any_byte_leaves_all_of_a_change_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty appends and rewrites, each cut at every byte of its writes."""
    path, copy = tmp_path / "outbox", tmp_path / "copy"
    chance = random.Random(7)
    known: list[bytes] = []
    half = 400
    with open_records(path, half):
        pass
    cuts = 0
    for number in range(20):
        before, image = list(known), path.read_bytes()
        record = b"%d " % number + bytes(
            chance.randrange(32, 127) for _ in range(chance.randrange(60))
        )
        recorder = _Recorder()
        monkeypatch.setattr(os, "pwrite", recorder)
        with open_records(path, half) as records:
            try:
                records.append(record)
                known.append(record)
            except HalfFullError:
                records.rewrite(known[-1:])
                known = known[-1:]
        monkeypatch.undo()
        for index, (position, written) in enumerate(recorder.writes):
            for cut in range(len(written)):
                torn = bytearray(image)
                for earlier_position, earlier in recorder.writes[:index]:
                    torn[earlier_position : earlier_position + len(earlier)] = earlier
                torn[position : position + cut] = written[:cut]
                copy.write_bytes(torn)
                cuts += 1
                assert contents(copy, half) == before
                # And what comes next is kept, whatever the torn change left behind.
                with open_records(copy, half) as records:
                    room = records.room
                    if room >= 5:
                        records.append(b"after")
                if room >= 5:
                    assert contents(copy, half) == [*before, b"after"]
        assert contents(path, half) == known
    assert cuts > 500


def test_what_a_rewrite_that_was_cut_off_left_behind_never_counts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "outbox", os.pwrite

    def refuse_headers(descriptor: int, content: bytes, position: int) -> int:
        if position in (0, HALF):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, content, position)

    with open_records(path, HALF) as records:
        records.append(b"old")
    with monkeypatch.context() as cut_off, open_records(path, HALF) as records:
        cut_off.setattr(os, "pwrite", refuse_headers)
        with pytest.raises(RecordFileError, match="cannot be written"):
            records.rewrite([b"of the first try %d" % number for number in range(5)])
    with open_records(path, HALF) as records:
        assert records.records == [b"old"]
        records.rewrite([b"kept"])
        records.append(b"new")
    with open_records(path, HALF) as records:
        assert (records.records, records.damaged_bytes) == ([b"kept", b"new"], 0)


def test_a_damaged_record_costs_itself_alone_and_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    with open_records(path, HALF) as records:
        for content in (b"first", b"second", b"third"):
            records.append(content)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"second")] ^= 0xFF
    path.write_bytes(raw)
    with open_records(path, HALF) as records:
        assert records.records == [b"first", b"third"]
        assert records.damaged_bytes > 0
        records.append(b"fourth")
    assert contents(path) == [b"first", b"third", b"fourth"]


@pytest.mark.parametrize("raw", [b"", b"\0" * 10, os.urandom(5000), b"\xf1REC" * 600])
def test_a_file_that_is_none_of_ours_is_begun_anew_and_said(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "outbox"
    path.write_bytes(raw)
    with open_records(path, HALF) as records:
        assert records.records == []
        assert records.damaged_bytes == 2 * HALF
        records.append(b"new")
    assert contents(path) == [b"new"]


def _append_for_ever(path: Path, acknowledged: str) -> None:
    number = 0
    with open(acknowledged, "ab", buffering=0) as told:
        while True:
            with open_records(path, 4096) as records:
                content = b"%d" % number
                if records.room < 16:
                    records.rewrite(records.records[-3:])
                records.append(content)
            told.write(content + b"\n")
            number += 1


def test_a_writer_that_is_killed_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    for attempt in range(8):
        path.unlink(missing_ok=True)
        acknowledged = tmp_path / f"told-{attempt}"
        acknowledged.touch()
        writer = multiprocessing.get_context("fork").Process(
            target=_append_for_ever, args=(path, str(acknowledged))
        )
        writer.start()
        while acknowledged.stat().st_size < 200:
            time.sleep(0.005)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        last = int(acknowledged.read_text().split()[-1])
        newest = int(contents(path, 4096)[-1])
        assert newest in (last, last + 1)


def test_another_process_that_holds_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_file, "LOCK_SECONDS", 0.1)
    path = tmp_path / "outbox"
    with (
        open_records(path, HALF),
        pytest.raises(RecordFileError, match="Another process has held"),
        open_records(path, HALF),
    ):
        pass


def test_a_file_system_without_locks_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(RecordFileError, match="cannot be locked: No locks available"),
        open_records(tmp_path / "outbox", HALF),
    ):
        pass


def test_a_full_disk_loses_no_record_once_the_file_is_made(small_disk: Path) -> None:
    path = small_disk / "outbox"
    with open_records(path):
        pass
    fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "other").write_bytes(b"x" * 8192)
    wanted = [b"%06d" % number + b"x" * 1000 for number in range(1500)]
    for record in wanted:
        with open_records(path) as records:
            if len(record) > records.room:
                records.rewrite(records.records[-100:])
            records.append(record)
    assert contents(path, record_file.HALF_BYTES)[-100:] == wanted[-100:]


def test_a_disk_that_is_full_before_the_file_is_made_is_one_sentence(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(RecordFileError, match="No space left"), open_records(small_disk / "outbox"):
        pass
    assert [each.name for each in small_disk.iterdir()] == ["filler"]


def test_a_limit_on_file_sizes_stops_no_record(tmp_path: Path) -> None:
    """Where no file system can be mounted this shows the same: no write reaches past the file."""
    path = tmp_path / "outbox"
    with open_records(path, HALF):
        pass
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * HALF, hard))
        with open_records(path, HALF) as records:
            for _ in range(100):
                if records.room < 50:
                    records.rewrite([])
                records.append(b"x" * 50)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert contents(path)[-1] == b"x" * 50
