"""One process kept as wished: started, watched, started again, stopped.

Belongs here: the life of a single supervised process. Doesn't belong here: all of them together
(`supervisor.py`), how a session is spawned and ended (`processes.py`).

A keeper is a thread that alone starts and stops its process, so that two requests never make two
processes; before each start the old session is ended completely.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from retail_lakehouse.local import processes
from retail_lakehouse.local.control import Action, ProcessState, ProcessStatus
from retail_lakehouse.local.process_record import ProcessRecord, read_record

logger = logging.getLogger(__name__)

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
STEADY_AFTER_SECONDS = 60.0
"""A process that lived so long starts with the shortest pause again when it dies."""
CRASH_LOOP_DEATHS = 3
DEFAULT_GRACE_SECONDS = 8.0
_POLL_SECONDS = 0.1
_UP = (ProcessState.STARTING, ProcessState.RUNNING)
_DOWN = (ProcessState.WAITING, ProcessState.CRASHING, ProcessState.HALTED)


class Unit(Protocol):
    """One process as its keeper sees it."""

    name: str
    stage: int
    """Lower stages are stopped first: 0 for what uses the others."""

    def start(self) -> None:
        """Start it, after ending what is left of the one before."""

    def is_alive(self) -> bool:
        """Whether its process lives."""

    def stop(self, grace_seconds: float, hurry: threading.Event) -> None:
        """End it and all its children."""

    def pid(self) -> int | None:
        """The process id, or None."""

    def last_exit(self) -> str:
        """How it ended, for a sentence: `exit code 1`."""

    def needs_a_person(self) -> bool:
        """Whether it ended in a way that starting it again cannot mend."""


class CommandUnit:
    """A process that is started by a command line."""

    def __init__(
        self,
        root: Path,
        name: str,
        command: Callable[[], processes.Command],
        *,
        stage: int = 0,
        before_start: Callable[[], None] | None = None,
        final_exit_codes: frozenset[int] = frozenset(),
    ) -> None:
        """Describe the process.

        Args:
            root: The state folder.
            name: Its name in records, logs and requests.
            command: Gives the command line, anew for each start.
            stage: When it is stopped; lower stages first.
            before_start: Called between the end of the old process and the start.
            final_exit_codes: Exit codes that say that starting it again is no use.
        """
        self.name = name
        self.stage = stage
        self._root = root
        self._command = command
        self._before_start = before_start
        self._final_exit_codes = final_exit_codes
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, after ending what is left of the one before.

        Raises:
            OSError: The program cannot be started.
        """
        # How the one before ended says nothing of a start that fails.
        self._process = None
        old = self._record()
        if old is not None:
            processes.end_session(old, grace_seconds=2.0)
        if self._before_start is not None:
            self._before_start()
        self._process = processes.spawn(self._root, self.name, self._command())

    def is_alive(self) -> bool:
        """Whether the session's leader lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self, grace_seconds: float, hurry: threading.Event) -> None:
        """End the whole session and forget it."""
        record = self._record()
        if record is not None:
            processes.end_session(record, grace_seconds, hurry)
        if self._process is not None:
            self._process.poll()
        processes.record_path(self._root, self.name).unlink(missing_ok=True)

    def pid(self) -> int | None:
        """The leader's process id while it lives."""
        return self._process.pid if self._process is not None and self.is_alive() else None

    def last_exit(self) -> str:
        """The exit code, or the signal's name."""
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return "no exit code"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def needs_a_person(self) -> bool:
        """Whether its exit code is one of the final ones."""
        return self._process is not None and self._process.poll() in self._final_exit_codes

    def _record(self) -> ProcessRecord | None:
        return read_record(processes.record_path(self._root, self.name))


