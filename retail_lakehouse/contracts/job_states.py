"""The life of a streaming job as a state machine: what each event makes of it, and what to do then.

Here: phases, events, the table of transitions, the pace of new starts. Not here: who starts and
ends a run (the local keeper, Glue), how an event is noticed (`retail_lakehouse.local`,
`resources/glue_jobs.py`).

There is one run at a time, always: a run is asked for only from a phase in which none lives, or at
the event that says that the last one has ended. An event that has nothing to say to a phase, such
as late news of a run that was followed by another, changes nothing.

Glue ends a streaming run by itself: in the job's maintenance window, or seven days after its start
where it has none, a run becomes EXPIRED and Glue starts another, named `<run>_restart_N`. That is
waited for, not answered by a start of ours, which would make two.
Source: https://docs.aws.amazon.com/glue/latest/dg/glue-streaming-maintenance.html
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Phase(StrEnum):
    """Where a job is in its life."""

    STOPPED = "stopped"
    """On purpose: nothing starts it but a person."""
    STARTING = "starting"
    RUNNING = "running"
    STALLED = "stalled"
    """It runs, and commits nothing while offsets grow."""
    STANDING_ASIDE = "standing aside"
    """It runs, and waits for a lease: somebody else writes its tables for a while."""
    STOPPING = "stopping"
    RESTARTING = "restarting"
    """It is asked to end, and is started when it has."""
    WAITING = "waiting"
    """It died, and is started again after a pause."""
    CRASH_LOOPING = "crash-looping"
    """It died several times in a row; still tried again, at longer pauses."""
    GAVE_UP = "gave up"
    """It died so often that it is left alone: a person is told."""
    NEEDS_A_PERSON = "needs a person"
    """It ended and said that starting it again is no use."""
    HANDING_OVER = "handing over"
    """Its run expired, and whoever runs it starts the next one by itself."""


LIVE = frozenset(
    {
        Phase.STARTING,
        Phase.RUNNING,
        Phase.STALLED,
        Phase.STANDING_ASIDE,
        Phase.STOPPING,
        Phase.RESTARTING,
    }
)
"""Phases in which a run lives, or may."""


class JobEvent(StrEnum):
    """What can happen to a job."""

    START_ASKED = "start asked"
    STOP_ASKED = "stop asked"
    RESTART_ASKED = "restart asked"
    RUN_UP = "run up"
    """A run lives, whoever started it."""
    RUN_STEADY = "run steady"
    """It has lived for so long that its deaths before are forgotten."""
    BATCH_SEEN = "batch seen"
    STALL_SEEN = "stall seen"
    """No batch within three triggers while offsets grow."""
    STALL_PERSISTS = "stall persists"
    """And for as long beyond that as a record may take to land."""
    LEASE_SEEN = "lease seen"
    """The run says that it stands aside for another writer: no stall, and no death."""
    RUN_DIED = "run died"
    RUN_STOPPED = "run stopped"
    """It ended because somebody asked it to."""
    RUN_NEEDS_A_PERSON = "run needs a person"
    """It ended with the exit code that says that starting it again is no use."""
    RUN_KEPT_OUT = "run kept out"
    """It ended since another run, which asks for no lease, keeps its tables' lock: no death."""
    START_REFUSED = "start refused"
    """There is a run already, or the last one has not quite ended."""
    STOP_OVERDUE = "stop overdue"
    BACKOFF_OVER = "backoff over"
    RUN_EXPIRED = "run expired"
    SUCCESSOR_UP = "successor up"
    """The run that follows an expired one lives."""
    SUCCESSOR_OVERDUE = "successor overdue"


