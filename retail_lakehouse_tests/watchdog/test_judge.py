"""The whole table of judgements: what stands still, what only looks like it, and what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retail_lakehouse.alerts.incidents import Seen
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS, Measure, Severity
from retail_lakehouse.settings import Settings, SettingsError
from retail_lakehouse.watchdog.judge import judge
from retail_lakehouse.watchdog.looks import Kept, Memory, State, Tick, TickEnd, TickerKind
from retail_lakehouse.watchdog.tickers import look_at_tickers
from retail_lakehouse_tests.watchdog.build import (
    LIMITS,
    RUNNING,
    SCHEDULE,
    SENSOR,
    START_MS,
    STOPPED,
    Platform,
    ticks,
    well,
)

DAEMON = ":daemon_ticks"
CODE = ":code_server_answers"
SENSOR_FAILS = "/send_alerts:sensor_ticks"
SCHEDULE_FAILS = "/keep_warm:sensor_ticks"


def test_a_platform_that_is_well_is_told_of_nothing_for_a_day() -> None:
    platform = well()
    for _ in range(24 * 6):
        platform.run(600)
        assert platform.failing() == set()
    assert len(platform.seen) == 6


def test_a_dead_daemon_is_found_after_three_missing_heartbeats_and_is_the_only_alarm() -> None:
    platform = well(beats=False, sensor_ticks=False, scheduler_notes=False)
    assert platform.seconds_until(DAEMON) == SERVICE_LEVELS.daemon_silent_seconds + 10
    told = platform.says(Measure.DAEMON_TICKS)
    assert told.sentence == (
        "Dagster's daemon has sent no heartbeat since 11:08:40 UTC, for 100 s: no sensor and no "
        "schedule ticks."
    )
    assert told.at_ms == platform.now_ms - 100_000
    assert told.severity is Severity.CRITICAL
    platform.run(3 * 3600)
    assert platform.failing() == {DAEMON}


def test_a_daemon_that_comes_back_has_recovered_at_once_and_its_sensors_begin_anew() -> None:
    platform = well(beats=False, sensor_ticks=False)
    platform.run(3600)
    platform.beats, platform.process_id = True, "two"
    platform.run(10)
    assert platform.failing() == set()
    assert platform.says(Measure.DAEMON_TICKS).sentence == (
        "All 3 threads of Dagster's daemon send heartbeats."
    )
    assert platform.seconds_until(SENSOR_FAILS) == pytest.approx(340, abs=10)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (None, ""),
        (RUNNING, " Its process is there, so it hangs."),
        (replace(RUNNING, up_seconds=40.0), " Its process was started 40 s ago."),
        (
            Kept(False, False, "dagster-daemon has died 5 times in a row."),
            " The supervisor says: dagster-daemon has died 5 times in a row.",
        ),
    ],
)
def test_what_the_supervisor_knows_of_a_silent_daemon_is_said(
    kept: Kept | None, words: str
) -> None:
    platform = well(beats=False, daemon_kept=kept)
    platform.seconds_until(DAEMON)
    assert platform.says(Measure.DAEMON_TICKS).sentence.endswith(f"no schedule ticks.{words}")


def test_a_daemon_that_somebody_stopped_is_no_alarm() -> None:
    platform = well(beats=False, sensor_ticks=False, scheduler_notes=False, daemon_kept=STOPPED)
    for _ in range(24):
        platform.run(600)
        assert platform.failing() == set(), "nor are its threads and the sensors"
    assert "stopped on purpose" in platform.says(Measure.DAEMON_TICKS).sentence
    platform.beats = platform.sensor_ticks = platform.scheduler_notes = True
    platform.process_id, platform.daemon_kept = "two", RUNNING
    platform.run(600)
    assert platform.failing() == set()


def test_a_daemon_that_never_sent_a_heartbeat_is_an_alarm_too() -> None:
    platform = Platform(beats=False, sensor_ticks=False)
    platform.run(10)
    platform.seconds_until(DAEMON)
    told = platform.says(Measure.DAEMON_TICKS)
    assert told.sentence == "Dagster's daemon has sent no heartbeat yet, for 100 s."


def test_one_thread_that_hangs_is_named_while_the_others_go_on() -> None:
    platform = well(silent_threads={"ASSET"})
    assert platform.seconds_until(DAEMON) == pytest.approx(330, abs=10)
    sentence = platform.says(Measure.DAEMON_TICKS).sentence
    assert sentence.startswith("The thread ASSET of Dagster's daemon has sent no heartbeat since")
    assert platform.failing() == {DAEMON}


def test_a_sensor_thread_that_hangs_is_one_alarm_and_not_one_for_each_sensor() -> None:
    platform = well(silent_threads={"SENSOR"}, sensor_ticks=False)
    platform.run(3600)
    assert platform.failing() == {DAEMON}


def test_threads_of_an_earlier_process_that_are_gone_are_no_alarm() -> None:
    platform = well()
    platform.run(60)
    platform.process_id, platform.silent_threads = "two", {"ASSET"}
    platform.run(3600)
    assert platform.failing() == set()


def test_a_thread_that_raises_again_and_again_is_told_with_its_error() -> None:
    platform = well(thread_errors={"SENSOR": "OperationalError: database is locked"})
    platform.run(300)
    assert platform.failing() == set(), "Dagster repeats one error for as long"
    platform.run(60)
    assert platform.failing() == {DAEMON}
    assert platform.says(Measure.DAEMON_TICKS).sentence.endswith(
        "has raised errors for 6 min: OperationalError: database is locked"
    )
    platform.thread_errors = {}
    platform.run(10)
    assert platform.failing() == set()


def test_a_history_that_cannot_be_read_is_said_to_be_so() -> None:
    platform = well(history_readable=False)
    platform.seconds_until(DAEMON)
    assert platform.says(Measure.DAEMON_TICKS).sentence == (
        "Dagster's history cannot be read for 100 s, so nobody knows whether its daemon lives: "
        "runs.db cannot be read (locked)."
    )
    platform.history_readable = True
    platform.run(10)
    assert platform.failing() == set()


def test_a_silent_code_server_is_found_within_its_limit_and_hides_what_hangs_on_it() -> None:
    platform = well(code_answers=False, sensor_end=TickEnd.UNREACHED)
    assert platform.seconds_until(CODE) == SERVICE_LEVELS.code_server_silent_seconds + 10
    told = platform.says(Measure.CODE_SERVER_ANSWERS)
    assert told.sentence == (
        "Dagster's code server has not answered for 70 s, so no sensor and no schedule can work: "
        "It answered UNAVAILABLE."
    )
    platform.run(3600)
    assert platform.failing() == {CODE}
    platform.code_answers, platform.sensor_end = True, TickEnd.WELL
    platform.run(10)
    assert platform.failing() == set()


def test_a_code_server_that_is_started_again_in_time_is_no_alarm() -> None:
    platform = well(code_answers=False, sensor_end=TickEnd.UNREACHED)
    platform.run(50)
    assert "50 s only" in platform.says(Measure.CODE_SERVER_ANSWERS).sentence
    platform.code_answers, platform.sensor_end = True, TickEnd.WELL
    platform.run(600)
    assert platform.failing() == set()


def test_a_code_server_that_somebody_stopped_is_no_alarm() -> None:
    platform = well(code_answers=False, sensor_end=TickEnd.UNREACHED, code_kept=STOPPED)
    for _ in range(6):
        platform.run(600)
        assert platform.failing() == set(), "nor are the sensors"
    assert "stopped on purpose" in platform.says(Measure.CODE_SERVER_ANSWERS).sentence


def test_a_sensor_that_raises_at_every_tick_is_told_with_the_errors_first_line() -> None:
    platform = well(sensor_end=TickEnd.FAILED)
    platform.run(20)
    assert platform.failing() == set(), "twice may be an accident"
    platform.run(10)
    assert platform.failing() == {SENSOR_FAILS}
    told = platform.says(Measure.SENSOR_TICKS, "send_alerts")
    assert told.sentence == (
        "The sensor send_alerts failed in its last 3 ticks, since 11:08:50 UTC: ValueError: no"
    )
    assert told.figures == {"failed_ticks": 3}
    platform.sensor_end = TickEnd.WELL
    platform.run(10)
    assert platform.failing() == set()


def test_a_sensor_that_was_switched_off_is_no_alarm_and_recovers_an_open_one() -> None:
    platform = well(sensor_end=TickEnd.FAILED)
    platform.run(60)
    assert platform.failing() == {SENSOR_FAILS}
    platform.sensor_is_on, platform.sensor_ticks = False, False
    platform.run(6 * 3600)
    assert platform.failing() == set()
    told = platform.says(Measure.SENSOR_TICKS, "send_alerts")
    assert told.sentence == "The sensor send_alerts is switched off."
    platform.sensor_is_on = True
    assert platform.seconds_until(SENSOR_FAILS) >= 10, "its silence begins when it is switched on"


def test_a_sensor_that_its_code_leaves_off_ticks_only_when_somebody_switched_it_on() -> None:
    platform = well(declared=(replace(SENSOR, is_on=False), SCHEDULE), sensor_ticks=False)
    platform.run(3600)
    assert platform.failing() == set()
    platform.sensor_is_on = True
    platform.run(3600)
    assert platform.failing() == {SENSOR_FAILS}


def test_a_sensor_that_is_not_in_the_code_any_more_is_not_judged_and_not_known() -> None:
    platform = well(sensor_ticks=False)
    platform.run(3600)
    assert platform.failing() == {SENSOR_FAILS}
    platform.declared = (SCHEDULE,)
    platform.run(10)
    assert platform.failing() == set()
    assert "control_plane/send_alerts:sensor_ticks" not in platform.known


def test_a_sensor_that_stopped_ticking_while_the_others_tick_is_found() -> None:
    platform = well(sensor_ticks=False)
    assert platform.seconds_until(SENSOR_FAILS) == pytest.approx(340, abs=10)
    sentence = platform.says(Measure.SENSOR_TICKS, "send_alerts").sentence
    assert sentence == "The sensor send_alerts has not ticked since 11:08:40 UTC, for 6 min."


def test_a_sensor_that_hangs_in_a_tick_is_found_and_said_to_hang() -> None:
    platform = well()
    platform.sensor_end = TickEnd.OPEN
    platform.run(10)
    platform.sensor_ticks = False
    assert platform.seconds_until(SENSOR_FAILS) == pytest.approx(330, abs=10)
    assert platform.says(Measure.SENSOR_TICKS, "send_alerts").sentence.startswith(
        "The sensor send_alerts hangs: the tick that began at 11:08:50 UTC does not end"
    )


def test_a_sensor_whose_ticks_are_given_up_again_and_again_is_found() -> None:
    platform = well(sensor_end=TickEnd.UNREACHED)
    assert platform.seconds_until(SENSOR_FAILS) == pytest.approx(340, abs=10)
    assert platform.says(Measure.SENSOR_TICKS, "send_alerts").sentence.endswith(": ValueError: no")


def test_a_slow_sensor_has_its_own_intervals() -> None:
    platform = well(declared=(replace(SENSOR, interval_seconds=3600.0),), sensor_ticks=False)
    platform.run(3.9 * 3600)
    assert platform.failing() == set()
    platform.run(0.2 * 3600)
    assert platform.failing() == {SENSOR_FAILS}


def test_a_sensor_that_never_ticked_is_an_alarm() -> None:
    platform = Platform(sensor_ticks=False)
    platform.run(360)
    assert platform.failing() == {SENSOR_FAILS}
    sentence = platform.says(Measure.SENSOR_TICKS, "send_alerts").sentence
    assert sentence == "The sensor send_alerts has not ticked for 6 min."


@pytest.mark.parametrize(
    ("end", "fails"),
    [
        (TickEnd.FAILED, True),
        (TickEnd.UNREACHED, False),
        (TickEnd.WELL, False),
        (TickEnd.OPEN, False),
    ],
)
def test_the_last_tick_of_a_schedule_counts_since_the_next_may_be_a_day_away(
    end: TickEnd, fails: bool
) -> None:
    platform = well(schedule_ticks=(Tick(7, end, START_MS, "KeyError: 'x'"),))
    platform.run(10)
    assert (SCHEDULE_FAILS in platform.failing()) is fails
    if fails:
        assert platform.says(Measure.SENSOR_TICKS, "keep_warm").sentence == (
            "The schedule keep_warm failed in its last tick, since 11:06:40 UTC: KeyError: 'x'"
        )


def test_a_schedule_that_the_scheduler_does_not_look_at_is_found() -> None:
    platform = well(scheduler_notes=False)
    platform.run(2 * 3600)
    assert platform.failing() == set()
    platform.run(1 * 3600)
    assert platform.failing() == {SCHEDULE_FAILS}


def test_a_watchdog_that_starts_beside_a_stalled_platform_waits_the_whole_limit() -> None:
    """A stack that comes up has sent no heartbeat yet."""
    platform = Platform(beats=False, code_answers=False, sensor_ticks=False, declared=())
    platform.run(60)
    assert platform.failing() == set()
    platform.run(60)
    assert platform.failing() == {DAEMON, CODE}


def test_a_machine_that_slept_makes_nobody_look_dead() -> None:
    platform = well()
    platform.beats = platform.sensor_ticks = False
    platform.now_seconds += 8 * 3600
    platform.turn()
    assert platform.failing() == set()
    platform.beats = platform.sensor_ticks = True
    platform.run(600)
    assert platform.failing() == set()


def test_the_longest_wait_between_two_looks_is_no_pause() -> None:
    most = Settings.load({"watchdog_seconds": 30}).watchdog_seconds
    with pytest.raises(SettingsError):
        Settings.load({"watchdog_seconds": most + 1})
    platform = well(beats=False, sensor_ticks=False)
    for _ in range(3):
        # A look takes its time, too.
        platform.now_seconds += most + 15
        platform.turn()
    assert platform.failing() == {DAEMON}


def test_seen_from_inside_a_tick_that_comes_late_is_no_pause() -> None:
    state = State(TickerKind.SENSOR, SENSOR.name, None, ticks(TickEnd.WELL))
    memory = Memory()
    seen: list[Seen] = []
    for seconds in range(0, 801, 80):
        memory, seen = look_at_tickers(
            memory, (SENSOR,), (state,), float(seconds), START_MS + seconds * 1000, LIMITS, 240.0
        )
    assert [each.passed for each in seen] == [False]


def test_silence_before_and_after_a_pause_of_the_watchdog_adds_up() -> None:
    platform = well(beats=False)
    platform.run(60)
    platform.now_seconds += 3600
    platform.turn()
    assert platform.failing() == set()
    platform.run(40)
    assert platform.failing() == {DAEMON}


@pytest.mark.parametrize("step_ms", [86_400_000, -86_400_000])
def test_a_clock_that_is_set_by_a_day_is_no_alarm(step_ms: int) -> None:
    platform = well()
    seconds = platform.now_seconds
    moved = replace(platform)
    for _ in range(120):
        seconds += 10
        platform.now_seconds = seconds
        look = platform.look()
        moved_look = replace(look, at_ms=look.at_ms + step_ms)
        judged = judge(moved.memory, moved_look, LIMITS)
        moved.memory = judged.memory
        assert all(each.passed for each in judged.seen)


@pytest.mark.parametrize("between", [TickEnd.OPEN, TickEnd.UNREACHED])
def test_a_tick_under_way_or_one_that_reached_no_code_hides_none_that_failed(
    between: TickEnd,
) -> None:
    ends = (TickEnd.FAILED, between, TickEnd.FAILED, TickEnd.FAILED, between)
    state = State(TickerKind.SENSOR, SENSOR.name, None, ticks(*ends))
    _, (told,) = look_at_tickers(Memory(), (SENSOR,), (state,), 0.0, START_MS, LIMITS)
    assert not told.passed
    assert told.figures == {"failed_ticks": 3}
