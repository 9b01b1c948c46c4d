"""The whole table of transitions, and that there is never a second run."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retail_lakehouse.contracts.job_states import (
    LIVE,
    LOCAL_JOB_PACE,
    JobAction,
    JobEvent,
    JobLife,
    Pace,
    Phase,
    step,
)

PACE = Pace(gives_up_after_deaths=5)
CODES = {
    "St": Phase.STOPPED,
    "Sg": Phase.STARTING,
    "Ru": Phase.RUNNING,
    "Sl": Phase.STALLED,
    "As": Phase.STANDING_ASIDE,
    "Sp": Phase.STOPPING,
    "Re": Phase.RESTARTING,
    "Wa": Phase.WAITING,
    "Cl": Phase.CRASH_LOOPING,
    "Gu": Phase.GAVE_UP,
    "Np": Phase.NEEDS_A_PERSON,
    "Ho": Phase.HANDING_OVER,
}
ACTIONS = {
    "": JobAction.NOTHING,
    "+": JobAction.START_RUN,
    "-": JobAction.STOP_RUN,
    "~": JobAction.WAIT,
    "^": JobAction.AWAIT_SUCCESSOR,
    "!": JobAction.ALERT,
}
# A column a phase; `.` stays and does nothing. Deaths before: 0.
TABLE = """
                     St   Sg   Ru   Sl   As   Sp   Re   Wa   Cl   Gu   Np   Ho
