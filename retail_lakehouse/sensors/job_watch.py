"""What the control plane makes of each streaming job: the state machine fed by looks.

Here: from one look at a job to events, from events to a phase and requests, kept as JSON between
ticks. Not here: the machine's table (`contracts/job_states.py`), the requests themselves
(`resources/`), the verdict that is shown (`checks/`).

Who runs the jobs locally starts dead ones again by itself, and tells no death; Glue does not, so
there the machine's starts come from here. That a job is stalled only its marks can tell, so a job
that stays stalled is restarted from here on both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retail_lakehouse.contracts.job_states import (
    JobAction,
    JobEvent,
    JobLife,
    Pace,
    Phase,
    step,
)
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.resources.job_runs import JobRun, JobState, Verb

# On Glue a start takes minutes and costs from the first one: fewer and longer than on one machine.
# A run is steady well after its first batches, which are the largest and the likeliest to kill it.
PACE = Pace(
    backoff_seconds=(30.0, 60.0, 120.0, 300.0, 600.0),
    gives_up_after_deaths=8,
    steady_after_seconds=900.0,
    successor_seconds=SERVICE_LEVELS.job_start_seconds,
)
STOP_AGAIN_SECONDS = 120

_VERBS: dict[tuple[JobAction, Phase], Verb] = {
    (JobAction.START_RUN, Phase.STARTING): "start",
    (JobAction.STOP_RUN, Phase.STOPPING): "stop",
    (JobAction.STOP_RUN, Phase.RESTARTING): "restart",
}
_CAME_UP = frozenset({JobEvent.RUN_UP, JobEvent.SUCCESSOR_UP})
_NONE_LIVES = (Phase.WAITING, Phase.CRASH_LOOPING, Phase.GAVE_UP, Phase.HANDING_OVER)
"""Phases in which a stop finds no run that could be stopped, and be found stopped later."""
_OURS_COMES = (Phase.STARTING, Phase.RESTARTING)
"""Phases in which a run of ours is on its way, which may come up after somebody asked for a stop:
this very tick may have read the wishes before that one was written down."""
_LEFT_ALONE = (Phase.STOPPED, Phase.GAVE_UP)
"""Phases from which nothing but a person, or a deployment, starts a run."""
_LIVES = (Phase.RUNNING, Phase.STALLED)


@dataclass(frozen=True, slots=True)
class WatchedJob:
    """A job as the ticks before left it. Times in epoch milliseconds.

    `told` is the run and the event that it last told, `due_ms` when something is due by itself,
    `since_ms` when the run that lives came up.
    """

    life: JobLife
    told: tuple[str | None, str | None]
    due_ms: int | None = None
    since_ms: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As a sensor's cursor keeps it."""
        return {
            "phase": self.life.phase.value,
            "deaths": self.life.deaths,
            "told": list(self.told),
            "due_ms": self.due_ms,
            "since_ms": self.since_ms,
        }

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "WatchedJob":
        """What `to_json` wrote."""
        run_id, event = raw["told"]
        return WatchedJob(
            JobLife(Phase(raw["phase"]), int(raw["deaths"])),
            (run_id, event),
            raw["due_ms"],
            raw["since_ms"],
        )


def first_seen(run: JobRun, at_ms: int) -> WatchedJob:
    """A job that no tick has seen before: as it is, and nothing is done about it.

    One that does not live was ended by somebody before we came: it stays so until it is started.
    """
    phase = Phase.STOPPED
    due: int | None = None
    if run.told in (JobEvent.RUN_UP, JobEvent.SUCCESSOR_UP):
        phase = Phase.RUNNING
    elif run.told is JobEvent.RUN_EXPIRED:
        phase, due = Phase.HANDING_OVER, at_ms + int(PACE.successor_seconds * 1000)
    elif run.state is JobState.STARTING:
        phase = Phase.STARTING
    return WatchedJob(JobLife(phase), _news(run), due, since_ms=at_ms)


def watched(
    job: WatchedJob,
    run: JobRun,
    quiet_beyond_seconds: float | None,
    patience: float,
    at_ms: int,
    *,
    stands_aside: bool = False,
    stop_asked_ms: int | None = None,
) -> tuple[WatchedJob, Verb | None]:
    """What one look makes of a job, and what is to be asked of whoever runs it.

    `quiet_beyond_seconds` is for how long it has committed nothing beyond what it may while records
    wait (below 0: not yet), None where nothing waits or nothing can be known. A stall persists
    when that is more than `patience` seconds. One that `stands_aside` for another writer is neither
    stalled nor to be restarted. `stop_asked_ms` is when a person asked for a stop, and for nothing
    else since: where no run lived to be stopped, whoever runs the job does not remember it.
    """
    verb: Verb | None = None
    is_stop_asked = stop_asked_ms is not None and stop_asked_ms >= (job.since_ms or 0)
    if is_stop_asked and _is_stop_unheard(job, run):
        job, verb = _stopped(job, at_ms)
    events = _events(job, run, quiet_beyond_seconds, patience, at_ms, stands_aside)
    if not is_stop_asked and _came_unseen(job, run):
        events.insert(0, JobEvent.RUN_UP)
    for event in events:
        life, action = step(job.life, event, PACE)
        due = job.due_ms if life.phase is job.life.phase else None
        if action is JobAction.WAIT:
            due = at_ms + int(PACE.pause_seconds(life.deaths) * 1000)
        elif action is JobAction.AWAIT_SUCCESSOR:
            due = at_ms + int(PACE.successor_seconds * 1000)
        elif action is JobAction.STOP_RUN:
            due = at_ms + STOP_AGAIN_SECONDS * 1000
        is_new = life.phase is Phase.RUNNING and (
            job.life.phase is not Phase.RUNNING or event in _CAME_UP
        )
        job = WatchedJob(life, job.told, due, at_ms if is_new else job.since_ms)
        verb = _VERBS.get((action, life.phase), verb)
    # An outage of whoever runs the jobs must not make old news new.
    told = job.told if run.told is None else _news(run)
    return WatchedJob(job.life, told, job.due_ms, job.since_ms), verb


