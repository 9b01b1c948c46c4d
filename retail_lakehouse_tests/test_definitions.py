import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import dagster as dg
import pytest

from retail_lakehouse.build import build_defs
from retail_lakehouse.local.dagster_instance import dagster_home, instance_yaml, write_instance
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.resources.fakes import FakeKafka, settings_in

REPO = Path(__file__).resolve().parents[1]
HEAVY = (
    "pyspark",
    "boto3",
    "dagster_aws",
    "dagster_pyspark",
    "pyiceberg.catalog",
    "redshift_connector",
    "confluent_kafka",
    "duckdb",
    "pyarrow",
    "slack_sdk",
    "sqlglot",
)

# Run in a process of its own: this one has loaded all of it already. What a library does while it
# is imported itself is not ours: the innermost module that is being executed tells them apart.
GUARD = """
import builtins, io, json, os, socket, sys, time
import dagster  # its own import is not ours to judge

touched = []

def touch(what):
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    if frame is not None and frame.f_globals["__name__"].startswith("retail_lakehouse"):
        touched.append(what)

class Environment(dict):
    def __getitem__(self, key):
        touch(f"os.environ[{key!r}]")
        return super().__getitem__(key)
    def get(self, key, default=None):
        touch(f"os.environ[{key!r}]")
        return super().get(key, default)
    def items(self):
        touch("os.environ")
        return super().items()

class NoSocket(socket.socket):
    def connect(self, address):
        touch(f"connect({address})")
        return super().connect(address)

real_open = builtins.open
def watched_open(file, *arguments, **named):
    touch(f"open({file})")
    return real_open(file, *arguments, **named)

os.environ = Environment(os.environ)
socket.socket = NoSocket
builtins.open = io.open = watched_open
began = time.perf_counter()
import retail_lakehouse.definitions
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "touched": touched, "modules": sorted(sys.modules)}))
"""


def test_importing_definitions_is_quick_loads_no_client_and_touches_nothing() -> None:
    told = subprocess.run(
        [sys.executable, "-c", GUARD], cwd=REPO, capture_output=True, text=True, check=True
    )
    result = json.loads(told.stdout)
    # Libraries look for switches of their own whenever a class is made: no settings of ours.
    own = ("os.environ['PYDANTIC_", "os.environ['DAGSTER_")
    assert [what for what in result["touched"] if not what.startswith(own)] == []
    assert set(HEAVY) & set(result["modules"]) == set()
    assert result["seconds"] < 2.0


def test_building_definitions_loads_no_client_either() -> None:
    code = (
        "import json, sys\n"
        "from retail_lakehouse.build import build_defs\n"
        "from retail_lakehouse.settings import Settings\n"
        "build_defs(Settings.load())\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert set(HEAVY) & set(json.loads(told.stdout)) == set()


def test_definitions_are_valid_and_warn_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", dg.BetaWarning)
        warnings.simplefilter("error", dg.PreviewWarning)
        defs = build_defs(settings_in(tmp_path))
    dg.Definitions.validate_loadable(defs)


def test_an_override_replaces_a_resource_and_a_wrong_name_is_refused(tmp_path: Path) -> None:
    fake = FakeKafka()
    defs = build_defs(settings_in(tmp_path), kafka=fake)
    assert defs.resources is not None
    assert defs.resources["kafka"] is fake
    with pytest.raises(TypeError, match="no resource called kafak"):
        build_defs(settings_in(tmp_path), kafak=fake)


def test_every_sensor_runs_without_being_switched_on_and_keeps_the_settings_interval(
    tmp_path: Path,
) -> None:
    settings = Settings.load(
        {"state_dir": tmp_path, "sensor_interval_seconds": 21, "refresh_interval_seconds": 33}
    )
    repository = build_defs(settings).get_repository_def()
    sensors = {sensor.name: sensor for sensor in repository.sensor_defs}
    assert {name: sensor.minimum_interval_seconds for name, sensor in sensors.items()} == {
        "watch_stream": 21,
        "report_snapshots": 21,
        "refresh_due_views": 33,
        "send_alerts": 21,
        "prune_history": 3600,
    }
    assert {sensor.default_status for sensor in sensors.values()} == {
        dg.DefaultSensorStatus.RUNNING
    }


def test_the_repository_s_dagster_yaml_is_the_one_that_the_program_writes() -> None:
    text = (REPO / "dagster.yaml").read_text(encoding="utf-8")
    assert text == instance_yaml(".lakehouse/dagster", is_bare=True), (
        "dagster.yaml differs from local/dagster_instance.py: write it anew from there."
    )


def test_a_bare_dagster_dev_has_no_scheduler_and_the_one_of_make_dev_has(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(instance_yaml(str(tmp_path), is_bare=True))
    with dg.DagsterInstance.from_config(str(tmp_path)) as bare:
        assert "SENSOR" in bare.get_required_daemon_types()
        assert "SCHEDULER" not in bare.get_required_daemon_types()
    with dg.DagsterInstance.from_config(str(write_instance(tmp_path / "state"))) as ours:
        assert "SCHEDULER" in ours.get_required_daemon_types()


def test_the_instance_of_the_state_folder_loads_and_is_written_once(tmp_path: Path) -> None:
    root = tmp_path / "a folder: with # signs"
    home = write_instance(root)
    assert home == dagster_home(root)
    written = (home / "dagster.yaml").stat().st_mtime_ns
    assert write_instance(root) == home
    assert (home / "dagster.yaml").stat().st_mtime_ns == written
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_settings("sensors") == {"use_threads": True, "num_workers": 4}
        assert not instance.telemetry_enabled
        assert instance.root_directory == str(home)


@pytest.mark.slow
def test_dagster_validates_from_the_root_with_no_argument() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DAGSTER")}
    told = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate"],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "passed validation" in told.stdout + told.stderr
