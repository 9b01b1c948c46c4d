"""Rules of the lease and of the request to yield; the job's side is in `faults/`."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.lock import (
    JvmFileLock,
    LockHeldError,
    NoLeaseError,
    lock_path,
    topic_lease,
)
from retail_lakehouse_tests.streaming.test_arguments import AWS

TOPIC = "retail.t"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"state_dir": tmp_path})


def requests(settings: Settings) -> list[Path]:
    return list(settings.lock_dir.glob("*.yield.*"))


def test_leases_of_one_process_wait_for_one_another(settings: Settings) -> None:
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with topic_lease(settings.lock_dir, TOPIC):
            held.set()
            free.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    with (
        pytest.raises(LockHeldError, match=f"Another process writes the tables of {TOPIC}"),
        topic_lease(settings.lock_dir, TOPIC, timeout_seconds=0.5),
    ):
        raise AssertionError("two leases at once")
    assert len(requests(settings)) == 1
    with topic_lease(settings.lock_dir, "retail.other", timeout_seconds=1):
        pass
    free.set()
    holder.join()
    with topic_lease(settings.lock_dir, TOPIC, timeout_seconds=5):
        pass
    assert requests(settings) == []


def test_a_lease_that_is_killed_frees_the_lock_and_asks_for_nothing(settings: Settings) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from retail_lakehouse.settings import Settings\n"
        "from retail_lakehouse.streaming.lock import topic_lease\n"
        "settings = Settings.load({'state_dir': sys.argv[1]})\n"
        f"with topic_lease(settings.lock_dir, {TOPIC!r}):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(settings.state_dir)],
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(LockHeldError, match=f"process {holder.pid} .*holds {settings.lock_dir}"),
            topic_lease(settings.lock_dir, TOPIC, timeout_seconds=0.3),
        ):
            pass
        holder.kill()
    assert len(requests(settings)) == 1
    with topic_lease(settings.lock_dir, TOPIC, timeout_seconds=5):
        pass


def test_the_lock_is_the_record_lock_that_java_takes(settings: Settings) -> None:
    with topic_lease(settings.lock_dir, TOPIC):
        told = subprocess.run(
            [
                sys.executable,
                "-c",
                "import fcntl, sys\n"
                "fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)",
                str(lock_path(settings.lock_dir, TOPIC)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert "BlockingIOError" in told.stderr
    descriptor = os.open(lock_path(settings.lock_dir, TOPIC), os.O_RDWR)
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_a_lease_is_refused_where_no_lock_holds_the_job_back() -> None:
    """SingleRun on Glue asks nobody: a file on this machine would let a second writer in."""
    settings = Settings.load(AWS)
    with (
        pytest.raises(NoLeaseError, match="Produce the records to their topic again"),
        topic_lease(settings.topic_locks, TOPIC),
    ):
        raise AssertionError("leased beside a job on Glue")


class JavaFile:
    """As a RandomAccessFile of another process locks: by the record lock, without py4j."""

    def __init__(self, path: str, mode: str) -> None:
        assert mode == "rw"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT)

    def getChannel(self) -> JavaFile:  # noqa: N802
        return self

    def tryLock(self) -> object | None:  # noqa: N802
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return self

    def close(self) -> None:
        os.close(self._descriptor)


JVM = SimpleNamespace(java=SimpleNamespace(io=SimpleNamespace(RandomAccessFile=JavaFile)))
JOB = f"""
import sys, time
from pathlib import Path
from retail_lakehouse.streaming.lock import JvmFileLock
from retail_lakehouse_tests.streaming.test_lock import JVM

sys.argv[0] = "/opt/inventory_streaming.py"
lock = JvmFileLock(JVM, Path(sys.argv[1]), {TOPIC!r})
lock.acquire(5)
print("held", flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
sys.stdin.readline()
"""


def test_the_job_that_does_not_yield_is_named(settings: Settings) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", JOB, str(settings.lock_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as job:
        assert job.stdin is not None
        assert job.stdout is not None
        assert job.stdout.readline() == "held\n"
        words = rf"process {job.pid} \(inventory_streaming.*\) holds {settings.lock_dir}"
        with (
            pytest.raises(LockHeldError, match=words),
            topic_lease(settings.lock_dir, TOPIC, timeout_seconds=0.2),
        ):
            pass
        waiting = JvmFileLock(JVM, settings.lock_dir, TOPIC)
        with pytest.raises(LockHeldError, match=words):
            waiting.acquire(0.2)
        job.stdin.write("\n")
        job.stdin.flush()
        assert job.stdout.readline() == "released\n"
        assert (settings.lock_dir / f"{TOPIC}.holder").read_text() == ""
        with topic_lease(settings.lock_dir, TOPIC, timeout_seconds=1):
            assert (settings.lock_dir / f"{TOPIC}.holder").read_text().startswith(f"{os.getpid()} ")
        assert (settings.lock_dir / f"{TOPIC}.holder").read_text() == ""
        job.kill()


def test_who_waits_in_vain_takes_no_lock_from_its_own_process(settings: Settings) -> None:
    """Closing any descriptor of the lock's file would end the record lock that the lease holds."""
    other = (
        "import sys\n"
        "from pathlib import Path\n"
        "from retail_lakehouse.streaming.lock import LockHeldError, topic_lease\n"
        "try:\n"
        "    with topic_lease(Path(sys.argv[1]), sys.argv[2], timeout_seconds=0): pass\n"
        "except LockHeldError: print('refused')\n"
    )
    with topic_lease(settings.lock_dir, TOPIC):
        with pytest.raises(LockHeldError), topic_lease(settings.lock_dir, TOPIC, timeout_seconds=0):
            pass
        (settings.lock_dir / f"{TOPIC}.lease").unlink()
        told = subprocess.run(
            [sys.executable, "-c", other, str(settings.lock_dir), TOPIC],
            capture_output=True,
            text=True,
            check=True,
        )
    assert told.stdout == "refused\n"
