from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from retail_lakehouse.contracts.job_states import JobEvent
from retail_lakehouse.resources.glue_jobs import GlueJobs, newest_run
from retail_lakehouse.resources.job_runs import JobRequestError, JobState, Verb
from retail_lakehouse.sensors.job_watch import PACE


@dataclass
class FakeGlue:
    """Glue's answers as a test sets them; remembers what it was asked for."""

    state: str = "RUNNING"
    is_down: bool = False
    questions: int = 0
    refusal: dict[str, str] = field(default_factory=dict)
    completed_on: datetime | None = None
    asked: list[str] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)

    def get_job_runs(self, **_: Any) -> dict[str, Any]:
        """As Glue's GetJobRuns answers."""
        self.questions += 1
        if self.is_down:
            raise EndpointConnectionError(endpoint_url="https://glue.test")
        run: dict[str, Any] = {"Id": "jr_1", "JobRunState": self.state}
        ended: dict[str, Any] = (
            {} if self.completed_on is None else {"CompletedOn": self.completed_on}
        )
        return {"JobRuns": [run | ended]}

    def batch_stop_job_run(self, **_: Any) -> dict[str, Any]:
        """As Glue's BatchStopJobRun answers: a run that is not stopped is no exception."""
        self.asked.append("stop")
        return {"Errors": [{"ErrorDetail": self.refusal}] if self.refusal else []}

    def start_job_run(self, **request: Any) -> dict[str, Any]:
        """As Glue's StartJobRun answers."""
        self.asked.append("start")
        self.starts.append(request)
        return {"JobRunId": "jr_2"}


def ask(glue: FakeGlue, verb: Verb) -> str:
    return GlueJobs("ap-south-1", glue).request(verb, "inventory")


def test_a_stop_that_reached_nobody_does_not_look_like_one() -> None:
    with pytest.raises(JobRequestError, match="could not be asked about inventory_streaming"):
        ask(FakeGlue(is_down=True), "stop")
    refusal = {"ErrorCode": "ConcurrentModification", "ErrorMessage": "It is busy"}
    with pytest.raises(JobRequestError, match=r"jr_1 of .*: ConcurrentModification, It is busy"):
        ask(FakeGlue(refusal=refusal), "stop")
    assert "asked to stop" in ask(FakeGlue(), "stop")


def test_half_a_restart_is_an_error_that_says_what_is_left_to_do() -> None:
    running = FakeGlue()
    with pytest.raises(JobRequestError, match="start it once its run has ended"):
        ask(running, "restart")
    assert running.asked == ["stop"]
    ended = FakeGlue("FAILED")
    assert "started as run jr_2" in ask(ended, "restart")
    assert ended.asked == ["start"]


def test_a_glue_that_does_not_answer_is_asked_once_for_all_jobs() -> None:
    glue = FakeGlue(is_down=True)
    runs = GlueJobs("ap-south-1", glue).runs(("inventory", "transactions", "clickstream"))
    assert {run.state for run in runs.values()} == {JobState.UNKNOWN}
    assert all(f"about {name}_streaming" in runs[name].sentence for name in runs)
    assert glue.questions == 1


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_nothing_is_started_beside_a_run_that_has_not_ended_yet(verb: Verb) -> None:
    ending = FakeGlue("STOPPING")
    with pytest.raises(JobRequestError, match="start it once that has ended"):
        ask(ending, verb)
    assert ending.asked == []


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_a_run_that_has_expired_cannot_be_stopped_and_that_is_said(verb: Verb) -> None:
    expired = FakeGlue("EXPIRED")
    with pytest.raises(JobRequestError, match=f"by itself. See that it does, then {verb}"):
        ask(expired, verb)
    assert expired.asked == []


def test_a_successor_that_never_comes_may_be_started() -> None:
    expired = FakeGlue("EXPIRED")
    assert "started as run jr_2" in ask(expired, "start")


