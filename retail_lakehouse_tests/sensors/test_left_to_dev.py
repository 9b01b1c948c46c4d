"""A bare `dagster dev` beside `make dev` leaves the sensors to it, and says so."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from retail_lakehouse.build import build_defs
from retail_lakehouse.definitions import defs as code_location
from retail_lakehouse.local.state_folder import hold
from retail_lakehouse.resources.daemon import nobody_is_told, other_daemon
from retail_lakehouse.setting_fields import Profile
from retail_lakehouse.settings import Settings

# Holds the state folder as `dev` does, and says what a process that it starts makes of it.
DEV = """
import subprocess, sys
from pathlib import Path
from retail_lakehouse.local.state_folder import hold

lock = hold(Path(sys.argv[1]))
child = (
    "import sys; from retail_lakehouse.resources.daemon import other_daemon; "
    "from retail_lakehouse.settings import Settings; "
    "print(other_daemon(Settings.load({'state_dir': sys.argv[1]})))"
)
subprocess.run([sys.executable, "-c", child, sys.argv[1]], check=True, start_new_session=True)
sys.stdin.read()
"""


@dataclass
class Dev:
    """A process that holds the state folder, and what its own child was told."""

    process: subprocess.Popen[str]
    told_to_its_child: str


@pytest.fixture
def dev(settings: Settings) -> Iterator[Dev]:
    with subprocess.Popen(
        [sys.executable, "-c", DEV, str(settings.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield Dev(process, process.stdout.readline().strip())
        process.kill()


def test_beside_a_running_dev_every_sensor_is_off_and_says_why(
    settings: Settings, dev: Dev, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    why = f"`make dev` runs here already, as process {dev.process.pid}: this daemon leaves the "
    monkeypatch.setenv("RETAIL_LAKEHOUSE_STATE_DIR", str(settings.root))
    repository = code_location().get_repository_def()
    assert caplog.messages[0].startswith(why)
    usual = build_defs(settings).get_repository_def()
    assert {sensor.name for sensor in repository.sensor_defs} == {
        sensor.name for sensor in usual.sensor_defs
    }
    for sensor in repository.sensor_defs:
        watched = usual.get_sensor_def(sensor.name).asset_selection
        assert sensor.asset_selection == watched
        # One state of a sensor serves both: a tick here would be one less in the other daemon.
        assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
        assert str(sensor.description).startswith(why)
        with dg.build_sensor_context(repository_def=repository, cursor="kept") as context:
            ticked = sensor.evaluate_tick(context)
        assert str(ticked.skip_message).startswith(why)
        assert ticked.cursor == "kept"


def test_what_dev_started_has_its_sensors_even_in_a_session_of_its_own(dev: Dev) -> None:
    assert dev.told_to_its_child == "None"


def test_the_sensors_are_ours_when_nobody_else_is_there_or_the_other_was_killed(
    settings: Settings, dev: Dev
) -> None:
    assert other_daemon(settings) is not None
    dev.process.kill()
    dev.process.wait(10)
    assert other_daemon(settings) is None


def test_stop_and_reset_are_no_daemons(settings: Settings) -> None:
    lock = hold(settings.root, "reset")
    assert other_daemon(settings) is None
    lock.close()


def test_where_no_dev_runs_nobody_is_told_and_the_rest_shows_what_is_down(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETAIL_LAKEHOUSE_STATE_DIR", str(settings.root))
    sensors = {each.name: each for each in code_location().get_repository_def().sensor_defs}
    off = sensors.pop("send_alerts")
    assert off.default_status is dg.DefaultSensorStatus.STOPPED
    assert str(off.description).startswith("No `make dev` runs here, so what is down is meant to")
    assert {each.default_status for each in sensors.values()} == {dg.DefaultSensorStatus.RUNNING}


def test_people_are_told_by_what_dev_started_and_on_aws(settings: Settings, dev: Dev) -> None:
    assert nobody_is_told(settings) is None
    dev.process.kill()
    dev.process.wait(10)
    assert nobody_is_told(settings) is not None
    assert nobody_is_told(settings.model_copy(update={"profile": Profile.AWS})) is None
