"""Streaming jobs as AWS Glue runs them.

Here: what the state of a Glue job run means, and the three requests. Not here: the jobs'
definitions (the AWS side's templates), the machine that its news goes to
(`contracts/job_states.py`), the verdict on their health (`checks/`).
Source: https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-jobs-runs.html
"""

import time
from collections.abc import Callable
from typing import Any

from retail_lakehouse.contracts.job_states import JobEvent
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.resources.job_runs import JobRequestError, JobRun, JobState, Verb

_STATES: dict[str, JobState] = {
    "WAITING": JobState.STARTING,
    "STARTING": JobState.STARTING,
    "RUNNING": JobState.RUNNING,
    "STOPPING": JobState.STOPPING,
    "STOPPED": JobState.STOPPED,
    # A streaming job has no end of its own: a run that ended well is a job that does not run.
    "SUCCEEDED": JobState.STOPPED,
    "FAILED": JobState.FAILED,
    "ERROR": JobState.FAILED,
    "TIMEOUT": JobState.FAILED,
    # Its maintenance window, or seven days, ended the run; Glue starts the next one by itself.
    "EXPIRED": JobState.STARTING,
}
_TOLD: dict[str, JobEvent] = {
    "RUNNING": JobEvent.RUN_UP,
    "STOPPED": JobEvent.RUN_STOPPED,
    "SUCCEEDED": JobEvent.RUN_DIED,
    "FAILED": JobEvent.RUN_DIED,
    "ERROR": JobEvent.RUN_DIED,
    # A time limit below seven days ends the run for good: Glue starts no other.
    "TIMEOUT": JobEvent.RUN_DIED,
    "EXPIRED": JobEvent.RUN_EXPIRED,
}
_SUCCESSOR = "_restart_"
"""In the id of a run that Glue started after one that expired: `<run>_restart_N`."""
_TIMEOUT_SECONDS = 5