def test_nothing_is_started_in_the_place_of_a_successor_that_glue_is_about_to_start() -> None:
    expired_at = datetime(2026, 1, 8, tzinfo=UTC)
    expired = FakeGlue("EXPIRED", completed_on=expired_at)

    def start_after(minutes: float) -> str:
        at_ms = int((expired_at + timedelta(minutes=minutes)).timestamp() * 1000)
        return GlueJobs("ap-south-1", expired, lambda: at_ms).request("start", "inventory")

    with pytest.raises(JobRequestError, match=r"would make two: wait for it, for 15 minutes"):
        start_after(14.9)
    assert expired.asked == []
    # When the sensor's own patience is over, this one is over too.
    assert "started as run jr_2" in start_after(PACE.successor_seconds / 60)


def test_a_start_is_never_queued_behind_a_run_that_lives() -> None:
    # Glue's job definition may say otherwise; what is asked for the run counts for more.
    glue = FakeGlue("RUNNING")
    ask(glue, "start")
    assert glue.starts == [{"JobName": "inventory_streaming", "JobRunQueuingEnabled": False}]


def test_a_run_that_is_on_its_way_tells_since_when() -> None:
    begun, ended = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 8, tzinfo=UTC)
    raw = {"Id": "jr_1_restart_2", "StartedOn": begun, "CompletedOn": ended}
    expired = newest_run("inventory", "ap-south-1", {**raw, "JobRunState": "EXPIRED"})
    starting = newest_run("inventory", "ap-south-1", {**raw, "JobRunState": "STARTING"})
    assert expired.awaited_since_ms == int(ended.timestamp() * 1000)
    assert starting.awaited_since_ms == int(begun.timestamp() * 1000)
    assert starting.origin_id == "jr_1"


def test_a_run_that_its_timeout_ended_says_what_to_mend() -> None:
    run = newest_run("inventory", "ap-south-1", {"Id": "jr_1", "JobRunState": "TIMEOUT"})
    assert "a streaming job wants none below seven days" in run.sentence


@pytest.mark.parametrize(
    "word, state",
    [
        ("WAITING", JobState.STARTING),
        ("STARTING", JobState.STARTING),
        ("RUNNING", JobState.RUNNING),
        ("STOPPING", JobState.STOPPING),
        ("STOPPED", JobState.STOPPED),
        ("SUCCEEDED", JobState.STOPPED),
        ("FAILED", JobState.FAILED),
        ("ERROR", JobState.FAILED),
        ("TIMEOUT", JobState.FAILED),
        ("EXPIRED", JobState.STARTING),
        ("SOMETHING_NEW", JobState.UNKNOWN),
    ],
)
def test_every_state_of_a_glue_run_is_known_and_only_running_runs(
    word: str, state: JobState
) -> None:
    run = newest_run("inventory", "ap-south-1", {"Id": "jr_1", "JobRunState": word})
    assert run.state is state
    assert word in run.sentence


@pytest.mark.parametrize(
    "run_id, word, told",
    [
        ("jr_1", "STARTING", None),
        ("jr_1", "STOPPING", None),
        ("jr_1", "RUNNING", JobEvent.RUN_UP),
        ("jr_1_restart_2", "RUNNING", JobEvent.SUCCESSOR_UP),
        ("jr_1", "EXPIRED", JobEvent.RUN_EXPIRED),
        ("jr_1", "STOPPED", JobEvent.RUN_STOPPED),
        ("jr_1", "SUCCEEDED", JobEvent.RUN_DIED),
        ("jr_1", "TIMEOUT", JobEvent.RUN_DIED),
        ("jr_1", "FAILED", JobEvent.RUN_DIED),
        ("jr_1", "SOMETHING_NEW", None),
    ],
)
def test_what_glue_does_is_told_to_the_jobs_state_machine(
    run_id: str, word: str, told: JobEvent | None
) -> None:
    run = newest_run("inventory", "ap-south-1", {"Id": run_id, "JobRunState": word})
    assert run.told is told


def test_an_expired_run_is_followed_by_glue_and_by_nobody_else() -> None:
    run = newest_run("inventory", "ap-south-1", {"Id": "jr_1", "JobRunState": "EXPIRED"})
    assert "Glue starts its successor by itself" in run.sentence


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
