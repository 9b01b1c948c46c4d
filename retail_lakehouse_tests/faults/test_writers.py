"""One writer a topic: the second is refused, one that is asked yields, one that is told ends."""

import logging
import os
import signal
import time

import pytest

from retail_lakehouse.streaming import driver
from retail_lakehouse.streaming.arguments import EXIT_KEPT_OUT
from retail_lakehouse.streaming.lock import topic_lease
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
            assert stream.run(patch, ends_by_itself=True) == EXIT_KEPT_OUT
        assert f"Another process writes the tables of {stream.topic}: process " in caplog.text
        assert f"process {job.process.pid} (job_with_fault" in caplog.text

        with topic_lease(stream.settings.lock_dir, stream.topic, timeout_seconds=30):
            before = stream.end()
            stream.produce(50)
            time.sleep(1.5)
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
