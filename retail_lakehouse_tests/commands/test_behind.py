"""What `dev --keep` ends when the platform did not get live."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from retail_lakehouse.commands import behind
from retail_lakehouse.local import processes

DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(300)
"""


def test_what_a_killed_supervisor_leaves_is_ended_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(behind, "_STOP_SECONDS", 0.2)
    sleeper = processes.Command([sys.executable, "-c", "import time; time.sleep(300)"])
    left = processes.spawn(tmp_path, "simulator", sleeper)
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"deaf\n"
        behind._stop(supervisor, tmp_path)
    assert left.wait(timeout=5) != 0
    assert "what it left has been ended: simulator." in capsys.readouterr().err
