"""One writer a topic: the second is refused, a stopped one ended, one that is asked yields."""

import contextlib
import logging
import os
import signal
import time

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.local.control import ProcessState
from retail_lakehouse.local.processes import end_session
from retail_lakehouse.streaming import driver
from retail_lakehouse.streaming.lock import topic_lease
from retail_lakehouse_tests.faults.job_with_fault import Fault
from retail_lakehouse_tests.faults.stream import Stream

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_job_keeps_others_out_yields_when_asked_and_ends_when_told(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream.produce(100)
    with stream.spawned() as job:
        stream.wait_until_caught_up()
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(driver, "LOCK_TIMEOUT_SECONDS", 1)
            assert stream.run(patch) == 1
        assert f"Another process writes the tables of {stream.topic}: process " in caplog.text
        assert f"process {job.process.pid} (job_with_fault" in caplog.text

        with topic_lease(stream.settings.lock_dir, stream.topic, timeout_seconds=30):
            before = stream.end()
            stream.produce(50)
            time.sleep(3)
            assert not stream.caught_up()
            assert stream.caught_up(before)
        stream.wait_until_caught_up()
        assert "yielding" in job.log.read_text()

        # A lease that was killed asks for nothing any more.
        stale = stream.settings.lock_dir / f"{stream.topic}.yield.{os.getpid()}"
        stale.touch()
        stream.produce(30)
        stream.wait_until_caught_up()
        assert not stale.exists()

        begun = time.monotonic()
        os.kill(job.process.pid, signal.SIGTERM)
        assert job.wait(8) == 0, job.log.read_text()[-3000:]
        job.wait_until_gone(5)
        assert time.monotonic() - begun < 8
    stream.check()


VICTIMS = ["driver", "jvm", "both"]


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_writer_that_was_stopped_keeps_others_out_and_goes_on_once_it_is_continued(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    stream.produce(100)
    fault = Fault("rows", "before", victim, signal="STOP")
    with stream.spawned(fault) as job:
        job.wait_until_stopped(victim)
        with monkeypatch.context() as patch:
            patch.setattr(driver, "LOCK_TIMEOUT_SECONDS", 1)
            assert stream.run(patch) == 1
        for member in job.members():
            member.resume()
        stream.wait_until_caught_up()
        assert end_session(job.record, grace_seconds=8)
    stream.check()


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_stopped_writer_is_gone_before_the_supervisor_starts_another(
    stream: Stream, victim: str
) -> None:
    stream.produce(100)
    fault = Fault("rows", "before", victim, signal="STOP")
    with stream.supervised(fault) as (supervisor, job):
        job.wait_until_stopped(victim)
        old = job.members()
        assert supervisor.request("restart", INVENTORY.name).state is ProcessState.RUNNING
        continue_all(old)
        stream.wait_until_caught_up()
        assert job.members() == []
    stream.check()


def test_a_stopped_jvm_is_ended_when_its_killed_driver_is_started_again(stream: Stream) -> None:
    stream.produce(100)
    fault = Fault("rows", "before", "jvm", signal="STOP")
    with stream.supervised(fault) as (supervisor, job):
        job.wait_until_stopped("jvm")
        old = job.members()
        # Nobody asks for it: the supervisor sees the death by itself.
        os.kill(job.record.pid, signal.SIGKILL)
        stream.wait_until_caught_up()
        continue_all(old)
        assert job.members() == []
        assert supervisor.status()[INVENTORY.name].restarts == 1
    stream.check()


def continue_all(members: list[psutil.Process]) -> None:
    """SIGCONT, to whichever of them is still there."""
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.resume()
