"""What ticks make of a job: Glue's ends and starts, stalls, and nothing done twice."""

import json
from dataclasses import replace

import pytest

from retail_lakehouse.contracts.job_states import JobEvent, JobLife, Phase
from retail_lakehouse.resources.job_runs import JobRun, JobState, Verb
from retail_lakehouse.sensors.job_watch import (
    PACE,
    STOP_AGAIN_SECONDS,
    WatchedJob,
    first_seen,
    refused,
    restarted,
    watched,
)

PATIENCE = 120.0


def run(state: JobState, run_id: str | None = "jr_1", told: JobEvent | None = None) -> JobRun:
    return JobRun("inventory", state, "It is so.", 0, run_id, told=told)


UP = run(JobState.RUNNING, told=JobEvent.RUN_UP)
DEAD = run(JobState.FAILED, told=JobEvent.RUN_DIED)
EXPIRED = run(JobState.STARTING, told=JobEvent.RUN_EXPIRED)
SUCCESSOR = run(JobState.RUNNING, "jr_1_restart_1", JobEvent.SUCCESSOR_UP)
BY_HAND = run(JobState.STOPPED, told=JobEvent.RUN_STOPPED)
UNSEEN = run(JobState.UNKNOWN, None)


class Ticks:
    """A job looked at every 30 seconds, its cursor through JSON each time."""

    def __init__(self, first: JobRun) -> None:
        self.at_ms = 0
        self.job = first_seen(first, 0)

    def look(
        self,
        seen: JobRun,
        beyond: float | None = None,
        after: float = 30.0,
        aside: bool = False,
        stopped: int | None = None,
    ) -> tuple[Phase, Verb | None]:
        self.at_ms += int(after * 1000)
        kept = WatchedJob.from_json(json.loads(json.dumps(self.job.to_json())))
        self.job, verb = watched(
            kept,
            seen,
            beyond,
            PATIENCE,
            self.at_ms,
            stands_aside=aside,
            stop_asked_ms=stopped,
        )
        return self.job.life.phase, verb


@pytest.mark.parametrize(
    "seen, phase",
    [
        (UP, Phase.RUNNING),
        (SUCCESSOR, Phase.RUNNING),
        (run(JobState.STARTING), Phase.STARTING),
        (DEAD, Phase.STOPPED),
        (BY_HAND, Phase.STOPPED),
        (UNSEEN, Phase.STOPPED),
    ],
)
def test_a_job_that_is_seen_first_is_as_it_is_and_nothing_is_done(
    seen: JobRun, phase: Phase
) -> None:
    ticks = Ticks(seen)
    assert ticks.job.life.phase is phase
    assert ticks.look(seen)[1] is None


def test_a_run_that_died_is_started_once_after_its_pause() -> None:
    ticks = Ticks(UP)
    assert ticks.look(DEAD) == (Phase.WAITING, None)
    assert ticks.look(DEAD, after=PACE.pause_seconds(1) - 1) == (Phase.WAITING, None)
    assert ticks.look(DEAD, after=1) == (Phase.STARTING, "start")
    # Glue may go on listing the dead run for a moment.
    assert ticks.look(DEAD) == (Phase.STARTING, None)
    again = run(JobState.RUNNING, "jr_2", JobEvent.RUN_UP)
    assert ticks.look(again) == (Phase.RUNNING, None)
    assert ticks.job.life.deaths == 1
    assert ticks.look(again, after=PACE.steady_after_seconds + 1) == (Phase.RUNNING, None)
    assert ticks.job.life.deaths == 0


def test_an_outage_of_the_runner_makes_no_old_death_a_new_one() -> None:
    ticks = Ticks(UP)
    ticks.look(DEAD)
    ticks.look(UNSEEN)
    ticks.look(DEAD, after=PACE.pause_seconds(1))
    assert ticks.job.life.deaths == 1


