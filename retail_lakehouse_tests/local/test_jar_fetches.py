"""The jars of one run: each kind fetched once, a failure not remembered, the end waited for."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from retail_lakehouse.local import jars
from retail_lakehouse.local.jar_fetches import JarFetches
from retail_lakehouse.local.java import JavaHome
from retail_lakehouse.local.startup import StartCancelledError

JAVA = JavaHome(Path("/nowhere"), "JAVA_HOME", "17")


def _cached(cache: Path, kind: jars.JarKind) -> Path:
    """A jar of the kind in the cache, so that asking for it fetches nothing."""
    folder = cache / "jars" / f"{kind}-{jars._fingerprint(kind)}"
    folder.mkdir(parents=True)
    (folder / "a-1.jar").write_bytes(b"a")
    (folder / "manifest.json").write_text('{"bytes_by_jar": {"a-1.jar": 1}}')
    return folder / "a-1.jar"


def test_each_kind_is_asked_for_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def java() -> JavaHome:
        asked.append("java")
        return JAVA

    fetches = JarFetches(tmp_path, java, threading.Event())
    jar = {kind: _cached(tmp_path, kind) for kind in jars.COORDINATES}
    for _ in range(2):
        assert fetches.get("broker") == [jar["broker"]]
        assert fetches.get("spark") == [jar["spark"]]
    assert asked == ["java"] * 2


def test_a_fetch_that_failed_is_tried_again_when_asked_again(tmp_path: Path) -> None:
    fetches = JarFetches(tmp_path, lambda: JAVA, threading.Event())
    with pytest.raises(jars.JarsUnavailableError):
        fetches.get("broker")
    jar = _cached(tmp_path, "broker")
    assert fetches.get("broker") == [jar]


def test_a_fetch_is_waited_for_until_it_has_ended_and_no_longer_than_wished(tmp_path: Path) -> None:
    program = tmp_path / "jdk" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/begun'\nexec sleep 30\n")
    program.chmod(0o755)
    cancelled = threading.Event()
    home = JavaHome(tmp_path / "jdk", "JAVA_HOME", "17")
    fetches = JarFetches(tmp_path / "cache", lambda: home, cancelled)
    fetches.wait(10)
    ended: list[str] = []

    def fetch() -> None:
        with pytest.raises(StartCancelledError):
            fetches.get("broker")
        ended.append("broken off")

    fetching = threading.Thread(target=fetch)
    fetching.start()
    deadline = time.monotonic() + 10
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    began = time.monotonic()
    fetches.wait(0.2)
    assert 0.2 <= time.monotonic() - began < 5
    assert fetching.is_alive()
    cancelled.set()
    fetches.wait(10)
    fetching.join(5)
    assert ended == ["broken off"]
    began = time.monotonic()
    fetches.wait(10)
    assert time.monotonic() - began < 5
