"""Rules of the lease and of the request to yield; the job's side is in `faults/`."""

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.lock import LockHeldError, NoLeaseError, lock_path, topic_lease
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
            pytest.raises(LockHeldError),
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
