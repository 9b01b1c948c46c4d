"""Rules of the request to yield: it asks for as long as its maker lives, and of one topic only."""

import threading
import time
from pathlib import Path

from retail_lakehouse.streaming.lock import JvmFileLock, topic_lease, yielded_ms


def _wanted(folder: Path, topic: str) -> bool:
    # Whether to yield is asked of the folder, without a JVM.
    return JvmFileLock(None, folder, topic).yield_wanted()


def test_a_writer_is_asked_to_yield_for_as_long_as_the_lease_is_held(tmp_path: Path) -> None:
    assert not _wanted(tmp_path, "t")
    with topic_lease(tmp_path, "t", timeout_seconds=10):
        assert _wanted(tmp_path, "t")
        assert _wanted(tmp_path, "t")
        assert not _wanted(tmp_path, "other")
        assert not _wanted(tmp_path, "t.other")
    assert not _wanted(tmp_path, "t")
    assert list(tmp_path.glob("*.yield.*")) == []


def test_a_request_whose_maker_is_gone_asks_for_nothing_and_is_cleared_away(
    tmp_path: Path,
) -> None:
    (tmp_path / "t.yield.0123").touch()
    assert not _wanted(tmp_path, "t")
    assert list(tmp_path.iterdir()) == []


def test_a_lease_waits_until_the_one_before_it_is_given_back(tmp_path: Path) -> None:
    held, order = threading.Event(), list[str]()

    def hold() -> None:
        with topic_lease(tmp_path, "t", timeout_seconds=10):
            held.set()
            time.sleep(0.3)
            order.append("first")

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    with topic_lease(tmp_path, "t", timeout_seconds=10):
        order.append("second")
    holder.join()
    assert order == ["first", "second"]


def test_a_job_that_stands_aside_says_so_of_its_own_topic_for_as_long_as_it_does(
    tmp_path: Path,
) -> None:
    lock = JvmFileLock(None, tmp_path, "t")
    assert yielded_ms(tmp_path, "t") is None
    began = time.time_ns() // 1_000_000
    lock.note_yield()
    first = yielded_ms(tmp_path, "t")
    assert first is not None
    # A file system's clock may be a tick behind.
    assert -20 <= first - began < 10_000
    time.sleep(0.05)
    lock.note_yield()
    assert (yielded_ms(tmp_path, "t") or 0) > first
    assert yielded_ms(tmp_path, "t.other") is None
    assert not lock.yield_wanted()


def test_a_disk_that_refuses_the_record_does_not_end_the_job(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    lock = JvmFileLock(None, folder, "t")
    folder.rmdir()
    lock.note_yield()
    assert yielded_ms(folder, "t") is None
