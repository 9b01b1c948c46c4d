"""An exclusive lock: one holder, named to whoever waits in vain, free when it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from retail_lakehouse.local.file_lock import LockHeldError, exclusive_lock


def test_a_lock_that_stays_held_is_one_sentence_and_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "a" / "lock"
    with (
        exclusive_lock(path, 1.0),
        pytest.raises(LockHeldError, match=f"has held {path}"),
        exclusive_lock(path, 0.2),
    ):
        pass
    with exclusive_lock(path, 0.0):
        pass


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(path)], start_new_session=True)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            with exclusive_lock(path, 0.0):
                time.sleep(0.01)
        except LockHeldError:
            break
    else:
        pytest.fail("the other process never took the lock")
    os.killpg(holder.pid, signal.SIGKILL)
    holder.wait()
    with exclusive_lock(path, 2.0):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from retail_lakehouse.local.file_lock import exclusive_lock

sys.argv = ["/opt/bin/retail-lakehouse", "verify"]
with exclusive_lock(Path(PATH), 5.0):
    print("held", flush=True)
    time.sleep(300)
"""


def test_whoever_waits_in_vain_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = HOLDER.replace("PATH", repr(str(path)))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        words = f"process {holder.pid} (retail-lakehouse verify)"
        with pytest.raises(LockHeldError) as refused, exclusive_lock(path, 0.0):
            pytest.fail("two hold the lock")
        assert refused.value.holder == words
        assert str(refused.value).startswith(f"P{words[1:]} has held {path} for 0 seconds.")
        holder.kill()
    with exclusive_lock(path, 2.0):
        assert path.read_text().startswith(f"{os.getpid()} ")
    assert path.read_text() == ""


def test_a_lock_that_gets_free_in_time_is_taken(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", list[str]()
    held = threading.Event()

    def hold() -> None:
        with exclusive_lock(path, 1.0):
            held.set()
            time.sleep(0.3)
            order.append("first")

    first = threading.Thread(target=hold)
    first.start()
    assert held.wait(5)
    with exclusive_lock(path, 5.0):
        order.append("second")
    first.join()
    assert order == ["first", "second"]


def test_a_block_that_fails_frees_the_lock_and_forgets_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), exclusive_lock(path, 1.0):
        raise ZeroDivisionError
    assert path.read_text() == ""
    with exclusive_lock(path, 0.0):
        pass
