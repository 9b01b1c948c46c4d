"""A code server that was just started loads its code: how long that is no alarm, and when it is."""

from __future__ import annotations

from dataclasses import replace

from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS, Measure
from retail_lakehouse.watchdog.judge import CODE_SERVER
from retail_lakehouse.watchdog.looks import Kept, TickEnd
from retail_lakehouse.watchdog.repair import restarts_due
from retail_lakehouse_tests.watchdog.build import LIMITS, RUNNING, Platform, well

CODE = ":code_server_answers"
LOADING = SERVICE_LEVELS.code_server_loading_seconds


def started_anew(platform: Platform, seconds: int) -> None:
    """So much time passes over a code server that was started in the first 5 s of it."""
    for passed in range(10, seconds + 1, 10):
        platform.code_kept = replace(RUNNING, up_seconds=passed - 5.0)
        platform.run(10)


def test_a_code_server_that_still_loads_after_a_start_is_no_alarm_and_nor_are_its_sensors() -> None:
    platform = well(code_answers=False, sensor_end=TickEnd.UNREACHED)
    started_anew(platform, LOADING)
    assert platform.failing() == set()
    told = platform.says(Measure.CODE_SERVER_ANSWERS).sentence
    assert told == "Dagster's code server is loading its code, for 3 min."
    platform.code_answers, platform.sensor_end = True, TickEnd.WELL
    platform.run(600)
    assert platform.failing() == set()


def test_one_that_does_not_get_ready_is_told_and_started_anew_a_minute_later() -> None:
    platform = well(code_answers=False)
    started_anew(platform, LOADING + 10)
    assert platform.failing() == {CODE}
    told = platform.says(Measure.CODE_SERVER_ANSWERS).sentence
    assert told.endswith(" Its process was started 3 min ago.")
    assert restarts_due(platform.memory, platform.look(), LIMITS, {}) == ()
    platform = well(code_answers=False)
    started_anew(platform, LOADING + 70)
    assert restarts_due(platform.memory, platform.look(), LIMITS, {}) == (CODE_SERVER,)


def test_one_that_dies_while_it_loads_is_told_once_and_does_not_recover_with_each_start() -> None:
    platform = well(code_answers=False, code_kept=replace(RUNNING, up_seconds=5.0))
    assert platform.seconds_until(CODE) == LOADING + 10
    platform = well(code_answers=False, code_kept=Kept(False, False, "It is started in 2 s."))
    assert platform.seconds_until(CODE) == SERVICE_LEVELS.code_server_silent_seconds + 10
    for _ in range(60):
        platform.code_kept = replace(RUNNING, up_seconds=5.0)
        platform.run(10)
        assert platform.failing() == {CODE}
    platform.code_answers = True
    platform.run(10)
    assert platform.failing() == set()


def test_code_that_cannot_be_loaded_is_not_waited_for() -> None:
    platform = well(code_answers=False, code_is_broken=True)
    started_anew(platform, SERVICE_LEVELS.code_server_silent_seconds + 10)
    assert platform.failing() == {CODE}


def test_one_that_has_answered_since_its_start_and_hangs_is_found_as_soon_as_any() -> None:
    platform = well(code_answers=False, code_kept=replace(RUNNING, up_seconds=100.0))
    assert platform.seconds_until(CODE) == SERVICE_LEVELS.code_server_silent_seconds + 10


def test_a_watchdog_that_is_started_anew_meanwhile_waits_as_long() -> None:
    platform = Platform(code_answers=False)
    started_anew(platform, LOADING)
    assert CODE not in platform.failing()
