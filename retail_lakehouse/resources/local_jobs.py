"""Streaming jobs as the local supervisor runs them.

Here: its answers as the platform's job states. Not here: the supervisor or its socket
(`retail_lakehouse.local`).
"""

from pathlib import Path

from retail_lakehouse.contracts.events import event_named
from retail_lakehouse.contracts.job_states import JobEvent, Phase
from retail_lakehouse.local.control import (
    ControlError,
    ProcessState,
    ProcessStatus,
    SupervisorClient,
    SupervisorNotRunningError,
)
from retail_lakehouse.resources.job_runs import JobRequestError, JobRun, JobState, Verb
from retail_lakehouse.streaming.lock import yielded_ms

_STATES: dict[ProcessState, JobState] = {
    ProcessState.STARTING: JobState.STARTING,
    ProcessState.RUNNING: JobState.RUNNING,
    ProcessState.STOPPING: JobState.STOPPING,
    ProcessState.STOPPED: JobState.STOPPED,
    ProcessState.WAITING: JobState.FAILED,
    ProcessState.CRASHING: JobState.FAILED,
    ProcessState.HALTED: JobState.FAILED,
}

# A death is the supervisor's own affair: it starts the job again by itself.
_TOLD: dict[ProcessState, JobEvent] = {
    ProcessState.RUNNING: JobEvent.RUN_UP,
    ProcessState.STOPPED: JobEvent.RUN_STOPPED,
    ProcessState.HALTED: JobEvent.RUN_NEEDS_A_PERSON,
}

_PHASES: dict[ProcessState, Phase] = {
    ProcessState.STARTING: Phase.STARTING,
    ProcessState.STOPPING: Phase.STOPPING,
    ProcessState.STOPPED: Phase.STOPPED,
    ProcessState.WAITING: Phase.WAITING,
    ProcessState.CRASHING: Phase.CRASH_LOOPING,
    ProcessState.HALTED: Phase.NEEDS_A_PERSON,
}
"""What the supervisor knows better than whoever only looks; not whether what runs does its work."""


class LocalJobs:
    """The runner on one machine; jobs are processes named as their events."""

    def __init__(self, root: Path, lock_dir: Path) -> None:
        self._client = SupervisorClient(root)
        self._lock_dir = lock_dir

    def runs(self, events: tuple[str, ...]) -> dict[str, JobRun]:
        """The newest run of each job, by event name; never raises for an outage."""
        try:
            told = self._client.status()
        except SupervisorNotRunningError as error:
            return {
                event: JobRun(event, JobState.STOPPED, str(error), phase=Phase.STOPPED)
                for event in events
            }
        except ControlError as error:
            return {event: JobRun(event, JobState.UNKNOWN, str(error)) for event in events}
        return {
            event: _run(
                event, told.get(event), yielded_ms(self._lock_dir, event_named(event).topic)
            )
            for event in events
        }

    def request(self, verb: Verb, event: str) -> str:
        """Asks the supervisor.

        Raises:
            JobRequestError: no supervisor runs, or the job did not follow.
        """
        try:
            status = self._client.request(verb, event)
        except (SupervisorNotRunningError, ControlError) as error:
            raise JobRequestError(str(error)) from error
        return f"The {event} job is {status.state.value}."


def _run(event: str, status: ProcessStatus | None, yielded_at_ms: int | None) -> JobRun:
    if status is None:
        return JobRun(
            event,
            JobState.STOPPED,
            f"The supervisor has no {event} job: it was started with fewer jobs. End it and start "
            "the whole platform with `retail-lakehouse dev`.",
            phase=Phase.STOPPED,
        )
    sentence = f"The {event} job is {status.state.value}"
    sentence += f" as process {status.pid}." if status.pid is not None else "."
    if status.message:
        sentence += f" {status.message}"
    if _STATES[status.state] is JobState.FAILED:
        sentence += f" Its log is {status.log}."
    started = None if status.started_at is None else int(status.started_at * 1000)
    return JobRun(
        event,
        _STATES[status.state],
        sentence,
        started_at_ms=started,
        run_id=None if status.pid is None else str(status.pid),
        told=_TOLD.get(status.state),
        phase=_PHASES.get(status.state),
        yielded_at_ms=yielded_at_ms,
    )
