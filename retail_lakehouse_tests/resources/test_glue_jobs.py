from datetime import UTC, datetime

import pytest

from retail_lakehouse.resources.glue_jobs import newest_run
from retail_lakehouse.resources.job_runs import JobState


@pytest.mark.parametrize(
    "word, state",
    [
        ("WAITING", JobState.STARTING),
        ("STARTING", JobState.STARTING),
        ("RUNNING", JobState.RUNNING),
        ("STOPPING", JobState.STOPPED),
        ("STOPPED", JobState.STOPPED),
        ("SUCCEEDED", JobState.STOPPED),
        ("FAILED", JobState.FAILED),
        ("ERROR", JobState.FAILED),
        ("TIMEOUT", JobState.FAILED),
        ("EXPIRED", JobState.FAILED),
        ("SOMETHING_NEW", JobState.UNKNOWN),
    ],
)
def test_every_state_of_a_glue_run_is_known_and_only_running_runs(
    word: str, state: JobState
) -> None:
    run = newest_run("inventory", "ap-south-1", {"Id": "jr_1", "JobRunState": word})
    assert run.state is state
    assert word in run.sentence


def test_a_failed_run_says_why_and_links_to_its_page() -> None:
    run = newest_run(
        "inventory",
        "ap-south-1",
        {
            "Id": "jr_1",
            "JobRunState": "FAILED",
            "ErrorMessage": "OutOfMemory.",
            "StartedOn": datetime(2026, 1, 1, tzinfo=UTC),
        },
    )
    assert "OutOfMemory. Mend that" in run.sentence
    assert run.url is not None
    assert run.url.endswith("#/job/inventory_streaming/run/jr_1")
    assert run.started_at_ms == 1_767_225_600_000