def test_a_crash_loop_ends_in_a_job_that_is_left_alone() -> None:
    ticks = Ticks(UP)
    starts = 0
    for number in range(40):
        phase, verb = ticks.look(
            run(JobState.FAILED, f"jr_{starts}", JobEvent.RUN_DIED),
            after=PACE.backoff_seconds[-1],
        )
        starts += verb == "start"
        assert verb in (None, "start"), number
    assert phase is Phase.GAVE_UP
    assert starts == (PACE.gives_up_after_deaths or 0) - 1


def test_an_expired_run_is_left_to_its_successor() -> None:
    ticks = Ticks(UP)
    assert ticks.look(EXPIRED) == (Phase.HANDING_OVER, None)
    assert ticks.look(EXPIRED, after=600) == (Phase.HANDING_OVER, None)
    assert ticks.look(SUCCESSOR) == (Phase.RUNNING, None)


def test_a_successor_that_never_comes_is_started_by_us() -> None:
    ticks = Ticks(UP)
    ticks.look(EXPIRED)
    assert ticks.look(EXPIRED, after=PACE.successor_seconds) == (Phase.STARTING, "start")


def test_a_start_that_is_refused_is_no_death_and_what_lives_is_adopted() -> None:
    ticks = Ticks(UP)
    ticks.look(EXPIRED)
    ticks.look(EXPIRED, after=PACE.successor_seconds)
    ticks.job = refused(ticks.job, ticks.at_ms)
    assert ticks.job.life == JobLife(Phase.WAITING, 0)
    assert ticks.look(SUCCESSOR) == (Phase.RUNNING, None)


def test_a_job_that_was_stopped_stays_so_until_somebody_starts_it() -> None:
    ticks = Ticks(UP)
    assert ticks.look(BY_HAND) == (Phase.STOPPED, None)
    assert ticks.look(BY_HAND, after=100_000) == (Phase.STOPPED, None)
    assert ticks.look(run(JobState.RUNNING, "jr_2", JobEvent.RUN_UP)) == (Phase.RUNNING, None)


def test_a_stall_is_told_first_and_restarted_when_it_persists() -> None:
    ticks = Ticks(UP)
    assert ticks.look(UP, beyond=-5) == (Phase.RUNNING, None)
    assert ticks.look(UP, beyond=5) == (Phase.STALLED, None)
    assert ticks.look(UP, beyond=PATIENCE) == (Phase.STALLED, None)
    assert ticks.look(UP, beyond=PATIENCE + 1) == (Phase.RESTARTING, "restart")
    # It is asked once, and once more when it has not followed.
    assert ticks.look(UP, beyond=PATIENCE + 31) == (Phase.RESTARTING, None)
    assert ticks.look(UP, after=STOP_AGAIN_SECONDS) == (Phase.RESTARTING, "restart")
    other = run(JobState.RUNNING, "8", JobEvent.RUN_UP)
    assert ticks.look(other) == (Phase.RUNNING, None)


def test_on_glue_a_stalled_run_is_stopped_and_followed_by_a_start() -> None:
    ticks = Ticks(UP)
    ticks.look(UP, beyond=5)
    assert ticks.look(UP, beyond=PATIENCE + 1) == (Phase.RESTARTING, "restart")
    assert ticks.look(run(JobState.STOPPED)) == (Phase.RESTARTING, None)
    assert ticks.look(BY_HAND) == (Phase.STARTING, "start")


def test_a_stall_that_ends_by_itself_is_left_alone() -> None:
    ticks = Ticks(UP)
    ticks.look(UP, beyond=5)
    assert ticks.look(UP, beyond=-8) == (Phase.RUNNING, None)


def test_nothing_is_called_stalled_while_nothing_waits_or_nothing_runs() -> None:
    ticks = Ticks(UP)
    assert ticks.look(UP, beyond=None, after=9_999) == (Phase.RUNNING, None)
    assert ticks.look(run(JobState.UNKNOWN, None), beyond=9_999) == (Phase.RUNNING, None)