class JobAction(StrEnum):
    """What whoever keeps the job does next."""

    NOTHING = "nothing"
    START_RUN = "start a run"
    STOP_RUN = "stop the run"
    WAIT = "wait"
    """For `Pace.pause_seconds`, then tell BACKOFF_OVER."""
    AWAIT_SUCCESSOR = "await the successor"
    """For `Pace.successor_seconds`, then tell SUCCESSOR_OVERDUE."""
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Pace:
    """How soon and how often a job that died is started again."""

    backoff_seconds: tuple[float, ...] = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
    crash_loop_deaths: int = 3
    gives_up_after_deaths: int | None = None
    """None: it is tried for ever."""
    steady_after_seconds: float = 60.0
    """A run that lived so long starts with the shortest pause again when it dies. Longer than what
    it takes to die by what made the last ones die, or a loop of slow deaths is none."""
    successor_seconds: float = 900.0
    """How long a run that expired may go without its successor."""

    def pause_seconds(self, deaths: int, *, is_kept_out: bool = False) -> float:
        """The pause after so many deaths in a row; the longest for one that is kept out."""
        if is_kept_out:
            return self.backoff_seconds[-1]
        return self.backoff_seconds[min(max(deaths, 1), len(self.backoff_seconds)) - 1]


LOCAL_JOB_PACE = Pace(gives_up_after_deaths=20, steady_after_seconds=300.0)
"""With its start of some 15 s and the longest pause of 30 s, a quarter of an hour: longer than the
restart of whatever the job needs. A start on a busy machine is over well before it is steady."""


@dataclass(frozen=True, slots=True)
class JobLife:
    """A job's phase, and how often in a row its runs died."""

    phase: Phase = Phase.STOPPED
    deaths: int = 0


_Move = tuple[Phase, JobAction]

_P, _A = Phase, JobAction
_ENDED = (_P.WAITING, _P.CRASH_LOOPING, _P.GAVE_UP, _P.NEEDS_A_PERSON)
_UP = (_P.STARTING, _P.RUNNING, _P.STALLED, _P.STANDING_ASIDE)
_START: _Move = (_P.STARTING, _A.START_RUN)
_STOP_AGAIN: Mapping[Phase, _Move] = {
    phase: (phase, _A.STOP_RUN) for phase in (_P.STOPPING, _P.RESTARTING)
}
_ADOPTED: _Move = (_P.RUNNING, _A.NOTHING)


def _all(phases: tuple[Phase, ...], move: _Move) -> dict[Phase, _Move]:
    return dict.fromkeys(phases, move)


