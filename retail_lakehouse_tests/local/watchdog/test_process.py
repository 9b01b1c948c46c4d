"""The process: its turns, what it logs, a full disk, a broken file of routes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from retail_lakehouse.alerts.message import Links
from retail_lakehouse.alerts.silences import add_silence
from retail_lakehouse.local.stack_settings import settings_environment
from retail_lakehouse.local.watchdog.process import Watchdog
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.looks import Look
from retail_lakehouse.watchdog.telling import Teller
from retail_lakehouse_tests.alerts.build import Receiver, fill, receiver, until
from retail_lakehouse_tests.watchdog.build import LIMITS, RUNNING, Platform, well

SECRET = "hunter2-hunter2"


def routes_file(folder: Path, url: str) -> Path:
    (folder / "token").write_text(SECRET)
    path = folder / "routes.toml"
    path.write_text(
        f'[[route]]\nname = "hook"\nkind = "webhook"\nurl = "{url}/"\n'
        f'token_file = "{folder / "token"}"\n'
    )
    return path


class Looker:
    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def look(self) -> Look:
        self.platform.now_seconds += 10
        return self.platform.look()


def watchdog_of(platform: Platform, settings: Settings, restarted: list[str]) -> Watchdog:
    return Watchdog(
        settings,
        Looker(platform),
        LIMITS,
        Teller(Links("http://127.0.0.1:3000")),
        restarted.append,
    )


def told(end: Receiver) -> list[tuple[str, str]]:
    return [(a["kind"], a["check"]) for each in end.taken for a in each.body["alerts"]]


@pytest.fixture
def end() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@contextmanager
def process(settings: Settings, stdout: Any) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        [sys.executable, "-m", "retail_lakehouse.local.watchdog"],
        env={**os.environ, **settings_environment(settings)},
        stdout=stdout,
        stderr=subprocess.STDOUT,
    )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(10)


def test_a_hanging_daemon_is_told_once_started_anew_once_and_its_recovery_told(
    tmp_path: Path, end: Receiver
) -> None:
    settings = Settings.load(
        {"state_dir": tmp_path, "alert_routes_file": routes_file(tmp_path, end.url)}
    )
    platform, restarted = well(daemon_kept=RUNNING, code_kept=RUNNING), list[str]()
    watchdog = watchdog_of(platform, settings, restarted)
    for _ in range(5):
        watchdog.turn()
    platform.beats = platform.sensor_ticks = False
    for _ in range(30):
        watchdog.turn()
    assert restarted == ["dagster-daemon"]
    platform.beats = platform.sensor_ticks = True
    watchdog.turn()
    watchdog.teller.deliver(platform.now_ms, 0.0)
    until(lambda: len(end.taken) == 1)

    def both_arrive() -> bool:
        watchdog.teller.deliver(platform.now_ms, 1.0)
        return len(end.taken) == 2

    until(both_arrive)
    assert told(end) == [("opened", "daemon_ticks"), ("recovered", "daemon_ticks")]


def test_what_is_silenced_by_name_is_not_told_by_the_watchdog_either(tmp_path: Path) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    platform = well(daemon_kept=None)
    add_silence(
        settings.alerts_dir, "control_plane:*", 86_400, "anna", "moved", platform.now_ms - 1000
    )
    watchdog = watchdog_of(platform, settings, [])
    watchdog.turn()
    platform.beats = platform.sensor_ticks = False
    assert [notice for _ in range(30) for notice in watchdog.turn()] == []


def test_a_broken_file_of_routes_is_said_once_and_alerts_stand_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    routes = tmp_path / "routes.toml"
    routes.write_text("no toml [")
    settings = Settings.load({"state_dir": tmp_path, "alert_routes_file": routes})
    platform = well()
    watchdog = watchdog_of(platform, settings, [])
    watchdog.turn()
    platform.beats = platform.sensor_ticks = False
    for _ in range(12):
        watchdog.turn()
    watchdog.teller.deliver(platform.now_ms, 0.0)
    until(lambda: "Opened: Dagster's daemon stands still" in caplog.text)
    assert caplog.text.count("cannot be read: it is no TOML") == 1


def test_a_turn_that_fails_is_logged_and_the_next_one_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    turns: list[int] = []
    ended = threading.Event()

    class Raising:
        def look(self) -> Look:
            turns.append(1)
            if len(turns) == 2:
                ended.set()
            raise RuntimeError("a surprise")

    settings = Settings.load({"state_dir": tmp_path, "watchdog_seconds": 0.001})
    watchdog = Watchdog(
        settings, Raising(), LIMITS, Teller(Links("http://127.0.0.1:3000")), lambda name: None
    )
    running = threading.Thread(target=watchdog.run, args=(ended,))
    running.start()
    running.join(20)
    assert len(turns) == 2
    assert caplog.text.count("A turn of the watchdog failed") == 2


def test_on_a_full_disk_that_takes_not_even_a_line_of_its_log_the_alarm_arrives(
    small_disk: Path, tmp_path: Path, end: Receiver
) -> None:
    settings = Settings.load(
        {
            "state_dir": small_disk / "state",
            "alert_routes_file": routes_file(tmp_path, end.url),
            "watchdog_seconds": 0.2,
        }
    )
    (small_disk / "state").mkdir()
    fill(small_disk)
    with Path("/dev/full").open("wb") as full, process(settings, full) as running:
        until(lambda: len(end.taken) >= 2, 60)
        time.sleep(2)
        assert running.poll() is None
    assert sorted(told(end)) == [("opened", "disk_nearly_full"), ("opened", "disk_space")]
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "state"]
    assert list((small_disk / "state").iterdir()) == []
    message = end.taken[0].body
    assert "0 MiB of 2 MiB are free where the state folder lies" in message["text"]
    assert end.taken[0].headers["Authorization"] == f"Bearer {SECRET}"


def test_no_secret_stands_in_its_log_whatever_the_receiver_answers(
    tmp_path: Path, end: Receiver
) -> None:
    settings = Settings.load(
        {
            "state_dir": tmp_path / "state",
            "alert_routes_file": routes_file(tmp_path, end.url),
            "watchdog_seconds": 0.2,
            # Whatever is free here, it is too little.
            "disk_warning_mb": 2**40,
            "disk_critical_mb": 2**40,
        }
    )
    end.answers = [(500, {}, SECRET)]
    log = tmp_path / "log"
    with log.open("wb") as out, process(settings, out):
        until(lambda: len(end.attempts) >= 2, 60)
    text = log.read_text()
    assert "opened: control_plane:disk_nearly_full" in text
    assert "The route hook rests for 5 s: The webhook answered 500." in text
    assert SECRET not in text


def test_a_signal_ends_it_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    settings = Settings.load({"state_dir": tmp_path / "state"})
    with process(settings, subprocess.DEVNULL) as running:
        time.sleep(3)
        assert running.poll() is None
        began = time.monotonic()
        running.terminate()
        running.wait(5)
        assert time.monotonic() - began < 1