def refused(job: WatchedJob, at_ms: int, *, ends_restarts: bool = False) -> WatchedJob:
    """The job after a start that could not be had: tried again after a pause.

    `ends_restarts`: whoever runs it goes on with a restart that it has begun, and is asked for no
    start: where it finds the job stopped then, somebody else has stopped it.
    """
    if ends_restarts and job.life.phase is Phase.RESTARTING:
        return restarted(job)
    life, action = step(job.life, JobEvent.START_REFUSED, PACE)
    due = at_ms + int(PACE.pause_seconds(life.deaths) * 1000)
    return WatchedJob(life, job.told, due if action is JobAction.WAIT else job.due_ms, job.since_ms)


def restarted(job: WatchedJob) -> WatchedJob:
    """The job after a restart that whoever runs it has done whole: its next run is on its way.

    From here on a run that is found stopped was stopped by somebody else, and stays so.
    """
    life, _ = step(job.life, JobEvent.RUN_STOPPED, PACE)
    return WatchedJob(life, job.told, None, job.since_ms)


def _events(
    job: WatchedJob,
    run: JobRun,
    quiet_beyond: float | None,
    patience: float,
    at_ms: int,
    stands_aside: bool,
) -> list[JobEvent]:
    """What is news since the tick before, in the order in which it is to be heard."""
    phase = job.life.phase
    if run.told is not None and _news(run) != job.told:
        return [_heard(job, run, run.told)]
    if job.due_ms is not None and at_ms >= job.due_ms:
        if phase is Phase.HANDING_OVER:
            return [JobEvent.SUCCESSOR_OVERDUE]
        is_ending = phase in (Phase.STOPPING, Phase.RESTARTING)
        return [JobEvent.STOP_OVERDUE if is_ending else JobEvent.BACKOFF_OVER]
    if run.state is not JobState.RUNNING:
        return []
    if stands_aside:
        return [JobEvent.LEASE_SEEN]
    if quiet_beyond is not None and quiet_beyond > 0:
        if phase is Phase.STALLED and quiet_beyond > patience:
            return [JobEvent.STALL_PERSISTS]
        return [JobEvent.STALL_SEEN]
    lived = 0 if job.since_ms is None else (at_ms - job.since_ms) / 1000
    is_steady = job.life.deaths > 0 and lived > PACE.steady_after_seconds
    return [JobEvent.BATCH_SEEN, *([JobEvent.RUN_STEADY] if is_steady else [])]


def _is_stop_unheard(job: WatchedJob, run: JobRun) -> bool:
    """Whether the last run cannot tell of a stop that was asked for since it came up.

    Either none lives, or the one that refused to stop has been followed by another: Glue may start
    that so soon that no tick sees the expired one.
    """
    if job.life.phase in (*_NONE_LIVES, *_OURS_COMES):
        return True
    is_followed = run.told is not None and _heard(job, run, run.told) is JobEvent.SUCCESSOR_UP
    return job.life.phase in _LIVES and is_followed and _news(run) != job.told


def _came_unseen(job: WatchedJob, run: JobRun) -> bool:
    """Whether somebody started a run of a job that is left alone, and no tick saw it live.

    It is kept from then on like any other, though it has ended by now.
    """
    has_ended = run.told in (JobEvent.RUN_DIED, JobEvent.RUN_EXPIRED) and _news(run) != job.told
    is_later = run.started_at_ms is not None and run.started_at_ms > (job.since_ms or 0)
    return job.life.phase in _LEFT_ALONE and has_ended and is_later


def _stopped(job: WatchedJob, at_ms: int) -> tuple[WatchedJob, Verb | None]:
    """The job after a stop that somebody asked for, and what is to be asked of whoever runs it."""
    life, action = step(job.life, JobEvent.STOP_ASKED, PACE)
    if job.life.phase in _NONE_LIVES:
        # There is nothing to ask for; a successor that comes is stopped then.
        life, _ = step(life, JobEvent.RUN_STOPPED, PACE)
        return WatchedJob(life, job.told, None, job.since_ms), None
    due = at_ms + STOP_AGAIN_SECONDS * 1000
    return WatchedJob(life, job.told, due, job.since_ms), _VERBS.get((action, life.phase))


def _heard(job: WatchedJob, run: JobRun, told: JobEvent) -> JobEvent:
    """What the news is to this job, which may have been waiting for it, or know another run."""
    known = job.told[0]
    if told is JobEvent.RUN_UP and job.life.phase is Phase.RESTARTING and run.run_id != known:
        return JobEvent.SUCCESSOR_UP
    if told is JobEvent.SUCCESSOR_UP:
        origin = run.origin_id
        is_of_known = known is not None and origin is not None and known.startswith(origin)
        # Not stopped for what was stopped on purpose: that was another run, or nobody saw it.
        return told if is_of_known else JobEvent.RUN_UP
    return told


def _news(run: JobRun) -> tuple[str | None, str | None]:
    return run.run_id, None if run.told is None else run.told.value
