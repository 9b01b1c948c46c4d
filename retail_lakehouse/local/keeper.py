"""One process kept as wished: started, watched, started again, stopped.

Belongs here: what a single supervised process is asked and what happens to it, told to the state
machine of `contracts/job_states.py`, and what that says done. Doesn't belong here: the machine's
table, all processes together (`supervisor.py`), how a session is spawned and ended
(`processes.py`).

A keeper is a thread that alone starts and stops its process, so that two requests never make two
processes; before each start the old session is ended completely.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from retail_lakehouse.contracts.job_states import JobAction, JobEvent, JobLife, Pace, Phase, step
from retail_lakehouse.local import processes
from retail_lakehouse.local.control import Action, ProcessState, ProcessStatus
from retail_lakehouse.local.process_record import ProcessRecord, read_record

logger = logging.getLogger(__name__)

DEFAULT_GRACE_SECONDS = 8.0
_POLL_SECONDS = 0.1
_STOP_AGAIN_SECONDS = 5.0
_ASKED: dict[Action, JobEvent] = {
    "start": JobEvent.START_ASKED,
    "stop": JobEvent.STOP_ASKED,
    "restart": JobEvent.RESTART_ASKED,
}
_ENDS = (
    JobEvent.RUN_DIED,
    JobEvent.RUN_KEPT_OUT,
    JobEvent.RUN_NEEDS_A_PERSON,
    JobEvent.RUN_STOPPED,
)
_STATES: dict[Phase, ProcessState] = {
    Phase.STOPPED: ProcessState.STOPPED,
    Phase.STARTING: ProcessState.STARTING,
    Phase.RUNNING: ProcessState.RUNNING,
    # Whether a process that lives does its work is seen from outside: by its commits, or by what
    # it says of a lease.
    Phase.STALLED: ProcessState.RUNNING,
    Phase.STANDING_ASIDE: ProcessState.RUNNING,
    Phase.STOPPING: ProcessState.STOPPING,
    Phase.RESTARTING: ProcessState.STOPPING,
    Phase.WAITING: ProcessState.WAITING,
    Phase.CRASH_LOOPING: ProcessState.CRASHING,
    Phase.GAVE_UP: ProcessState.HALTED,
    Phase.NEEDS_A_PERSON: ProcessState.HALTED,
    Phase.HANDING_OVER: ProcessState.STARTING,
}


class Unit(Protocol):
    """One process as its keeper sees it."""

    name: str
    stage: int
    """Lower stages are stopped first: 0 for what uses the others."""
    pace: Pace
    """How soon and how often it is started again when it dies."""

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

    def was_kept_out(self) -> bool:
        """Whether it ended because another process does its work."""


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
        kept_out_exit_codes: frozenset[int] = frozenset(),
        pace: Pace | None = None,
    ) -> None:
        """Describe the process.

        Args:
            root: The state folder.
            name: Its name in records, logs and requests.
            command: Gives the command line, anew for each start.
            stage: When it is stopped; lower stages first.
            before_start: Called between the end of the old process and the start.
            final_exit_codes: Exit codes that say that starting it again is no use.
            kept_out_exit_codes: Exit codes that say that another process does its work.
            pace: How soon and how often it is started again when it dies; for ever when not given.
        """
        self.name = name
        self.stage = stage
        self.pace = pace or Pace()
        self._root = root
        self._command = command
        self._before_start = before_start
        self._final_exit_codes = final_exit_codes
        self._kept_out_exit_codes = kept_out_exit_codes
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

    def was_kept_out(self) -> bool:
        """Whether its exit code is one of those that say so."""
        return self._process is not None and self._process.poll() in self._kept_out_exit_codes

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
        self._asked: deque[JobEvent] = deque()
        self._closing = False
        self._life = JobLife()
        self._message = ""
        self._started_at: float | None = None
        self._up_since = 0.0
        self._due_at = 0.0
        self._pause = 0.0
        self._restarts = 0
        self._died_before = False
        self._thread = threading.Thread(target=self._keep, name=unit.name, daemon=True)

    def begin(self) -> None:
        """Begin to keep the unit; it is stopped until asked for."""
        self._thread.start()

    def status(self) -> ProcessStatus:
        """Its state now."""
        with self._condition:
            return ProcessStatus(
                name=self.unit.name,
                state=_STATES[self._life.phase],
                pid=self.unit.pid(),
                started_at=self._started_at,
                restarts=self._restarts,
                message=self._message,
                log=str(self._log),
            )

    def ask(self, action: Action) -> None:
        """Wish for a state; the keeper follows in its own time, one wish after the other."""
        with self._condition:
            self._asked.append(_ASKED[action])
            self._condition.notify_all()

    def close(self) -> None:
        """Stop the unit and end the thread."""
        with self._condition:
            self._asked.append(JobEvent.STOP_ASKED)
            self._closing = True
            self._condition.notify_all()

    def wait_for(self, states: Iterable[ProcessState], timeout_seconds: float) -> bool:
        """Wait for one of the states with nothing left to do, or for the time to pass."""
        wished = frozenset(states)
        with self._condition:
            return self._condition.wait_for(
                lambda: _STATES[self._life.phase] in wished and not self._asked, timeout_seconds
            )

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the thread's end; True if it has ended."""
        self._thread.join(max(0.0, timeout_seconds))
        return not self._thread.is_alive()

    def _keep(self) -> None:
        while True:
            event, words = self._next_event()
            self._follow(event, words)
            with self._condition:
                ends = self._life.phase is Phase.STOPPED or not self._asked
                if self._closing and ends:
                    return

    def _next_event(self) -> tuple[JobEvent, str]:
        """Wait for what is asked, or for what happens by itself; with its sentence, if it has."""
        while True:
            with self._condition:
                self._condition.wait_for(lambda: bool(self._asked), self._patience_seconds())
                phase = self._life.phase
                if self._asked:
                    # Still in the queue while it is followed: who waits sees that it is not done.
                    return self._asked[0], ""
            if phase is Phase.RUNNING:
                seen = self._look()
                if seen is not None:
                    return seen
            elif time.monotonic() >= self._due_at:
                is_down = phase in (Phase.WAITING, Phase.CRASH_LOOPING)
                return (JobEvent.BACKOFF_OVER if is_down else JobEvent.STOP_OVERDUE), ""

    def _patience_seconds(self) -> float | None:
        """How long nothing happens by itself; None for ever."""
        phase = self._life.phase
        if phase is Phase.RUNNING:
            return _POLL_SECONDS
        if phase in (Phase.STOPPED, Phase.GAVE_UP, Phase.NEEDS_A_PERSON):
            return None
        return max(0.0, self._due_at - time.monotonic())

    def _look(self) -> tuple[JobEvent, str] | None:
        """What has happened to the process that should be running."""
        try:
            if self.unit.is_alive():
                steady = time.monotonic() - self._up_since > self.unit.pace.steady_after_seconds
                return (JobEvent.RUN_STEADY, "") if self._life.deaths and steady else None
            said = processes.last_words(self._log) or "no log"
            words = f"{self.unit.name} ended with {self.unit.last_exit()}: {said}"
            return self._death(), words
        except Exception as error:  # noqa: BLE001 - a thread that ended would keep nothing
            return JobEvent.RUN_DIED, self._warned(error)

    def _follow(self, event: JobEvent | None, words: str) -> None:
        """Tell the machine what happened, do what it says, and tell it what came of that."""
        while event is not None:
            with self._condition:
                self._life, action = step(self._life, event, self.unit.pace)
                self._pause = self.unit.pace.pause_seconds(
                    self._life.deaths, is_kept_out=event is JobEvent.RUN_KEPT_OUT
                )
                self._message = self._sentence(words)
                if event in _ENDS:
                    self._died_before = event is not JobEvent.RUN_STOPPED
                if action is JobAction.WAIT:
                    self._due_at = time.monotonic() + self._pause
                if self._asked and self._asked[0] is event:
                    self._asked.popleft()
                self._condition.notify_all()
            self._tell()
            if action is JobAction.ALERT:
                logger.error("%s: %s", self._life.phase, self._message)
            event, words = self._done(action)

    def _done(self, action: JobAction) -> tuple[JobEvent | None, str]:
        """Do it, and say what came of it."""
        if action is JobAction.START_RUN:
            return self._start_run()
        if action is JobAction.STOP_RUN:
            return self._stop_run()
        return None, ""

    def _start_run(self) -> tuple[JobEvent, str]:
        with self._condition:
            self._restarts += self._died_before
            self._died_before = False
        try:
            self.unit.start()
        except Exception as error:  # noqa: BLE001 - one that cannot start keeps no other from it
            return self._death(), self._warned(error)
        with self._condition:
            self._started_at, self._up_since = time.time(), time.monotonic()
        return JobEvent.RUN_UP, ""

    def _stop_run(self) -> tuple[JobEvent | None, str]:
        """End the process; one that does not end stays `stopping`, and is asked again."""
        try:
            self.unit.stop(self.grace_seconds, self.hurry)
        except Exception as error:  # noqa: BLE001 - a thread that ended would keep nothing
            logger.warning("%s did not stop: %s", self.unit.name, error)
            with self._condition:
                self._message = str(error) or repr(error)
                self._due_at = time.monotonic() + _STOP_AGAIN_SECONDS
                self._condition.notify_all()
            self._tell()
            return None, ""
        with self._condition:
            self._started_at = None
        return JobEvent.RUN_STOPPED, ""

    def _death(self) -> JobEvent:
        if self.unit.needs_a_person():
            return JobEvent.RUN_NEEDS_A_PERSON
        return JobEvent.RUN_KEPT_OUT if self.unit.was_kept_out() else JobEvent.RUN_DIED

    def _warned(self, error: Exception) -> str:
        # Whatever keeps one process from running is its own affair: the others go on, and the
        # sentence is shown.
        ours = isinstance(error, RuntimeError | OSError | ValueError)
        logger.warning("%s: %s", self.unit.name, error, exc_info=None if ours else error)
        return str(error) or repr(error)

    def _sentence(self, words: str) -> str:
        """Why it is not running, and what comes next; nothing while it runs or is stopped."""
        name, deaths, phase = self.unit.name, self._life.deaths, self._life.phase
        pause, log = self._pause, f"The whole log: {self._log}"
        if not words:
            return ""
        if phase is Phase.NEEDS_A_PERSON:
            return f"{words} Starting it again by itself is no use. {log}"
        if phase is Phase.GAVE_UP:
            return (
                f"{name} has died {deaths} times in a row and is not tried again by itself: mend "
                f"that, then start it. {words} {log}"
            )
        if phase is Phase.CRASH_LOOPING:
            return (
                f"{name} has died {deaths} times in a row and is tried again every {pause:g} s. "
                f"{words} {log}"
            )
        return f"{words} It is started again in {pause:g} s."

    def _tell(self) -> None:
        try:
            self._changed(self.status())
        except Exception:  # who is told must not end who keeps
            logger.exception("The state of %s could not be told.", self.unit.name)
