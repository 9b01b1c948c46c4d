"""What the stack of one machine consists of, and how its settings travel."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from retail_lakehouse.commands.options import running_settings
from retail_lakehouse.local import jars, processes
from retail_lakehouse.local.processes import Command
from retail_lakehouse.local.stack import Stack, ensure_password
from retail_lakehouse.local.stack_settings import settings_environment, write_settings
from retail_lakehouse.local.stack_units import DAGSTER_PROCESSES, PROCESS_NAMES
from retail_lakehouse.local.startup import StartCancelledError
from retail_lakehouse.local.state_folder import hold
from retail_lakehouse.local.supervisor import Supervisor
from retail_lakehouse.settings import Settings

CHANGED = {
    "local_partitions": 5,
    "trigger_seconds": 2.5,
    "malformed_share": 0.125,
    "simulator_burst": "5/600/60",
    "dagster_port": 3456,
}


def test_the_password_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "warehouse-password"
    assert ensure_password(path)
    first = path.read_text()
    assert len(first) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert not ensure_password(path)
    assert path.read_text() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_process_has_a_unit_and_clients_end_before_servers(tmp_path: Path) -> None:
    units = Stack(Settings.load({"state_dir": tmp_path})).units()
    assert {unit.name for unit in units} == set(PROCESS_NAMES)
    servers = {unit.name for unit in units if unit.stage == max(each.stage for each in units)}
    assert servers == {"broker", "warehouse"}


def test_dagsters_pages_are_served_behind_the_guard_and_its_code_on_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, Command] = {}
    monkeypatch.setattr(
        processes, "spawn", lambda root, name, command: started.update({name: command})
    )
    for unit in Stack(Settings.load({"state_dir": tmp_path})).units():
        if unit.name in DAGSTER_PROCESSES:
            unit.start()
    assert started.keys() == set(DAGSTER_PROCESSES)
    assert started["dagster-webserver"].argv[1:] == ["-m", "retail_lakehouse.cli", "web"]
    assert "--socket" in started["dagster-code-server"].argv
    assert not {"-p", "--port"} & set(started["dagster-code-server"].argv)


@pytest.mark.parametrize("with_simulator", [True, False])
def test_the_steps_need_only_steps_that_there_are(tmp_path: Path, with_simulator: bool) -> None:
    stack = Stack(Settings.load({"state_dir": tmp_path}), with_simulator=with_simulator)
    steps = stack.steps(Supervisor(tmp_path, stack.units()))
    names = {step.name for step in steps}
    assert all(names.issuperset(step.needs) for step in steps)
    assert ("simulator" in names) is with_simulator


def test_another_process_gets_the_same_settings(tmp_path: Path) -> None:
    settings = Settings.load({"state_dir": tmp_path, **CHANGED})
    code = "from retail_lakehouse.settings import Settings; print(Settings.load())"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RETAIL_LAKEHOUSE_")}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **settings_environment(settings)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    expected = Settings.load({"state_dir": tmp_path, "cache_dir": tmp_path / "cache", **CHANGED})
    assert answer.stdout.strip() == str(expected)


def test_who_asks_about_a_running_stack_gets_its_settings(tmp_path: Path) -> None:
    write_settings(Settings.load({"state_dir": tmp_path, **CHANGED}))
    assert running_settings(tmp_path).dagster_port == Settings.load().dagster_port
    lock = hold(tmp_path)
    assert running_settings(tmp_path).dagster_port == 3456
    assert running_settings(tmp_path).local_partitions == 5
    lock.close()


def test_an_empty_password_file_of_a_killed_start_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "warehouse-password"
    path.parent.mkdir()
    path.touch()
    assert ensure_password(path)
    made = path.read_text()
    assert len(made) >= 24
    assert path.stat().st_mode & 0o777 == 0o600
    assert not ensure_password(path)
    assert path.read_text() == made
    assert list(path.parent.iterdir()) == [path]


def test_a_cancelled_start_waits_until_its_fetch_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def fetch(*_: object, cancelled: threading.Event, **__: object) -> list[Path]:
        begun.set()
        cancelled.wait(10)
        time.sleep(0.2)
        ended.set()
        raise jars.FetchCancelledError("cancelled")

    monkeypatch.setattr(jars, "resolve", fetch)
    stack = Stack(Settings.load({"state_dir": tmp_path}))
    steps = {step.name: step for step in stack.steps(Supervisor(tmp_path, stack.units()))}
    steps["java"].action()

    def start() -> None:
        with pytest.raises(StartCancelledError):
            steps["spark-jars"].action()

    starting = threading.Thread(target=start)
    starting.start()
    assert begun.wait(10)
    stack.cancel()
    stack.wait_for_fetches(10)
    assert ended.is_set()
    starting.join()
