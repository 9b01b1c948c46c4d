"""kill -9 of the driver alone and of the JVM alone, at every point of both commits."""

import signal

import pytest

from retail_lakehouse_tests.faults.job_with_fault import Fault
from retail_lakehouse_tests.faults.stream import BATCH_RECORDS, Stream

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(600)]

# Right after the quarantine's commit is right before that of the rows: one point, named once.
KILLS = [
    Fault("quarantine", "before", "driver"),
    Fault("quarantine", "during", "driver"),
    Fault("rows", "before", "driver"),
    Fault("rows", "during", "driver"),
    Fault("rows", "after", "driver"),
    Fault("quarantine", "before", "jvm"),
    Fault("quarantine", "during", "jvm"),
    Fault("rows", "before", "jvm"),
    Fault("rows", "during", "jvm"),
    Fault("rows", "after", "jvm"),
]


@pytest.mark.parametrize("fault", KILLS, ids=lambda f: f"{f.victim}-{f.when}-{f.table}")
def test_a_killed_jobs_records_land_once_when_it_is_started_again(
    lasting_stream: Stream, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    # One batch and some more, so that what was killed had not caught up.
    lasting_stream.produce(BATCH_RECORDS + 20)
    with lasting_stream.spawned(fault) as job:
        status = job.wait()
        told = job.log.read_text()
        if fault.victim == "driver":
            assert status == -signal.SIGKILL, told
        else:
            assert status == 1, told
            assert "The JVM of inventory is gone" in told
        # The half that was not killed ends by itself, and with it the lock.
        job.wait_until_gone()
        assert not lasting_stream.caught_up()
    assert lasting_stream.run(monkeypatch) == 0
    lasting_stream.check()
