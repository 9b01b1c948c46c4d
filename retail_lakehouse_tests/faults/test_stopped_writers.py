"""A writer under SIGSTOP: it keeps others out, goes on once continued, and is ended when replaced.

Apart from the other writers' tests because files run side by side.
"""

import contextlib
import os
import signal

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.local.control import ProcessState
from retail_lakehouse.local.processes import end_session
from retail_lakehouse.streaming import driver
from retail_lakehouse.streaming.arguments import EXIT_KEPT_OUT
from retail_lakehouse_tests.faults.job_with_fault import Fault
from retail_lakehouse_tests.faults.stream import Stream

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("victim", ["driver", "jvm", "both"])
def test_a_writer_that_was_stopped_keeps_others_out_and_goes_on_once_it_is_continued(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    stream.produce(100)
    fault = Fault("rows", "before", victim, signal="STOP")
    with stream.spawned(fault) as job:
        job.wait_until_stopped(victim)
        with monkeypatch.context() as patch:
            patch.setattr(driver, "LOCK_TIMEOUT_SECONDS", 1)
            assert stream.run(patch, ends_by_itself=True) == EXIT_KEPT_OUT
        for member in job.members():
            member.resume()
        stream.wait_until_caught_up()
        assert end_session(job.record, grace_seconds=8)
    stream.check()


# With both stopped it is the same as with the driver: the session is killed, whoever stands still.
@pytest.mark.parametrize("victim", ["driver", "jvm"])
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