start asked          Sg+  .    .    .    .    Re-  .    Sg+  Sg+  Sg+  Sg+  .
stop asked           .    Sp-  Sp-  Sp-  Sp-  Sp-  Sp-  Sp-  Sp-  Sp-  Sp-  St
restart asked        Sg+  Re-  Re-  Re-  Re-  Re-  Re-  Sg+  Sg+  Sg+  Sg+  .
run up               Ru   Ru   .    .    .    Sp-  Re-  Ru   Ru   Ru   Ru   Ru
run steady           .    .    .    .    .    .    .    .    .    .    .    .
batch seen           .    Ru   .    Ru   Ru   .    .    .    .    .    .    .
stall seen           .    Sl!  Sl!  .    Sl!  .    .    .    .    .    .    .
stall persists       .    .    .    Re-  .    .    .    .    .    .    .    .
lease seen           .    As   As   As   .    .    .    .    .    .    .    .
run died             .    Wa~  Wa~  Wa~  Wa~  St   Sg+  .    .    .    .    Wa~
run stopped          .    St   St   St   St   St   Sg+  .    .    .    .    St
run needs a person   .    Np!  Np!  Np!  Np!  St   Sg+  .    .    .    .    Np!
run kept out         .    Wa~  Wa~  Wa~  Wa~  St   Sg+  .    .    .    .    .
start refused        .    Wa~  .    .    .    .    .    .    .    .    .    .
stop overdue         .    .    .    .    .    Sp-  Re-  .    .    .    .    .
backoff over         .    .    .    .    .    .    .    Sg+  Sg+  .    .    .
run expired          .    Ho^  Ho^  Ho^  Ho^  St   Ho^  .    .    .    .    .
successor up         Sp-  Ru   Ru   Ru   Ru   Sp-  Ru   Ru   Ru   Ru   Ru   Ru
successor overdue    .    .    .    .    .    .    .    .    .    .    .    Sg+
"""


def _cells() -> list[tuple[Phase, JobEvent, Phase, JobAction]]:
    head, *rows = TABLE.strip("\n").splitlines()
    phases = [CODES[code] for code in head.split()]
    cells = []
    for row in rows:
        event = JobEvent(row[:21].strip())
        for phase, cell in zip(phases, row[21:].split(), strict=True):
            after = phase if cell == "." else CODES[cell[:2]]
            cells.append((phase, event, after, ACTIONS["" if cell == "." else cell[2:]]))
    return cells


CELLS = _cells()


def test_the_table_has_every_phase_with_every_event() -> None:
    assert {(phase, event) for phase, event, _, _ in CELLS} == {
        (phase, event) for phase in Phase for event in JobEvent
    }
    assert len(CELLS) == len(Phase) * len(JobEvent)


@pytest.mark.parametrize("phase, event, after, action", CELLS)
def test_each_event_does_to_each_phase_what_the_table_says(
    phase: Phase, event: JobEvent, after: Phase, action: JobAction
) -> None:
    life, told = step(JobLife(phase), event, PACE)
    assert (life.phase, told) == (after, action)


ENDS = {
    JobEvent.RUN_DIED,
    JobEvent.RUN_KEPT_OUT,
    JobEvent.RUN_STOPPED,
    JobEvent.RUN_NEEDS_A_PERSON,
}


@pytest.mark.parametrize("deaths", [0, 2, 4, 9])
def test_a_run_is_asked_for_only_where_none_lives_or_the_last_has_just_ended(deaths: int) -> None:
    for phase in Phase:
        for event in JobEvent:
            life, action = step(JobLife(phase, deaths), event, PACE)
            if action is JobAction.START_RUN:
                assert phase not in LIVE or event in ENDS
                assert life.phase is Phase.STARTING
            if action is JobAction.STOP_RUN:
                assert life.phase in (Phase.STOPPING, Phase.RESTARTING)


def test_deaths_lead_from_pauses_to_a_crash_loop_to_giving_up() -> None:
    life, told = JobLife(Phase.RUNNING), []
    for _ in range(5):
        life, action = step(life, JobEvent.RUN_DIED, PACE)
        told.append((life.phase, action))
        life, _ = step(life, JobEvent.BACKOFF_OVER, PACE)
    assert told == [
        (Phase.WAITING, JobAction.WAIT),
        (Phase.WAITING, JobAction.WAIT),
        (Phase.CRASH_LOOPING, JobAction.WAIT),
        (Phase.CRASH_LOOPING, JobAction.WAIT),
        (Phase.GAVE_UP, JobAction.ALERT),
    ]
    assert life == JobLife(Phase.GAVE_UP, 5)
    assert step(life, JobEvent.START_ASKED, PACE) == (
        JobLife(Phase.STARTING),
        JobAction.START_RUN,
    )


def test_without_a_number_of_deaths_it_is_tried_for_ever() -> None:
    life, _ = step(JobLife(Phase.RUNNING, 10_000), JobEvent.RUN_DIED, Pace())
    assert life.phase is Phase.CRASH_LOOPING


def test_a_run_that_lived_long_enough_forgets_the_deaths_before() -> None:
    life, _ = step(JobLife(Phase.RUNNING, 4), JobEvent.RUN_STEADY, PACE)
    assert life == JobLife(Phase.RUNNING, 0)
    assert step(JobLife(Phase.STALLED, 4), JobEvent.RUN_STEADY, PACE)[0].deaths == 4


def test_waiting_for_a_lease_is_neither_a_death_nor_a_stall_and_forgets_neither() -> None:
    life = JobLife(Phase.STARTING, 2)
    for _ in range(100):
        life, action = step(life, JobEvent.LEASE_SEEN, PACE)
        assert (life, action) == (JobLife(Phase.STANDING_ASIDE, 2), JobAction.NOTHING)
    assert step(life, JobEvent.RUN_STEADY, PACE)[0].deaths == 2
    assert step(life, JobEvent.BATCH_SEEN, PACE)[0] == JobLife(Phase.RUNNING, 2)
    assert step(life, JobEvent.RUN_DIED, PACE)[0] == JobLife(Phase.CRASH_LOOPING, 3)


def test_a_run_that_is_kept_out_is_no_death_however_often_that_is() -> None:
    life = JobLife(Phase.RUNNING, 2)
    for _ in range(100):
        life, action = step(life, JobEvent.RUN_KEPT_OUT, PACE)
        assert (life, action) == (JobLife(Phase.WAITING, 2), JobAction.WAIT)
        for event in (JobEvent.BACKOFF_OVER, JobEvent.RUN_UP):
            life, _ = step(life, event, PACE)
    assert step(life, JobEvent.RUN_DIED, PACE)[0] == JobLife(Phase.CRASH_LOOPING, 3)
    assert PACE.pause_seconds(2, is_kept_out=True) == PACE.backoff_seconds[-1]


def test_what_a_person_started_elsewhere_is_tried_as_often_as_at_first() -> None:
    for phase in (Phase.STOPPED, Phase.GAVE_UP, Phase.NEEDS_A_PERSON):
        assert step(JobLife(phase, 5), JobEvent.RUN_UP, PACE)[0] == JobLife(Phase.RUNNING)
    for phase in (Phase.STARTING, Phase.WAITING, Phase.CRASH_LOOPING):
        assert step(JobLife(phase, 4), JobEvent.RUN_UP, PACE)[0] == JobLife(Phase.RUNNING, 4)


def test_a_start_on_a_busy_machine_is_not_steady_yet() -> None:
    assert LOCAL_JOB_PACE.steady_after_seconds > 60 + 60


def test_pauses_grow_and_then_stay() -> None:
    pauses = [PACE.pause_seconds(deaths) for deaths in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[0] == pauses[1] == 0.5
    assert pauses[-1] == 30.0


class World:
    """A runner such as Glue: runs live and end, and it hears of the machine's actions."""

    def __init__(self) -> None:
        self.life = JobLife()
        self.live = 0
        self.successor_is_coming = False
        self.most = 0

    def tell(self, event: JobEvent) -> None:
        self.life, action = step(self.life, event, PACE)
        if action is not JobAction.START_RUN:
            return
        if self.live:
            # A run that was started by others and not heard of yet: the runner refuses.
            self.tell(JobEvent.START_REFUSED)
        else:
            self._start()

    def _start(self) -> None:
        self.live += 1
        self.most = max(self.most, self.live)

    def happen(self, what: str) -> None:
        if what in ("died", "stopped", "needs a person", "kept out", "expired") and self.live:
            self.live -= 1
            self.successor_is_coming = what == "expired"
            self.tell(JobEvent(f"run {what}"))
        elif what == "successor" and self.successor_is_coming and not self.live:
            self.successor_is_coming = False
            self._start()
            self.tell(JobEvent.SUCCESSOR_UP)
        elif what == "overdue" and self.successor_is_coming and self.life.phase not in LIVE:
            self.tell(JobEvent.SUCCESSOR_OVERDUE)
        elif what == "by hand" and not self.live:
            self._start()
        elif what == "look" and self.live:
            self.tell(JobEvent.RUN_UP)
        elif what in _ASKS:
            self.tell(JobEvent(what))