class Keeper:
    """Keeps one unit as wished: running or stopped."""

    def __init__(self, root: Path, unit: Unit, changed: Callable[[ProcessStatus], None]) -> None:
        """Describe the keeper; its thread begins with `begin`.

        Args:
            root: The state folder.
            unit: What is kept.
            changed: Told each new state, from the keeper's thread.
        """
        self.unit = unit
        self.hurry = threading.Event()
        self.grace_seconds = DEFAULT_GRACE_SECONDS
        self._log = processes.log_path(root, unit.name)
        self._changed = changed
        self._condition = threading.Condition()
        self._wanted = False
        self._restart = False
        self._closing = False
        self._state = ProcessState.STOPPED
        self._message = ""
        self._started_at: float | None = None
        self._restarts = 0
        self._died_before = False
        self._deaths = 0
        self._thread = threading.Thread(target=self._keep, name=unit.name, daemon=True)

    def begin(self) -> None:
        """Begin to keep the unit; it is stopped until asked for."""
        self._thread.start()

    def status(self) -> ProcessStatus:
        """Its state now."""
        with self._condition:
            return ProcessStatus(
                name=self.unit.name,
                state=self._state,
                pid=self.unit.pid(),
                started_at=self._started_at,
                restarts=self._restarts,
                message=self._message,
                log=str(self._log),
            )

    def ask(self, action: Action) -> None:
        """Wish for a state; the keeper follows in its own time."""
        with self._condition:
            if action == "stop":
                # A restart that nothing follows any more would be waited for.
                self._wanted = self._restart = False
            else:
                # A start that overtakes a stop comes after it. To ask for the start of what waits
                # for its next try is to end the waiting.
                overtakes = not self._wanted and self._state in _UP
                waits = self._state in _DOWN
                if action == "restart" or overtakes or waits:
                    self._restart = True
                self._wanted = True
                self._deaths = 0
            self._condition.notify_all()

    def close(self) -> None:
        """Stop the unit and end the thread."""
        with self._condition:
            self._wanted, self._closing = False, True
            self._condition.notify_all()

    def wait_for(self, states: Iterable[ProcessState], timeout_seconds: float) -> bool:
        """Wait for one of the states with nothing left to do, or for the time to pass."""
        wished = frozenset(states)
        with self._condition:
            return self._condition.wait_for(
                lambda: self._state in wished and not self._restart, timeout_seconds
            )

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the thread's end; True if it has ended."""
        self._thread.join(max(0.0, timeout_seconds))
        return not self._thread.is_alive()

    def _keep(self) -> None:
        while self._is_wanted():
            try:
                self._start()
                died = self._watch()
            except Exception as error:
                # Whatever keeps one process from starting is its own affair: the others go on, and
                # the sentence is shown.
                ours = isinstance(error, RuntimeError | OSError | ValueError)
                logger.warning("%s: %s", self.unit.name, error, exc_info=not ours)
                died = str(error) or repr(error)
            if died is None:
                self._stop()
            else:
                self._died(died)
                self._pause()
        self._stop()

    def _is_wanted(self) -> bool:
        """Wait for the wish that it runs; False once the end was asked for."""
        with self._condition:
            self._condition.wait_for(lambda: self._wanted or self._closing)
            return not self._closing

    def _start(self) -> None:
        with self._condition:
            self._restart = False
            self._restarts += self._died_before
            self._died_before = False
            self._state, self._message = ProcessState.STARTING, ""
            self._condition.notify_all()
        self._tell()
        self.unit.start()
        with self._condition:
            self._started_at = time.time()
        self._set(ProcessState.RUNNING)

    def _watch(self) -> str | None:
        """Wait for the process's end: how it died, or None if it is asked to end."""
        began = time.monotonic()
        while True:
            with self._condition:
                self._condition.wait(_POLL_SECONDS)
                if not self._wanted or self._restart:
                    return None
            if not self.unit.is_alive():
                break
            if self._deaths and time.monotonic() - began > STEADY_AFTER_SECONDS:
                self._deaths = 0
                self._set(ProcessState.RUNNING)
        tail = " / ".join(processes.log_tail(self._log, lines=3))
        return f"{self.unit.name} ended with {self.unit.last_exit()}: {tail or 'no log'}"

    def _died(self, message: str) -> None:
        self._died_before = True
        if self.unit.needs_a_person():
            self._set(
                ProcessState.HALTED,
                f"{message} Starting it again by itself is no use. The whole log: {self._log}",
            )
            return
        self._deaths += 1
        pause = self._pause_seconds()
        if self._deaths >= CRASH_LOOP_DEATHS:
            self._set(
                ProcessState.CRASHING,
                f"{self.unit.name} has died {self._deaths} times in a row and is tried again every "
                f"{pause:g} s. {message} The whole log: {self._log}",
            )
        else:
            self._set(ProcessState.WAITING, f"{message} It is started again in {pause:g} s.")

    def _pause_seconds(self) -> float:
        return BACKOFF_SECONDS[min(max(self._deaths, 1), len(BACKOFF_SECONDS)) - 1]

    def _pause(self) -> None:
        with self._condition:
            halted = self._state is ProcessState.HALTED
            self._condition.wait_for(
                lambda: not self._wanted or self._restart,
                None if halted else self._pause_seconds(),
            )
            wanted = self._wanted
        if not wanted:
            self._stop()

    def _stop(self) -> None:
        """End the process; one that does not end stays `stopping`, and is ended before a start."""
        if self._state is ProcessState.STOPPED:
            return
        self._set(ProcessState.STOPPING)
        try:
            self.unit.stop(self.grace_seconds, self.hurry)
        except Exception as error:  # noqa: BLE001 - a thread that ended would keep nothing
            logger.warning("%s did not stop: %s", self.unit.name, error)
            self._set(ProcessState.STOPPING, str(error) or repr(error))
            return
        with self._condition:
            self._started_at = None
            self._died_before = False
        self._set(ProcessState.STOPPED)

    def _set(self, state: ProcessState, message: str = "") -> None:
        with self._condition:
            self._state, self._message = state, message
            self._condition.notify_all()
        self._tell()

    def _tell(self) -> None:
        try:
            self._changed(self.status())
        except Exception:  # who is told must not end who keeps
            logger.exception("The state of %s could not be told.", self.unit.name)