def test_waiting_for_a_lease_has_its_own_name_and_asks_for_nothing() -> None:
    ticks = Ticks(UP)
    for _ in range(200):
        assert ticks.look(UP, beyond=9_999, aside=True) == (Phase.STANDING_ASIDE, None)
    assert ticks.look(UP, beyond=-60) == (Phase.RUNNING, None)
    assert ticks.job.life.deaths == 0


def test_a_job_that_starts_under_a_lease_comes_up_and_then_stands_aside() -> None:
    ticks = Ticks(run(JobState.STARTING))
    assert ticks.look(UP, aside=True) == (Phase.RUNNING, None)
    assert ticks.look(UP, aside=True) == (Phase.STANDING_ASIDE, None)


def test_a_job_that_does_not_take_up_after_a_lease_is_stalled_then() -> None:
    ticks = Ticks(UP)
    ticks.look(UP, aside=True)
    assert ticks.look(UP, beyond=1) == (Phase.STALLED, None)
    # Another lease comes before it is restarted: it is heard again, and left alone.
    assert ticks.look(UP, beyond=PATIENCE + 1, aside=True) == (Phase.STANDING_ASIDE, None)


def test_a_run_that_lives_for_minutes_each_time_is_in_a_crash_loop_all_the_same() -> None:
    ticks = Ticks(UP)
    for number in range(PACE.crash_loop_deaths):
        up = run(JobState.RUNNING, f"jr_{number}", JobEvent.RUN_UP)
        for _ in range(20):
            ticks.look(up, beyond=-100)
        phase, _ = ticks.look(run(JobState.FAILED, f"jr_{number}", JobEvent.RUN_DIED))
    assert phase is Phase.CRASH_LOOPING


def test_what_a_person_stops_after_a_restart_of_ours_stays_stopped() -> None:
    ticks = Ticks(UP)
    ticks.look(UP, beyond=5)
    assert ticks.look(UP, beyond=PATIENCE + 1) == (Phase.RESTARTING, "restart")
    # Whoever runs it had restarted it whole by the time it answered.
    ticks.job = restarted(ticks.job)
    assert ticks.look(run(JobState.STOPPED, None, JobEvent.RUN_STOPPED)) == (Phase.STOPPED, None)


def test_a_restart_that_was_done_is_not_asked_for_again() -> None:
    ticks = Ticks(UP)
    ticks.look(UP, beyond=5)
    ticks.look(UP, beyond=PATIENCE + 1)
    ticks.job = restarted(ticks.job)
    # The new one dies at once, and whoever runs it sees to that by itself.
    for _ in range(10):
        assert ticks.look(run(JobState.FAILED, None)) == (Phase.STARTING, None)


def test_a_hand_over_that_is_seen_first_ends_in_a_start_of_ours_too() -> None:
    ticks = Ticks(EXPIRED)
    assert ticks.job.life.phase is Phase.HANDING_OVER
    assert ticks.look(EXPIRED, after=PACE.successor_seconds) == (Phase.STARTING, "start")


def successor(run_id: str) -> JobRun:
    up = run(JobState.RUNNING, run_id, JobEvent.SUCCESSOR_UP)
    return replace(up, origin_id=run_id.partition("_restart_")[0])


def test_a_successor_of_what_was_stopped_on_purpose_is_stopped_and_no_other_run_is() -> None:
    stopped = Ticks(UP)
    stopped.look(BY_HAND)
    assert stopped.look(successor("jr_1_restart_1")) == (Phase.STOPPING, "stop")
    # Of a run that somebody started while nobody looked.
    started = Ticks(UP)
    started.look(BY_HAND)
    assert started.look(successor("jr_2_restart_1")) == (Phase.RUNNING, None)
    # Of one that Glue could not be asked about when it was looked at first.
    unseen = Ticks(UNSEEN)
    assert unseen.look(successor("jr_1_restart_3")) == (Phase.RUNNING, None)


