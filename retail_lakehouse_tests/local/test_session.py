"""The end of a run: no helper of an interrupted start stays."""

from __future__ import annotations

import subprocess
import threading

import psutil  # type: ignore[import-untyped]

from retail_lakehouse.local.session import _end_helpers


def test_a_helper_that_is_started_again_after_its_end_is_ended_too() -> None:
    first = subprocess.Popen(["/bin/sleep", "300"])
    second: list[subprocess.Popen[bytes]] = []

    def again() -> None:
        first.wait()
        second.append(subprocess.Popen(["/bin/sleep", "300"]))

    retry = threading.Thread(target=again)
    retry.start()
    _end_helpers({})
    retry.join()
    # Collected already by whoever ended it, so its exit code tells nothing.
    assert not psutil.pid_exists(second[0].pid)
