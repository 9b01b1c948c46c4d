"""One run of `retail-lakehouse dev`, from an empty state folder to live and to the end.

Belongs here: holding supervisor, steps, control socket and live probe together. Doesn't belong
here: terminals and signals (`commands/dev.py`), the parts themselves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Protocol

from retail_lakehouse.local.control import Action, ControlError, ControlServer, ProcessStatus
from retail_lakehouse.local.live import LiveProbe
from retail_lakehouse.local.stack import Stack
from retail_lakehouse.local.stack_settings import settings_file, write_settings
from retail_lakehouse.local.startup import StepReport, run_steps
from retail_lakehouse.local.supervisor import Supervisor
from retail_lakehouse.settings import Settings

logger = logging.getLogger(__name__)

_ACTIONS: Mapping[str, Action] = {"start": "start", "stop": "stop", "restart": "restart"}
_FETCHES_SECONDS = 4.0


class Display(Protocol):
    """What is told about the run; called from several threads."""

    def step(self, report: StepReport) -> None:
        """A step of the start changed its state."""

    def process(self, status: ProcessStatus) -> None:
        """A process changed its state."""


class DevSession:
    """Holds the state folder from `start` to `close`."""

    def __init__(self, settings: Settings, display: Display, *, with_simulator: bool) -> None:
        """Describe the run; nothing is started or written."""
        self.settings = settings
        self.started_ms = time.time() * 1000
        self.live_after_seconds: float | None = None
        self._display = display
        self._with_simulator = with_simulator
        self._phase = "starting"
        self._cancelled = threading.Event()
        self._stack = Stack(settings, with_simulator=with_simulator)
        self._supervisor = Supervisor(settings.root, self._stack.units(), display.process)
        self._control = ControlServer(settings.root, self._answer)
        self._probe = LiveProbe(settings, self.started_ms)

    def open(self) -> list[str]:
        """Take the state folder; returns the names of processes of a killed run that it ended.

        Raises:
            AlreadyRunningError: Another run holds the folder.
            StragglersError: A process of a killed run does not end.
        """
        found = self._supervisor.open()
        write_settings(self.settings)
        self._control.start()
        return found

    def start(self) -> None:
        """Bring everything up.

        Raises:
            StartError: A step failed.
            StartCancelledError: `cancel` was called.
        """
        run_steps(self._stack.steps(self._supervisor), self._display.step, self._cancelled)
        self._phase = "up"

    def cancel(self) -> None:
        """Break off the start; from any thread, but not from a signal's handler: it takes locks."""
        self._cancelled.set()
        self._stack.cancel()

    def hurry(self) -> None:
        """Wait for nobody any more while stopping; from any thread, not from a signal's handler."""
        self._supervisor.hurry()

    def check_live(self) -> bool:
        """Whether a figure of this start can be read; asked until it is, then remembered.

        Raises:
            WarehouseError: The warehouse does not answer.
        """
        if self.live_after_seconds is None and self._probe.is_live():
            self.live_after_seconds = time.time() - self.started_ms / 1000
            self._phase = "live"
        return self.live_after_seconds is not None

    def waiting_seconds(self) -> float | None:
        """How long the first figure of this start has been waited for; None if nothing is."""
        if self.live_after_seconds is not None or not self._with_simulator:
            return None
        return time.time() - self.started_ms / 1000

    def close(self) -> None:
        """Stop everything and leave no process.

        Raises:
            StragglersError: A process remains that even SIGKILL does not end.
        """
        self._phase = "stopping"
        self.cancel()
        with contextlib.ExitStack() as leaving:
            # In reverse, so the lock last: who waits for it makes a socket and settings of its own.
            leaving.callback(self._supervisor.release)
            leaving.callback(settings_file(self.settings.root).unlink, missing_ok=True)
            leaving.callback(self._control.close)
            self._stack.wait_for_fetches(_FETCHES_SECONDS)
            self._supervisor.stop()

    def _answer(self, action: str, request: Mapping[str, object]) -> object:
        if action == "ping":
            return "pong"
        if action == "about":
            return {
                "pid": os.getpid(),
                "started_at_ms": round(self.started_ms),
                "phase": self._phase,
                "live_after_seconds": self.live_after_seconds,
            }
        if action == "status":
            return {name: each.to_json() for name, each in self._supervisor.status().items()}
        if action in _ACTIONS:
            name = str(request.get("name", ""))
            return self._supervisor.request(_ACTIONS[action], name).to_json()
        raise ControlError(f"The supervisor knows no request {action!r}.")
