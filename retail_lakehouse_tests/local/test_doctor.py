"""Each look says well or not, what it saw, and the fix."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from retail_lakehouse.local import doctor, java, ports, processes
from retail_lakehouse.local.doctor import Finding, examine
from retail_lakehouse.local.java import JavaNotFoundError
from retail_lakehouse.local.process_record import read_record
from retail_lakehouse.local.state_folder import hold
from retail_lakehouse.settings import Settings

LISTENER = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(300)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    names = ("broker_port", "controller_port", "warehouse_port", "dagster_port")
    return Settings.load({"state_dir": tmp_path, **{name: ports.free_port() for name in names}})


def found(settings: Settings, subject: str) -> Finding:
    return next(each for each in examine(settings) if each.subject == subject)


def test_this_environment_is_as_pinned(settings: Settings) -> None:
    for subject in ("Python", "Packages", "Java", "State folder", "Processes"):
        assert found(settings, subject).ok, found(settings, subject)


def test_a_package_that_is_missing_or_not_as_pinned_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["no-such-package==1", "rich<1", "typer", "absent==1; extra == 'aws'"]
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    finding = found(settings, "Packages")
    assert not finding.ok
    rich = metadata.version("rich")
    assert finding.seen == f"no-such-package is missing; rich is {rich}, not <1"


def test_another_python_than_the_one_of_glue_is_a_problem(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1, "final", 0))
    assert not found(settings, "Python").ok


def test_a_java_that_is_nowhere_is_a_problem_in_its_own_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(_: object) -> None:
        raise JavaNotFoundError("There is no Java 17.")

    monkeypatch.setattr(java, "find_java", nowhere)
    finding = found(settings, "Java")
    assert (finding.ok, finding.seen) == (False, "There is no Java 17.")


def test_a_folder_that_cannot_be_written_is_a_problem(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    finding = found(settings, "State folder")
    assert (finding.ok, finding.seen) == (False, f"{settings.root} cannot be written")


def test_of_a_folder_that_is_to_be_made_the_nearest_that_exists_is_looked_at(
    tmp_path: Path,
) -> None:
    settings = Settings.load({"state_dir": tmp_path / "a" / "b"})
    assert found(settings, "Disk").seen.endswith(f" GB free at {tmp_path}")
    assert found(settings, "State folder").ok
    assert list(tmp_path.iterdir()) == []


def test_every_port_of_the_platform_is_looked_at(settings: Settings) -> None:
    free = {each.subject: each.seen for each in examine(settings) if each.subject[:4] == "Port"}
    assert free == {
        f"Port {settings.broker_port}": "free, for Kafka",
        f"Port {settings.controller_port}": "free, for Kafka's controller",
        f"Port {settings.warehouse_port}": "free, for the warehouse",
        f"Port {settings.dagster_port}": "free, for Dagster",
    }


@pytest.fixture
def left(settings: Settings) -> Iterator[None]:
    """A process of ours at the warehouse's port, whose `dev` is gone."""
    argv = [sys.executable, "-c", LISTENER, str(settings.warehouse_port)]
    process = processes.spawn(settings.root, "warehouse", processes.Command(argv))
    deadline = time.monotonic() + 10
    while not ports.is_answering(settings.warehouse_port) and time.monotonic() < deadline:
        time.sleep(0.02)
    yield
    record = read_record(processes.record_path(settings.root, "warehouse"))
    assert record is not None
    processes.kill_session(record)
    process.wait(timeout=5)


@pytest.mark.usefixtures("left")
def test_what_a_killed_dev_left_is_a_problem_and_its_port_is_none(settings: Settings) -> None:
    port = found(settings, f"Port {settings.warehouse_port}")
    assert (port.ok, port.seen) == (True, "ours, for the warehouse")
    left = found(settings, "Processes")
    assert (left.ok, left.seen) == (False, "1 left by a killed `dev`")
    assert "retail-lakehouse stop" in left.fix


def test_what_a_running_dev_uses_and_fetches_is_no_problem(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "MEMORY_NEEDED_BYTES", 2**80)
    (settings.cache / "jars" / "spark-0123.partial").mkdir(parents=True)
    with contextlib.closing(hold(settings.root)):
        assert found(settings, "Memory").ok
        assert found(settings, "Jars").ok
        assert found(settings, "Processes").seen == f"`dev` runs as process {os.getpid()}"


def test_a_port_that_is_taken_is_named_with_its_setting(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.warehouse_port)):
        finding = found(settings, f"Port {settings.warehouse_port}")
    assert not finding.ok
    assert "the warehouse needs it" in finding.seen
    assert "RETAIL_LAKEHOUSE_WAREHOUSE_PORT" in finding.fix


def test_a_cache_that_lost_a_jar_is_a_problem(settings: Settings) -> None:
    folder = settings.cache / "jars" / "broker-0123"
    folder.mkdir(parents=True)
    (folder / "a.jar").write_bytes(b"1234")
    (folder / "manifest.json").write_text(json.dumps({"bytes_by_jar": {"a.jar": 4}}))
    assert found(settings, "Jars").ok
    for other in (b"12", b"12345"):
        (folder / "a.jar").write_bytes(other)
        finding = found(settings, "Jars")
        assert not finding.ok
        assert str(folder) in finding.fix


@pytest.mark.parametrize("manifest", ["", "{", "{}", "[]", '{"bytes_by_jar": ["a"]}'])
def test_a_cache_whose_manifest_is_damaged_is_a_problem(settings: Settings, manifest: str) -> None:
    folder = settings.cache / "jars" / "broker-0123"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(manifest)
    assert not found(settings, "Jars").ok


def test_an_interrupted_fetch_is_a_problem(settings: Settings) -> None:
    (settings.cache / "jars" / "spark-0123.partial").mkdir(parents=True)
    assert found(settings, "Jars").seen == "a fetch was interrupted"


def test_too_little_room_is_a_problem(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_NEEDED_BYTES", 2**80)
    monkeypatch.setattr(doctor, "MEMORY_NEEDED_BYTES", 2**80)
    assert not found(settings, "Disk").ok
    assert not found(settings, "Memory").ok


def test_a_bare_web_server_of_dagsters_on_this_history_is_a_problem_and_another_is_not(
    settings: Settings, tmp_path: Path
) -> None:
    assert found(settings, "Web servers").ok
    assert "docs/access.md" in found(settings, "Web servers").seen
    for home, ok in ((settings.root / "dagster", False), (tmp_path.parent / "other", True)):
        # Its command line is all that is looked at, so that nothing has to be served for it.
        bare = subprocess.Popen(
            [sys.executable, "-c", "input()", "dagster_webserver"],
            stdin=subprocess.PIPE,
            env={**os.environ, "DAGSTER_HOME": str(home)},
        )
        finding = found(settings, "Web servers")
        bare.communicate(b"\n", timeout=20)
        assert finding.ok is ok
        assert (f"process {bare.pid} serves" in finding.seen) is not ok
