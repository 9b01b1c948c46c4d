"""Each look says well or not, what it saw, and the fix."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from retail_lakehouse.local import doctor, ports
from retail_lakehouse.local.doctor import Finding, examine
from retail_lakehouse.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    names = ("broker_port", "controller_port", "warehouse_port", "dagster_port")
    return Settings.load({"state_dir": tmp_path, **{name: ports.free_port() for name in names}})


def found(settings: Settings, subject: str) -> Finding:
    return next(each for each in examine(settings) if each.subject == subject)


def test_this_environment_is_as_pinned(settings: Settings) -> None:
    for subject in ("Python", "Packages", "Java", "State folder", "Processes"):
        assert found(settings, subject).ok, found(settings, subject)


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
    (folder / "a.jar").write_bytes(b"12")
    finding = found(settings, "Jars")
    assert not finding.ok
    assert str(folder) in finding.fix


def test_an_interrupted_fetch_is_a_problem(settings: Settings) -> None:
    (settings.cache / "jars" / "spark-0123.partial").mkdir(parents=True)
    assert found(settings, "Jars").seen == "a fetch was interrupted"


def test_too_little_room_is_a_problem(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_NEEDED_BYTES", 2**80)
    monkeypatch.setattr(doctor, "MEMORY_NEEDED_BYTES", 2**80)
    assert not found(settings, "Disk").ok
    assert not found(settings, "Memory").ok