# Death is not here: what it leads to depends on how many came before (`_after_death`).
_MOVES: Mapping[JobEvent, Mapping[Phase, _Move]] = {
    JobEvent.START_ASKED: {
        **_all((_P.STOPPED, *_ENDED), _START),
        # Asked to stop once more, in case the first time was not heard: stopping ends both.
        _P.STOPPING: (_P.RESTARTING, _A.STOP_RUN),
    },
    JobEvent.STOP_ASKED: {
        # Of one that has ended too: a process may have left children. A runner for which there is
        # nothing to stop tells RUN_STOPPED at once.
        **_all((*_UP, *_ENDED, _P.STOPPING, _P.RESTARTING), (_P.STOPPING, _A.STOP_RUN)),
        _P.HANDING_OVER: (_P.STOPPED, _A.NOTHING),
    },
    JobEvent.RESTART_ASKED: {
        **_all((_P.STOPPED, *_ENDED), _START),
        **_all((*_UP, _P.STOPPING, _P.RESTARTING), (_P.RESTARTING, _A.STOP_RUN)),
    },
    JobEvent.RUN_UP: {
        **_STOP_AGAIN,
        **_all((_P.STOPPED, *_ENDED, _P.STARTING, _P.HANDING_OVER), _ADOPTED),
    },
    JobEvent.RUN_STEADY: {},
    JobEvent.BATCH_SEEN: _all((_P.STARTING, _P.STALLED, _P.STANDING_ASIDE), _ADOPTED),
    JobEvent.STALL_SEEN: _all((_P.STARTING, _P.RUNNING, _P.STANDING_ASIDE), (_P.STALLED, _A.ALERT)),
    JobEvent.STALL_PERSISTS: {_P.STALLED: (_P.RESTARTING, _A.STOP_RUN)},
    JobEvent.LEASE_SEEN: _all(
        (_P.STARTING, _P.RUNNING, _P.STALLED), (_P.STANDING_ASIDE, _A.NOTHING)
    ),
    JobEvent.RUN_DIED: {
        _P.STOPPING: (_P.STOPPED, _A.NOTHING),
        _P.RESTARTING: _START,
    },
    JobEvent.RUN_STOPPED: {
        **_all((*_UP, _P.STOPPING, _P.HANDING_OVER), (_P.STOPPED, _A.NOTHING)),
        _P.RESTARTING: _START,
    },
    JobEvent.RUN_NEEDS_A_PERSON: {
        **_all((*_UP, _P.HANDING_OVER), (_P.NEEDS_A_PERSON, _A.ALERT)),
        _P.STOPPING: (_P.STOPPED, _A.NOTHING),
        # Whoever asked for the restart is the person.
        _P.RESTARTING: _START,
    },
    # Tried for ever: the other may end at any time, and until then its records land by it.
    JobEvent.RUN_KEPT_OUT: {
        **_all(_UP, (_P.WAITING, _A.WAIT)),
        _P.STOPPING: (_P.STOPPED, _A.NOTHING),
        _P.RESTARTING: _START,
    },
    # Not a death: where a run lives already, it is adopted as soon as it is seen.
    JobEvent.START_REFUSED: {_P.STARTING: (_P.WAITING, _A.WAIT)},
    JobEvent.STOP_OVERDUE: _STOP_AGAIN,
    JobEvent.BACKOFF_OVER: _all((_P.WAITING, _P.CRASH_LOOPING), _START),
    JobEvent.RUN_EXPIRED: {
        **_all((*_UP, _P.RESTARTING), (_P.HANDING_OVER, _A.AWAIT_SUCCESSOR)),
        _P.STOPPING: (_P.STOPPED, _A.NOTHING),
    },
    JobEvent.SUCCESSOR_UP: {
        **_all((*_UP, *_ENDED, _P.RESTARTING, _P.HANDING_OVER), _ADOPTED),
        # What was stopped on purpose stays so, whatever the maintenance window brings.
        **_all((_P.STOPPED, _P.STOPPING), (_P.STOPPING, _A.STOP_RUN)),
    },
    JobEvent.SUCCESSOR_OVERDUE: {_P.HANDING_OVER: _START},
}
_FORGETS_DEATHS = frozenset({JobEvent.START_ASKED, JobEvent.RESTART_ASKED, JobEvent.STOP_ASKED})
_LEFT_ALONE = (_P.STOPPED, _P.GAVE_UP, _P.NEEDS_A_PERSON)


def step(life: JobLife, event: JobEvent, pace: Pace) -> tuple[JobLife, JobAction]:
    """What an event makes of a job, and what is to be done about it."""
    if event is JobEvent.RUN_DIED and life.phase in (*_UP, _P.HANDING_OVER):
        return _after_death(life.deaths + 1, pace)
    phase, action = _MOVES[event].get(life.phase, (life.phase, _A.NOTHING))
    is_steady = event is JobEvent.RUN_STEADY and life.phase is _P.RUNNING
    # Where a run comes up that nothing but a person starts, and the machine was not asked.
    is_by_a_person = event is JobEvent.RUN_UP and life.phase in _LEFT_ALONE
    if event in _FORGETS_DEATHS or is_steady or is_by_a_person:
        return JobLife(phase), action
    return replace(life, phase=phase), action


def _after_death(deaths: int, pace: Pace) -> tuple[JobLife, JobAction]:
    if pace.gives_up_after_deaths is not None and deaths >= pace.gives_up_after_deaths:
        return JobLife(_P.GAVE_UP, deaths), _A.ALERT
    is_loop = deaths >= pace.crash_loop_deaths
    return JobLife(_P.CRASH_LOOPING if is_loop else _P.WAITING, deaths), _A.WAIT