def glue_job_name(event: str) -> str:
    """The Glue job of an event; its script is `glue_scripts/<event>_streaming.py`."""
    return f"{event}_streaming"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class GlueJobs:
    """The runner on AWS. `client` is boto3's Glue client, made when not given; `clock` epoch ms."""

    def __init__(self, region: str, client: Any = None, clock: Callable[[], int] = _now_ms) -> None:
        self._region = region
        self._given = client
        self._clock = clock

    def runs(self, events: tuple[str, ...]) -> dict[str, JobRun]:
        """The newest run of each job, by event name; never raises for an outage."""
        from botocore.exceptions import BotoCoreError, ClientError

        answers: dict[str, JobRun] = {}
        outage: BotoCoreError | None = None
        for event in events:
            name = glue_job_name(event)
            try:
                if outage is not None:
                    # Each question waits for as long: a tick would not end in its time.
                    raise outage
                found = self._client().get_job_runs(JobName=name, MaxResults=1)["JobRuns"]
            except (BotoCoreError, ClientError) as error:
                outage = error if isinstance(error, BotoCoreError) else None
                answers[event] = JobRun(
                    event,
                    JobState.UNKNOWN,
                    f"Glue in {self._region} could not be asked about {name}: {error}. Check the "
                    "credentials and the network of the host that runs Dagster.",
                )
                continue
            answers[event] = (
                newest_run(event, self._region, found[0]) if found else _never_started(event, name)
            )
        return answers

    def request(self, verb: Verb, event: str) -> str:
        """Asks Glue; a start beside a live run is refused by the job's MaxConcurrentRuns of 1.

        It is not queued either: a run that waits would begin when the one before it is stopped.
        One beside a run that is ending, or in the place of one that Glue is about to start, is
        refused here.

        Raises:
            JobRequestError: Glue refused or could not be reached, or did only half of a restart.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        name = glue_job_name(event)
        try:
            run = self.runs((event,))[event]
            if run.state is JobState.UNKNOWN and not (verb == "start" and run.run_id):
                # Nobody was asked: that must not look as if somebody was.
                raise JobRequestError(run.sentence)
            if verb != "stop" and run.state is JobState.STOPPING:
                raise JobRequestError(
                    f"{run.sentence} One run at a time is allowed: start it once that has ended."
                )
            if verb == "start" and _is_successor_due(run, self._clock()):
                raise JobRequestError(
                    f"{run.sentence} One beside it would make two: wait for it, for "
                    f"{SERVICE_LEVELS.job_start_seconds // 60} minutes at most."
                )
            if verb in ("stop", "restart"):
                if run.told is JobEvent.RUN_EXPIRED:
                    raise JobRequestError(f"{run.sentence} See that it does, then {verb} that one.")
                if run.run_id and run.state in (JobState.RUNNING, JobState.STARTING):
                    self._stop(name, run.run_id)
                    if verb == "restart":
                        raise JobRequestError(
                            f"{name} is asked to stop, which takes Glue minutes, and one run at a "
                            "time is allowed: start it once its run has ended."
                        )
            if verb == "stop":
                lives = run.state in (JobState.RUNNING, JobState.STARTING, JobState.STOPPING)
                return f"{name} {'is asked to stop' if lives else 'has no run to be stopped'}."
            # The run's own word, which counts for more than the job's definition.
            asked = self._client().start_job_run(JobName=name, JobRunQueuingEnabled=False)
        except (BotoCoreError, ClientError) as error:
            raise JobRequestError(f"Glue did not {verb} {name}: {error}.") from error
        return f"{name} is started as run {asked['JobRunId']}."

    def _stop(self, name: str, run_id: str) -> None:
        # A run that Glue does not stop is in the answer, and no exception.
        answer = self._client().batch_stop_job_run(JobName=name, JobRunIds=[run_id])
        for refused in answer.get("Errors", []):
            detail = refused.get("ErrorDetail", {})
            raise JobRequestError(
                f"Glue did not stop run {run_id} of {name}: {detail.get('ErrorCode', 'no code')}, "
                f"{detail.get('ErrorMessage', 'without a message')}."
            )

    def _client(self) -> Any:
        if self._given is None:
            import boto3
            from botocore.config import Config

            self._given = boto3.client(
                "glue",
                region_name=self._region,
                config=Config(
                    connect_timeout=_TIMEOUT_SECONDS,
                    read_timeout=_TIMEOUT_SECONDS,
                    retries={"total_max_attempts": 2},
                ),
            )
        return self._given


def newest_run(event: str, region: str, raw: dict[str, Any]) -> JobRun:
    """A job run as Glue's GetJobRuns describes it."""
    name, run_id, word = glue_job_name(event), str(raw["Id"]), str(raw["JobRunState"])
    state = _STATES.get(word, JobState.UNKNOWN)
    sentence = f"Glue's newest run of {name}, {run_id}, is {word}."
    if word == "TIMEOUT":
        sentence += (
            " It reached the Timeout in the job's definition, after which Glue starts no other: a "
            "streaming job wants none below seven days. Mend that, then start the job again."
        )
    elif state is JobState.FAILED:
        reason = raw.get("ErrorMessage") or "Glue gives no message; see the run's log"
        sentence += f" {reason.rstrip('.')}. Mend that, then start the job again."
    elif word == "EXPIRED":
        sentence += " It reached its maintenance window: Glue starts its successor by itself."
    elif state is JobState.STOPPED:
        sentence += " Start the job to go on where its tables' marks end."
    elif state is JobState.UNKNOWN:
        sentence += " This program does not know that state; look at the run in Glue's console."
    told = _TOLD.get(word)
    if told is JobEvent.RUN_UP and _SUCCESSOR in run_id:
        told = JobEvent.SUCCESSOR_UP
    return JobRun(
        event,
        state,
        sentence,
        started_at_ms=_milliseconds(raw, "StartedOn"),
        run_id=run_id,
        url=(
            f"https://{region}.console.aws.amazon.com/gluestudio/home"
            f"?region={region}#/job/{name}/run/{run_id}"
        ),
        told=told,
        awaited_since_ms=_milliseconds(raw, "CompletedOn" if word == "EXPIRED" else "StartedOn"),
        origin_id=run_id.partition(_SUCCESSOR)[0],
    )


def _is_successor_due(run: JobRun, at_ms: int) -> bool:
    """Whether the run expired so lately that Glue is still to start the one that follows it."""
    if run.told is not JobEvent.RUN_EXPIRED or run.awaited_since_ms is None:
        return False
    return at_ms - run.awaited_since_ms < SERVICE_LEVELS.job_start_seconds * 1000


def _milliseconds(raw: dict[str, Any], moment: str) -> int | None:
    return int(raw[moment].timestamp() * 1000) if moment in raw else None


def _never_started(event: str, name: str) -> JobRun:
    return JobRun(
        event, JobState.STOPPED, f"The Glue job {name} has never run. Start it to land events."
    )