_ASKS = [
    event.value
    for event in (
        JobEvent.START_ASKED,
        JobEvent.STOP_ASKED,
        JobEvent.RESTART_ASKED,
        JobEvent.BACKOFF_OVER,
        JobEvent.STOP_OVERDUE,
        JobEvent.STALL_SEEN,
        JobEvent.STALL_PERSISTS,
        JobEvent.LEASE_SEEN,
        JobEvent.BATCH_SEEN,
        JobEvent.RUN_STEADY,
    )
]
_HAPPENINGS = [
    "died",
    "stopped",
    "needs a person",
    "kept out",
    "expired",
    "successor",
    "overdue",
    "by hand",
    "look",
    *_ASKS,
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_HAPPENINGS), max_size=40))
def test_whatever_happens_there_is_one_run_at_a_time(happenings: list[str]) -> None:
    world = World()
    for what in happenings:
        world.happen(what)
    assert world.most <= 1


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(list(JobEvent)), max_size=40))
def test_a_keeper_that_believes_every_event_never_asks_for_a_second_run(
    events: list[JobEvent],
) -> None:
    life, believes_live = JobLife(), False
    for event in events:
        if event in ENDS or event is JobEvent.RUN_EXPIRED:
            believes_live = False
        if event in (JobEvent.RUN_UP, JobEvent.SUCCESSOR_UP):
            believes_live = True
        before = life
        life, action = step(life, event, PACE)
        if action is JobAction.START_RUN:
            assert not (believes_live and before.phase in LIVE)
            believes_live = True


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(list(JobEvent)), max_size=40))
def test_what_is_stopped_on_purpose_is_started_by_a_person_only(events: list[JobEvent]) -> None:
    by_a_person = {JobEvent.START_ASKED, JobEvent.RESTART_ASKED, JobEvent.RUN_UP}
    life = JobLife()
    for event in events:
        if event in by_a_person:
            break
        life, action = step(life, event, PACE)
        assert action is not JobAction.START_RUN
        assert life.phase in (Phase.STOPPED, Phase.STOPPING)


@pytest.mark.parametrize(
    "asked", [JobEvent.START_ASKED, JobEvent.RESTART_ASKED, JobEvent.STOP_ASKED]
)
def test_what_a_person_asks_for_forgets_the_deaths_before(asked: JobEvent) -> None:
    assert step(JobLife(Phase.CRASH_LOOPING, 4), asked, PACE)[0].deaths == 0


def test_on_one_machine_too_a_job_that_dies_at_every_start_is_left_alone_in_the_end() -> None:
    life, told = JobLife(Phase.STARTING), []
    for _ in range(20):
        life, action = step(life, JobEvent.RUN_DIED, LOCAL_JOB_PACE)
        told.append(action)
        life, _ = step(life, JobEvent.BACKOFF_OVER, LOCAL_JOB_PACE)
    assert told == [*[JobAction.WAIT] * 19, JobAction.ALERT]
    assert life == JobLife(Phase.GAVE_UP, 20)