def test_a_job_that_is_stopped_between_two_runs_is_not_started_again() -> None:
    ticks = Ticks(UP)
    ticks.look(DEAD)
    asked = ticks.at_ms + 1
    assert ticks.look(DEAD, stopped=asked, after=PACE.pause_seconds(1)) == (Phase.STOPPED, None)
    assert ticks.look(DEAD, stopped=asked, after=100_000) == (Phase.STOPPED, None)


def test_a_stop_that_an_earlier_run_heard_says_nothing_of_a_later_ones_death() -> None:
    ticks = Ticks(UP)
    asked = ticks.at_ms + 1
    assert ticks.look(BY_HAND, stopped=asked) == (Phase.STOPPED, None)
    # Started in Glue's console.
    ticks.look(run(JobState.RUNNING, "jr_2", JobEvent.RUN_UP), stopped=asked)
    died = run(JobState.FAILED, "jr_2", JobEvent.RUN_DIED)
    assert ticks.look(died, stopped=asked) == (Phase.WAITING, None)
    assert ticks.look(died, stopped=asked, after=PACE.pause_seconds(1))[1] == "start"


@pytest.mark.parametrize("seen_before", [True, False])
def test_a_stop_while_glue_hands_over_reaches_the_successor(seen_before: bool) -> None:
    ticks = Ticks(UP)
    ticks.look(EXPIRED)
    asked = ticks.at_ms + 1
    if seen_before:
        assert ticks.look(EXPIRED, stopped=asked) == (Phase.STOPPED, None)
    came = successor("jr_1_restart_1")
    assert ticks.look(came, stopped=asked) == (Phase.STOPPING, "stop")


def test_a_stop_that_crosses_a_start_of_ours_reaches_the_run_that_comes_of_it() -> None:
    ticks = Ticks(UP)
    ticks.look(DEAD)
    assert ticks.look(DEAD, after=PACE.pause_seconds(1)) == (Phase.STARTING, "start")
    # The tick had read what was asked before the stop was written down.
    asked = ticks.at_ms + 1
    assert ticks.look(DEAD, stopped=asked) == (Phase.STOPPING, "stop")
    came = run(JobState.RUNNING, "jr_2", JobEvent.RUN_UP)
    assert ticks.look(came, stopped=asked) == (Phase.STOPPING, "stop")
    ended = run(JobState.STOPPED, "jr_2", JobEvent.RUN_STOPPED)
    assert ticks.look(ended, stopped=asked) == (Phase.STOPPED, None)
    assert ticks.look(ended, stopped=asked, after=100_000) == (Phase.STOPPED, None)


def test_a_stop_while_a_stalled_run_is_restarted_is_no_restart_any_more() -> None:
    ticks = Ticks(UP)
    ticks.look(UP, beyond=5)
    assert ticks.look(UP, beyond=PATIENCE + 1) == (Phase.RESTARTING, "restart")
    # Glue does half of it.
    ticks.job = refused(ticks.job, ticks.at_ms)
    asked = ticks.at_ms + 1
    assert ticks.look(run(JobState.STOPPING), stopped=asked) == (Phase.STOPPING, "stop")
    assert ticks.look(BY_HAND, stopped=asked) == (Phase.STOPPED, None)


def test_a_job_that_was_given_up_is_stopped_on_purpose_once_somebody_says_so() -> None:
    ticks = Ticks(DEAD)
    ticks.job = WatchedJob(JobLife(Phase.GAVE_UP, 8), ticks.job.told, since_ms=0)
    assert ticks.look(DEAD, stopped=1) == (Phase.STOPPED, None)


def test_a_run_that_somebody_started_while_nobody_looked_is_not_the_one_that_was_stopped() -> None:
    ticks = Ticks(UP)
    asked = ticks.at_ms + 1
    # Stopped, and started in Glue's console, between two looks.
    other = run(JobState.RUNNING, "jr_2", JobEvent.RUN_UP)
    assert ticks.look(other, stopped=asked) == (Phase.RUNNING, None)
    died = run(JobState.FAILED, "jr_2", JobEvent.RUN_DIED)
    assert ticks.look(died, stopped=asked) == (Phase.WAITING, None)
    assert ticks.look(died, stopped=asked, after=PACE.pause_seconds(1))[1] == "start"


