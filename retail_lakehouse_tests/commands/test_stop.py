"""What `stop` ends, and whom it leaves alone."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.local.state_folder import Role, hold, holder

HOLDER = """
import sys, time
from pathlib import Path
from retail_lakehouse.local.state_folder import hold
lock = hold(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
time.sleep(300)
"""


def _other(root: Path, role: Role) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), role], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_running_dev_is_asked_to_end(tmp_path: Path) -> None:
    with _other(tmp_path, "dev") as process:
        threading.Thread(target=process.wait, daemon=True).start()
        answer = CliRunner().invoke(app, ["stop", "--state-dir", str(tmp_path)])
    assert answer.exit_code == 0
    assert "Stopped what ran on" in answer.output
    assert holder(tmp_path) is None


@pytest.mark.parametrize("role", ["stop", "reset"])
def test_another_stop_or_a_reset_is_waited_for_and_gets_no_signal(
    tmp_path: Path, role: Role
) -> None:
    lock = hold(tmp_path, role)
    # A signal would end the tests themselves.
    threading.Timer(0.5, lock.close).start()
    began = time.monotonic()
    answer = CliRunner().invoke(app, ["stop", "--state-dir", str(tmp_path)])
    assert time.monotonic() - began >= 0.5
    assert answer.exit_code == 0
    assert "Nothing runs on" in answer.output
