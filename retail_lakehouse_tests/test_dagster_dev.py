"""`dagster dev` alone, for real: the project's instance, everything loaded, nothing started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.assets.maintenance import SCHEDULED_TASKS
from retail_lakehouse.contracts.tables import MAINTAINED_TABLES, TABLES
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.contracts.views import VIEWS
from retail_lakehouse.local import ports

Seen = TypeVar("Seen")

REPO = Path(__file__).resolve().parents[1]
SENSORS = {
    "watch_stream",
    "report_snapshots",
    "refresh_due_views",
    "send_alerts",
    "prune_history",
}
# One asset each for a topic and its job, every table, every view, the replay of quarantine,
# Dagster's own history, and each scheduled task of maintenance on each table that it maintains.
ASSETS = 2 * len(TOPICS) + len(TABLES) + len(VIEWS) + 2
ASSETS += len(SCHEDULED_TASKS) * len(MAINTAINED_TABLES)
LOADED = """
{
  workspaceOrError {
    ... on Workspace {
      locationEntries {
        name
        locationOrLoadError {
          ... on PythonError { message }
          ... on RepositoryLocation {
            repositories {
              assetNodes { id }
              sensors { name sensorState { status ticks(limit: 1) { status skipReason } } }
            }
          }
        }
      }
    }
  }
  runsOrError { ... on Runs { results { id } } }
}
"""


@dataclass
class DagsterDev:
    """A running `dagster dev`, in a folder that has what the repository's root has for it."""

    root: Path
    process: subprocess.Popen[bytes]
    dagster_port: int
    other_ports: list[int]

    def answer(self) -> dict[str, Any] | None:
        """What its web server says of the code location; None until it is loaded."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.dagster_port}/graphql",
            json.dumps({"query": LOADED}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as told:
                data: dict[str, Any] = json.load(told)["data"]
        except OSError:
            return None
        entries = data["workspaceOrError"]["locationEntries"]
        return data if entries and entries[0]["locationOrLoadError"] else None

    def members(self) -> list[str]:
        """The command lines of its session's living processes."""
        lines = []
        for pid in psutil.pids():
            try:
                if os.getsid(pid) == self.process.pid:
                    process = psutil.Process(pid)
                    if process.status() != psutil.STATUS_ZOMBIE:
                        lines.append(" ".join(process.cmdline()))
            except (ProcessLookupError, psutil.Error):
                continue
        return lines


@pytest.fixture
def dagster_dev(tmp_path: Path) -> Iterator[DagsterDev]:
    for name in ("dagster.yaml", "workspace.yaml", "pyproject.toml"):
        shutil.copy(REPO / name, tmp_path)
    free = ports.free_ports(4)
    names = ("BROKER_PORT", "CONTROLLER_PORT", "WAREHOUSE_PORT")
    told = {f"RETAIL_LAKEHOUSE_{n}": str(port) for n, port in zip(names, free[1:], strict=True)}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER")}
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev"],
            cwd=tmp_path,
            env={**clean, **told, "DAGSTER_WEBSERVER_PORT": str(free[0])},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Who runs the tests in the background has Ctrl-C switched off.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started = DagsterDev(tmp_path, process, free[0], free[1:])
        yield started
        for pid in [pid for pid in psutil.pids() if _is_in_session(pid, process.pid)]:
            os.kill(pid, signal.SIGKILL)
        process.wait(10)


@pytest.mark.stack
def test_dagster_dev_alone_uses_the_instance_loads_says_what_is_down_and_starts_nothing(
    dagster_dev: DagsterDev,
) -> None:
    data = _until(lambda: _all_ticked(dagster_dev.answer()), 200, dagster_dev)
    (entry,) = data["workspaceOrError"]["locationEntries"]
    (repository,) = entry["locationOrLoadError"]["repositories"]
    assert len(repository["assetNodes"]) == ASSETS
    sensors = {sensor["name"]: sensor["sensorState"] for sensor in repository["sensors"]}
    assert set(sensors) == SENSORS
    # Nothing is meant to run, so nobody is told that it does not.
    assert sensors.pop("send_alerts")["status"] == "STOPPED"
    assert {state["status"] for state in sensors.values()} == {"RUNNING"}

    told = {name: state["ticks"][0]["skipReason"] for name, state in sensors.items()}
    broker_port = dagster_dev.other_ports[0]
    assert f"Kafka at 127.0.0.1:{broker_port} did not answer" in told["watch_stream"]
    assert f"{len(TABLES)} of {len(TABLES)} tables cannot be read" in told["report_snapshots"]
    assert "There is no catalog" in told["refresh_due_views"]
    assert "Nothing is old enough" in told["prune_history"]

    # The instance is the project's, and beside it there are but locks of whoever looks, all empty.
    state = dagster_dev.root / ".lakehouse"
    assert sorted(path.name for path in state.iterdir()) == ["dagster", "locks"]
    assert {path.stat().st_size for path in (state / "locks").iterdir()} == {0}
    assert (state / "dagster" / "schedules" / "schedules.db").exists()
    assert data["runsOrError"]["results"] == []
    ours = ("dagster dev", "dagster_webserver", "dagster._daemon", "code-server", "api grpc")
    assert [line for line in dagster_dev.members() if not any(each in line for each in ours)] == []
    assert not any(ports.is_answering(port) for port in dagster_dev.other_ports)

    os.kill(dagster_dev.process.pid, signal.SIGINT)
    dagster_dev.process.wait(30)
    _until(lambda: not dagster_dev.members(), 30, dagster_dev)


def _all_ticked(data: dict[str, Any] | None) -> dict[str, Any]:
    """The answer once every sensor that is on has ended a tick, or loading failed; else nothing."""
    if data is None:
        return {}
    (entry,) = data["workspaceOrError"]["locationEntries"]
    for repository in entry["locationOrLoadError"].get("repositories", ()):
        for sensor in repository["sensors"]:
            if sensor["sensorState"]["status"] == "STOPPED":
                continue
            ticks = sensor["sensorState"]["ticks"]
            if not ticks or ticks[0]["status"] == "STARTED":
                return {}
    return data


def _until(look: Callable[[], Seen], seconds: float, running: DagsterDev) -> Seen:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.3)
    output = (running.root / "output").read_text()[-3000:]
    pytest.fail(f"Not within {seconds:.0f} s; {len(running.members())} processes, and:\n{output}")


def _is_in_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False
