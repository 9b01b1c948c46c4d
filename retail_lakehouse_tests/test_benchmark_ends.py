"""Rules of benchmarks that end before their time: what they have started is ended."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import first_start, long_run
from benchmarks.long_run_report import LongRun
from retail_lakehouse.settings import Settings


class Recorder:
    """Stands for the recorder of digests."""

    looks, unchanged = 7, 2

    def __init__(self, _: Settings) -> None:
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")


def test_a_run_that_breaks_off_stops_its_recorder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    recorder = Recorder(settings)

    def broken(*_: Any) -> None:
        raise OSError("no such process")

    monkeypatch.setattr(long_run, "DigestRecorder", lambda _: recorder)
    monkeypatch.setattr(long_run, "_watch", broken)
    run = LongRun({}, 4, 300, [])
    with pytest.raises(OSError, match="no such process"):
        long_run._record(run, settings, {}, argparse.Namespace())
    assert recorder.calls == ["start", "stop"]
    assert (run.digest_looks, run.digests_unchanged) == (7, 2)


def test_a_first_start_that_is_cut_short_stops_its_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def seconds(command: list[str], *_: Any) -> float:
        called.append(command[1])
        if command == first_start.START:
            raise KeyboardInterrupt
        return 1.0

    done = subprocess.CompletedProcess[bytes]([], 0)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(first_start, "machine", dict)
    monkeypatch.setattr(first_start, "_seconds", seconds)
    with pytest.raises(KeyboardInterrupt):
        first_start.main()
    assert called == ["sync", "dev", "stop"]


def test_a_first_start_takes_no_uv_setting_and_no_python_path_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    environment = first_start._environment(tmp_path / "home")
    assert "/elsewhere" not in environment.values()
    assert environment["HOME"] == str(tmp_path / "home")
    assert not first_start._has_uv(environment | {"PATH": str(tmp_path)})
