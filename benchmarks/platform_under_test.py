"""A platform that is started to be broken: its commands, its processes, a small disk to run it on.

Belongs here: what a benchmark asks of it, and that nothing of it is left. Doesn't belong here: what
is broken (`causes_to_inject.py`).
"""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.long_run import _call, left_behind
from retail_lakehouse.local import processes
from retail_lakehouse.local.control import Action, SupervisorClient
from retail_lakehouse.local.stack_settings import read_settings
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.alerts.build import Receiver

LIVE_TIMEOUT_SECONDS = 600
EVENTS_PER_SECOND = 300
STOPS_MOST = 3
_CHILD_GRACE_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Platform:
    """The platform under test: started, asked, stopped through its own commands."""

    def __init__(self, state: Path, environment: dict[str, str], end: Receiver) -> None:
        """Describe it; nothing is started. `end`: its notifier."""
        self.state, self.environment, self.end = state, environment, end
        self._settings: Settings | None = None
        self._simulators: list[subprocess.Popen[bytes]] = []

    @property
    def settings(self) -> Settings:
        """Those that it was started with last.

        Raises:
            RuntimeError: it was never live.
        """
        if self._settings is None:
            raise RuntimeError("The platform has not been live yet: it has no settings.")
        return self._settings

    def start(self, *options: str) -> None:
        """Until it is live; it goes on behind.

        Raises:
            subprocess.CalledProcessError: it did not get live.
        """
        live = ["dev", "--until-live", "--keep", "--timeout", str(LIVE_TIMEOUT_SECONDS)]
        rate = ["--events-per-second", str(EVENTS_PER_SECOND)]
        _call([*live, *rate, *options], self.state, self.environment, check=True)
        # They are taken away when it stops.
        self._settings = Settings.load(read_settings(self.state))

    def stop(self) -> list[str]:
        """All of it, and the simulators beside it; returns what is left all the same.

        One that was broken off in its start may not have taken its lock yet: asked again.
        """
        for simulator in self._simulators:
            _end(simulator)
        left: list[str] = []
        for _ in range(STOPS_MOST):
            _call(["stop"], self.state, self.environment)
            left = left_behind(self.state)
            if not left:
                break
            time.sleep(3)
        return left

    def ask(self, verb: Action, name: str) -> None:
        """The supervisor, for one process."""
        SupervisorClient(self.state).request(verb, name)

    def simulate(self, *options: str) -> Callable[[], None]:
        """A simulator in place of the platform's; what is returned ends it and brings that back."""
        self.ask("stop", "simulator")
        argv = [sys.executable, "-m", "retail_lakehouse.cli", "simulate", *options]
        simulator = subprocess.Popen(  # noqa: S603
            [*argv, "--state-dir", str(self.state)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._simulators.append(simulator)

        def end() -> None:
            _end(simulator)
            self.ask("start", "simulator")

        return end

    def signal_session(self, name: str, number: int) -> None:
        """A signal to every process of one that the supervisor keeps."""
        record = processes.recorded(self.state, [name])[name]
        for member in processes.session_members(record):
            os.kill(member.pid, number)

    def alerts(self) -> dict[str, Any] | None:
        """What `alerts list` says; None where it does not answer."""
        answer = _call(["alerts", "list", "--json"], self.state, self.environment)
        try:
            told: dict[str, Any] = json.loads(answer.stdout)
        except ValueError:
            return None
        return told


class SensorSwitch:
    """The switch of the sensor that refreshes views, as the page has it."""

    def __init__(self, settings: Settings) -> None:
        """Of a platform's web server."""
        self._address = f"http://127.0.0.1:{settings.dagster_port}/graphql"

    def turn(self, *, is_on: bool) -> None:
        """On or off.

        Raises:
            RuntimeError: Dagster refused.
        """
        query = (
            "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } "
            "sensors { id name } } } } }"
        )
        (node,) = self._ask(query, {})["repositoriesOrError"]["nodes"]
        (sensor,) = [each for each in node["sensors"] if each["name"] == "refresh_due_views"]
        if is_on:
            selector = {
                "repositoryName": node["name"],
                "repositoryLocationName": node["location"]["name"],
                "sensorName": sensor["name"],
            }
            query = (
                "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
            )
            done, wanted = self._ask(query, {"s": selector})["startSensor"], "Sensor"
        else:
            query = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"
            done = self._ask(query, {"id": sensor["id"]})["stopSensor"]
            wanted = "StopSensorMutationResult"
        if done["__typename"] != wanted:
            raise RuntimeError(f"Dagster did not turn the sensor: {done}.")

    def _ask(self, query: str, variables: dict[str, object]) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310 - our own server on the loopback
            self._address, body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            told = json.load(answer)
        if told.get("errors"):
            raise RuntimeError(f"Dagster did not answer: {told['errors']}.")
        data: dict[str, Any] = told["data"]
        return data


@contextlib.contextmanager
def folder(small_disk_mb: int | None) -> Iterator[Path]:
    """A folder of its own; on a small file system of its own where that is asked for.

    It is kept where the block fails, unless it lies in memory.

    Raises:
        RuntimeError: no small file system can be made here.
    """
    made = Path(tempfile.mkdtemp(prefix="retail-lakehouse-causes-"))
    if small_disk_mb is None:
        yield made
        shutil.rmtree(made, ignore_errors=True)
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={small_disk_mb}m", "tmpfs", str(made)]
    try:
        _system(mount)
    except (OSError, subprocess.CalledProcessError) as error:
        made.rmdir()
        raise RuntimeError(
            f"No small file system can be made here ({error}): run this as root, where `mount` "
            "is allowed."
        ) from error
    try:
        yield made
    finally:
        try:
            _system(["umount", str(made)])
        except subprocess.CalledProcessError as error:
            # Something still has a file open; it goes with the last of them.
            logger.warning("%s: %s", error, error.stderr)
            _system(["umount", "--lazy", str(made)])
        made.rmdir()


def _system(argv: list[str]) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True)  # noqa: S603


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_CHILD_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
