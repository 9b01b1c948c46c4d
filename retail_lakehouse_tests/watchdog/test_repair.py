"""What is started anew by the watchdog, and what is left to its keeper."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retail_lakehouse.watchdog.judge import CODE_SERVER, DAEMON
from retail_lakehouse.watchdog.looks import Kept
from retail_lakehouse.watchdog.repair import restarts_due
from retail_lakehouse_tests.watchdog.build import LIMITS, RUNNING, STOPPED, Platform, well

DOWN = Kept(is_running=False, is_stopped=False, message="It is started again in 5 s.")


def due(platform: Platform, asked: dict[str, float] | None = None) -> tuple[str, ...]:
    return restarts_due(platform.memory, platform.look(), LIMITS, asked or {})


def test_a_daemon_that_is_there_and_silent_is_started_anew_once_in_ten_minutes() -> None:
    platform = well(beats=False, daemon_kept=RUNNING, code_kept=RUNNING)
    platform.run(90)
    assert due(platform) == ()
    platform.run(10)
    assert due(platform) == (DAEMON,)
    asked = {DAEMON: platform.now_seconds}
    platform.run(590)
    assert due(platform, asked) == ()
    platform.run(10)
    assert due(platform, asked) == (DAEMON,)


@pytest.mark.parametrize("kept", [None, DOWN, STOPPED])
def test_a_daemon_that_is_not_there_is_its_keepers_affair(kept: Kept | None) -> None:
    platform = well(beats=False, daemon_kept=kept, code_answers=False, code_kept=kept)
    platform.run(3600)
    assert due(platform) == ()


def test_a_history_that_cannot_be_read_is_no_reason_to_end_the_daemon() -> None:
    platform = well(history_readable=False, daemon_kept=RUNNING)
    platform.run(600)
    assert due(platform) == ()


def test_a_code_server_has_a_minute_more_since_runs_live_in_it() -> None:
    platform = well(code_answers=False, code_kept=RUNNING)
    platform.run(120)
    assert due(platform) == ()
    platform.run(10)
    assert due(platform) == (CODE_SERVER,)


def test_a_process_that_has_just_been_started_is_left_to_load() -> None:
    loading = replace(RUNNING, up_seconds=119.0)
    platform = well(code_answers=False, code_kept=loading, beats=False, daemon_kept=loading)
    platform.run(1800)
    assert due(platform) == (DAEMON,)
    platform.daemon_kept = replace(RUNNING, up_seconds=90.0)
    assert due(platform) == ()
    platform.code_kept = replace(RUNNING, up_seconds=239.0)
    assert due(platform) == ()
    platform.code_kept = replace(RUNNING, up_seconds=241.0)
    assert due(platform) == (CODE_SERVER,)