def test_where_restarts_are_ended_by_the_runner_a_job_found_stopped_was_stopped_by_somebody() -> (
    None
):
    ticks = Ticks(UP)
    ticks.look(UP, beyond=5)
    assert ticks.look(UP, beyond=PATIENCE + 1) == (Phase.RESTARTING, "restart")
    ticks.job = refused(ticks.job, ticks.at_ms, ends_restarts=True)
    by_hand = replace(ticks.job), run(JobState.STOPPED, None, JobEvent.RUN_STOPPED)
    # One that was never begun is asked for again.
    assert ticks.look(UP, beyond=PATIENCE + 31) == (Phase.STALLED, None)
    assert ticks.look(UP, beyond=PATIENCE + 61) == (Phase.RESTARTING, "restart")
    ticks.job, stopped = by_hand
    assert ticks.look(stopped) == (Phase.STOPPED, None)


def test_a_stop_that_glue_refused_reaches_a_successor_whose_expired_run_no_tick_saw() -> None:
    ticks = Ticks(UP)
    asked = ticks.at_ms + 1
    # It was told that none follows once this run ends.
    assert ticks.look(UP, stopped=asked) == (Phase.RUNNING, None)
    assert ticks.look(successor("jr_1_restart_1"), stopped=asked) == (Phase.STOPPING, "stop")
    ended = run(JobState.STOPPED, "jr_1_restart_1", JobEvent.RUN_STOPPED)
    assert ticks.look(ended, stopped=asked) == (Phase.STOPPED, None)


def test_a_successor_of_a_run_that_nobody_has_stopped_since_it_came_up_is_left_alone() -> None:
    unasked = Ticks(UP)
    assert unasked.look(successor("jr_1_restart_1")) == (Phase.RUNNING, None)
    # The stop was heard by a run before.
    again = Ticks(BY_HAND)
    assert again.look(UP, stopped=1) == (Phase.RUNNING, None)
    assert again.look(successor("jr_1_restart_1"), stopped=1) == (Phase.RUNNING, None)


UNSEEN_DEATH = replace(run(JobState.FAILED, "jr_2", JobEvent.RUN_DIED), started_at_ms=30_001)


def test_a_run_that_somebody_started_is_started_again_though_no_tick_saw_it_live() -> None:
    ticks = Ticks(UP)
    ticks.look(BY_HAND)
    assert ticks.look(UNSEEN_DEATH) == (Phase.WAITING, None)
    assert ticks.job.life.deaths == 1
    assert ticks.look(UNSEEN_DEATH, after=PACE.pause_seconds(1)) == (Phase.STARTING, "start")
    # Its deaths before are forgotten, as a person has seen to them.
    given_up = Ticks(DEAD)
    given_up.job = WatchedJob(JobLife(Phase.GAVE_UP, 8), given_up.job.told, since_ms=0)
    assert given_up.look(UNSEEN_DEATH) == (Phase.WAITING, None)
    assert given_up.job.life.deaths == 1
    expired = Ticks(UP)
    expired.look(BY_HAND)
    seen = replace(EXPIRED, run_id="jr_2", started_at_ms=30_001)
    assert expired.look(seen) == (Phase.HANDING_OVER, None)


def test_what_is_stopped_stays_so_whatever_is_told_of_runs_from_before() -> None:
    stopped = Ticks(UP)
    stopped.look(BY_HAND)
    # It came up and died before somebody said stop, or after: nobody has said start since.
    assert stopped.look(UNSEEN_DEATH, stopped=30_002) == (Phase.STOPPED, None)
    assert stopped.look(UNSEEN_DEATH, stopped=30_002, after=100_000) == (Phase.STOPPED, None)
    older = Ticks(UP)
    older.look(BY_HAND)
    assert older.look(replace(UNSEEN_DEATH, started_at_ms=0)) == (Phase.STOPPED, None)
