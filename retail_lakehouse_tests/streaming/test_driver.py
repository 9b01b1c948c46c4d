"""Rules of a job's end: one sentence, and an exit status that says what to do about it."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from py4j.protocol import Py4JJavaError

from retail_lakehouse.contracts.mark import MarkError
from retail_lakehouse.job_settings import job_arguments
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming import driver
from retail_lakehouse.streaming.arguments import EXIT_KEPT_OUT, EXIT_NEEDS_A_PERSON
from retail_lakehouse.streaming.checkpoint import (
    CheckpointFiles,
    CheckpointState,
    CheckpointStuckError,
)
from retail_lakehouse.streaming.driver import StaleProgressError
from retail_lakehouse.streaming.lock import LockHeldError
from retail_lakehouse.streaming.startup import LossError


@pytest.mark.parametrize(
    "error, status",
    [
        (LossError, EXIT_NEEDS_A_PERSON),
        (MarkError, EXIT_NEEDS_A_PERSON),
        (CheckpointStuckError, EXIT_NEEDS_A_PERSON),
        (LockHeldError, EXIT_KEPT_OUT),
        (StaleProgressError, 1),
    ],
)
def test_what_ends_a_job_is_a_sentence_without_a_traceback_and_an_exit_status_of_its_kind(
    error: type[Exception],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def run(_job: object) -> int:
        raise error("What happened. What to do.")

    monkeypatch.setattr(driver, "spark_session", lambda _: SimpleNamespace(stop=lambda: None))
    monkeypatch.setattr(driver, "end_with_jvm", lambda *_: None)
    monkeypatch.setattr(driver, "StreamingJob", lambda *_: SimpleNamespace(run=lambda: run(0)))
    arguments = job_arguments(Settings.load({"state_dir": tmp_path}), "inventory").to_argv()
    assert driver.run_streaming_job("inventory", arguments) == status
    (record,) = caplog.records
    assert record.getMessage() == "What happened. What to do."
    assert record.exc_info is None


def test_an_error_of_java_is_a_sentence_that_names_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(driver, "spark_session", lambda _: SimpleNamespace(stop=lambda: None))
    monkeypatch.setattr(driver, "end_with_jvm", lambda *_: None)
    monkeypatch.setattr(driver, "StreamingJob", lambda *_: SimpleNamespace(run=_fails))
    arguments = job_arguments(Settings.load({"state_dir": tmp_path}), "inventory").to_argv()
    assert driver.run_streaming_job("inventory", arguments) == 1
    (record,) = caplog.records
    assert record.getMessage() == (
        "The job of inventory failed (no space). Mend what that names, then start the job again."
    )
    assert record.exc_info is None


@pytest.mark.parametrize(
    "committed, planned, until, end, why",
    [
        ({0: 50}, None, {0: 50}, {0: 90}, ""),
        ({0: 50}, {0: 60, 1: 1}, {0: 50}, {0: 90, 1: 5}, ""),
        ({0: 40}, None, {0: 50}, {0: 90}, "it stands at {0: 40} and the table at {0: 50}"),
        ({0: 50}, {0: 60}, {0: 50}, {0: 59}, "was to end at {0: 60}, past Kafka's end"),
        # Spark reads a planned batch again as it was planned, whatever the settings say by now.
        ({0: 50}, {0: 62}, {0: 50}, {0: 90}, "was to have 12 records, and a batch has 10 by now"),
        ({0: 50}, {0: 61}, {0: 50}, {0: 90}, ""),
        ({0: 50}, {0: 90}, {0: 90}, {0: 90}, ""),
    ],
)
def test_a_checkpoint_goes_where_it_disagrees_or_plans_what_cannot_be_read(
    committed: dict[int, int],
    planned: dict[int, int] | None,
    until: dict[int, int],
    end: dict[int, int],
    why: str,
) -> None:
    job = driver.StreamingJob.__new__(driver.StreamingJob)
    job.__dict__["_arguments"] = SimpleNamespace(max_offsets_per_trigger=10)
    told = job._disagreement(CheckpointState(committed, planned), until, end)
    assert told.endswith(why)
    assert bool(told) is bool(why)


def _refuses(*_: object) -> bool:
    return False


def _fails(*_: object) -> bool:
    thrown = SimpleNamespace(_target_id="o1", _gateway_client=None, toString=lambda: "no space")
    raise Py4JJavaError("An error occurred.", cast(Any, thrown))


@pytest.mark.parametrize("rename, reason", [(_refuses, "without a reason"), (_fails, "no space")])
def test_a_checkpoint_that_cannot_be_moved_is_named_with_the_reason(
    rename: Any, reason: str
) -> None:
    files = CheckpointFiles.__new__(CheckpointFiles)
    hadoop = SimpleNamespace(fs=SimpleNamespace(Path=lambda *parts: parts))
    files.location = "s3://b/checkpoints/inventory"
    files.__dict__ |= {
        "_path": None,
        "_fs": SimpleNamespace(rename=rename),
        "_jvm": SimpleNamespace(org=SimpleNamespace(apache=SimpleNamespace(hadoop=hadoop))),
    }
    with pytest.raises(CheckpointStuckError, match=f"inventory.aside-1: .*{reason}.*by hand"):
        files.move_aside("aside-1")


def test_no_batch_may_begin_once_taking_the_lock_back_has_failed() -> None:
    """Whoever waits for the end of the yield would write without the lock, or past other marks."""
    job = driver.StreamingJob.__new__(driver.StreamingJob)
    may_begin: list[bool] = []

    class BetweenBatches:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            may_begin.append(not job._stop.is_set())

    class Lock:
        def release(self) -> None:
            pass

        def yield_wanted(self) -> bool:
            return False

        def note_yield(self) -> None:
            pass

        def acquire(self, _seconds: float) -> None:
            raise StaleProgressError("The marks moved.")

    job.__dict__ |= {
        "_stop": threading.Event(),
        "_event": SimpleNamespace(topic="t"),
        "_between_batches": BetweenBatches(),
        "_lock": Lock(),
    }
    with pytest.raises(StaleProgressError):
        job._yield_lock()
    assert may_begin == [False]


def _job_with(cancel: Callable[[], None]) -> driver.StreamingJob:
    job = driver.StreamingJob.__new__(driver.StreamingJob)
    context = SimpleNamespace(cancelAllJobs=cancel)
    job.__dict__ |= {"_stop": threading.Event(), "_spark": SimpleNamespace(sparkContext=context)}
    return job


def test_a_stop_while_the_index_is_built_ends_sparks_job_and_is_no_failure() -> None:
    cancelled = threading.Event()
    job = _job_with(cancelled.set)

    def start() -> None:
        with job._jobs_end_with_a_stop():
            job._stop.set()
            assert cancelled.wait(10)
            _fails()

    with pytest.raises(driver.StopRequestedError):
        start()


def test_a_job_that_fails_before_it_streams_has_failed_and_nothing_is_cancelled() -> None:
    cancelled: list[bool] = []
    job = _job_with(lambda: cancelled.append(True))
    with pytest.raises(Py4JJavaError), job._jobs_end_with_a_stop():
        _fails()
    job._stop.set()
    for thread in threading.enumerate():
        if thread.name == "cancel-jobs":
            thread.join(10)
    assert cancelled == []


class LeasedLock:
    """A lock that others ask for during the first so many looks, and then keep for so many tries.

    Each second that the job sleeps passes at once, on a clock of its own.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, asked: int, kept: int = 0) -> None:
        self.asked, self.kept = asked, kept
        self.noted = self.taken = 0
        self.now = 0.0
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self._pass)
        monkeypatch.setattr(driver, "time", clock)

    def _pass(self, seconds: float) -> None:
        self.now += seconds

    def yield_wanted(self) -> bool:
        self.asked -= 1
        return self.asked >= 0

    def note_yield(self) -> None:
        self.noted += 1

    def acquire(self, seconds: float) -> None:
        if self.kept:
            self.kept -= 1
            self._pass(seconds)
            raise LockHeldError("Another process writes.")
        self.taken += 1


