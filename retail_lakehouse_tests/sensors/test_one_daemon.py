"""A bare `dagster dev` beside `make dev` leaves the sensors to it, and says so at every tick."""

import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pytest

from retail_lakehouse.build import build_defs
from retail_lakehouse.local.supervisor import hold
from retail_lakehouse.resources.daemon import other_daemon
from retail_lakehouse.settings import Settings

# Holds the state folder as `dev` does, and says what a process that it starts makes of it.
DEV = """
import subprocess, sys
from pathlib import Path
from retail_lakehouse.local.supervisor import hold

lock = hold(Path(sys.argv[1]))
child = (
    "import sys; from retail_lakehouse.resources.daemon import other_daemon; "
    "from retail_lakehouse.settings import Settings; "
    "print(other_daemon(Settings.load({'state_dir': sys.argv[1]})))"
)
subprocess.run([sys.executable, "-c", child, sys.argv[1]], check=True, start_new_session=True)
sys.stdin.read()
"""


@pytest.fixture
def dev(settings: Settings) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that holds the folder, and what one of its own children was told."""
    with subprocess.Popen(
        [sys.executable, "-c", DEV, str(settings.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def skips(settings: Settings) -> dict[str, str | None]:
    """What each sensor's tick says; with no system there, a tick that looks says more."""
    defs = build_defs(settings)
    told: dict[str, str | None] = {}
    repository = defs.get_repository_def()
    for sensor in repository.sensor_defs:
        needed = {name: (defs.resources or {})[name] for name in sensor.required_resource_keys}
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(
                instance=instance, repository_def=repository, resources=needed, cursor="{"
            ) as context,
        ):
            ticked = sensor.evaluate_tick(context)
        assert ticked.cursor == "{"
        assert ticked.asset_events == []
        told[sensor.name] = ticked.skip_message
    return told


def test_every_sensor_says_that_it_leaves_its_tick_to_the_dev_that_runs(
    settings: Settings, dev: tuple[subprocess.Popen[str], str]
) -> None:
    process, _ = dev
    told = skips(settings)
    assert len(told) == 3
    assert set(told.values()) == {
        f"`make dev` runs here already, as process {process.pid}: this daemon leaves the sensors "
        "to it. Nothing is missing; to tick them here, end the other with `retail-lakehouse stop`."
    }


def test_what_dev_started_ticks_even_in_a_session_of_its_own(
    dev: tuple[subprocess.Popen[str], str],
) -> None:
    _, told_to_its_child = dev
    assert told_to_its_child == "None"


def test_a_daemon_ticks_when_nobody_else_is_there_or_the_other_was_killed(
    settings: Settings, dev: tuple[subprocess.Popen[str], str]
) -> None:
    process, _ = dev
    assert other_daemon(settings) is not None
    process.kill()
    process.wait(10)
    assert other_daemon(settings) is None


def test_stop_and_reset_are_no_daemons(settings: Settings) -> None:
    lock = hold(settings.root, "reset")
    assert other_daemon(settings) is None
    lock.close()
