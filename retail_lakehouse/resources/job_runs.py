"""What is known of a streaming job, whoever runs it.

Here: the typed answer and the interface of those who give it. Not here: the local supervisor's or
Glue's way to ask (`streaming_jobs.py`, `glue_jobs.py`), or the verdict on it (`checks/`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from retail_lakehouse.contracts.job_states import JobEvent, Phase

Verb = Literal["start", "stop", "restart"]


class JobState(StrEnum):
    """Whether a streaming job runs."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    """It was asked to end and has not ended: nothing may be started beside it."""
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Whoever runs it cannot be asked."""


@dataclass(frozen=True, slots=True)
class JobRun:
    """One job's newest run: its state, and a sentence that says so with what to do."""

    event: str
    state: JobState
    sentence: str
    started_at_ms: int | None = None
    run_id: str | None = None
    """Process id locally, job run id on Glue."""
    url: str | None = None
    told: JobEvent | None = None
    """What it is to the job's state machine; None where whoever runs it sees to it alone."""
    phase: Phase | None = None
    """Where the job is in its life, as far as whoever runs it sees to that alone; else None."""
    yielded_at_ms: int | None = None
    """When it last stood aside for a replay, a backfill or a change of schema; None if never."""
    awaited_since_ms: int | None = None
    """Since when a run that is STARTING is on its way; None where that takes no time."""
    origin_id: str | None = None
    """The id that those of the runs begin with which it goes back to, each the successor of the
    one before; None where no run has a successor."""


class JobRunner(Protocol):
    """Who starts and stops streaming jobs: the local supervisor, or Glue."""

    def runs(self, events: tuple[str, ...]) -> dict[str, JobRun]:
        """The newest run of each job, by event name; never raises for an outage."""
        ...

    def request(self, verb: Verb, event: str) -> str:
        """Asks for a start, stop or restart and returns what was answered.

        Raises:
            JobRequestError: nobody could be asked, or the answer was no.
        """
        ...


class JobRequestError(RuntimeError):
    """A start, stop or restart that could not be had."""