def waiting_job(lock: LeasedLock) -> driver.StreamingJob:
    job = driver.StreamingJob.__new__(driver.StreamingJob)
    job.__dict__ |= {
        "_stop": threading.Event(),
        "_event": SimpleNamespace(topic="t"),
        "_lock": lock,
    }
    return job


def test_a_job_that_starts_under_a_long_lease_waits_for_its_end_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    an_hour = 3_600
    lock = LeasedLock(monkeypatch, asked=an_hour)
    assert waiting_job(lock)._take_lock()
    assert (lock.noted, lock.taken) == (an_hour, 1)


def test_a_job_gives_up_a_lock_that_nobody_asks_for_and_nobody_gives_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = LeasedLock(monkeypatch, asked=90, kept=10_000)
    with pytest.raises(LockHeldError):
        waiting_job(lock)._take_lock()
    assert lock.noted == 90
    # Its patience begins when the lease has ended.
    assert 90 + driver.LOCK_TIMEOUT_SECONDS < lock.now <= 90 + driver.LOCK_TIMEOUT_SECONDS + 2


def test_a_job_that_waits_for_a_lease_ends_when_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = LeasedLock(monkeypatch, asked=10_000)
    job = waiting_job(lock)
    monkeypatch.setattr(lock, "note_yield", job._stop.set)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert job.run() == 0
    assert lock.taken == 0
