"""`dev` on a stack of sleeping processes, as a program: `python -m ... fake_dev FOLDER [TROUBLE]`.

Belongs here: the stand-in for the stack. Doesn't belong here: what is expected of `dev`.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from retail_lakehouse.commands import dev
from retail_lakehouse.local import session
from retail_lakehouse.local.keeper import CommandUnit, Unit
from retail_lakehouse.local.processes import Command
from retail_lakehouse.local.startup import StartCancelledError, Step
from retail_lakehouse.local.supervisor import Supervisor
from retail_lakehouse.settings import Settings

SLEEPER = "import time; time.sleep(300)"
NAMES = ("one", "two")


class FakeStack:
    """Two sleeping processes; with the trouble `hanging`, a step that waits for ever."""

    trouble = ""

    def __init__(self, settings: Settings, *, with_simulator: bool = True) -> None:
        self._root = settings.root
        self._cancelled = threading.Event()

    def units(self) -> list[Unit]:
        command = Command([sys.executable, "-c", SLEEPER])
        return [CommandUnit(self._root, name, lambda: command) for name in NAMES]

    def steps(self, supervisor: Supervisor) -> list[Step]:
        def start(name: str) -> str:
            supervisor.request("start", name)
            return "sleeps"

        def hang() -> str:
            sys.stdout.write("hangs\n")
            self._cancelled.wait()
            raise StartCancelledError("The start was interrupted.")

        steps = [
            Step("one", "One", (), lambda: start("one")),
            Step("two", "Two", (), lambda: start("two")),
        ]
        if self.trouble == "hanging":
            steps.append(Step("three", "Three", ("one", "two"), hang))
        if self.trouble == "broken":
            steps.append(Step("three", "Three", ("one", "two"), lambda: str(1 / 0)))
        return steps

    def cancel(self) -> None:
        self._cancelled.set()

    def wait_for_fetches(self, seconds: float) -> None:
        """It fetches nothing."""


class FakeProbe:
    """Live after a moment, unless the trouble is `never-live`."""

    def __init__(self, settings: Settings, started_ms: float) -> None:
        self._until = time.time() + (3600 if FakeStack.trouble == "never-live" else 0.5)

    def is_live(self) -> bool:
        return time.time() > self._until


def main(root: Path, trouble: str, live_timeout: float | None) -> int:
    FakeStack.trouble = trouble
    vars(session).update(Stack=FakeStack, LiveProbe=FakeProbe)
    settings = Settings.load({"state_dir": root})
    return int(dev._run(settings, live_timeout, with_simulator=False))


if __name__ == "__main__":
    given = [*sys.argv[2:], ""]
    sys.exit(main(Path(sys.argv[1]), given[0], float(given[1]) if len(given) > 2 else None))
