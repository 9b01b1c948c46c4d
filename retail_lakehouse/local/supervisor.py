"""The supervisor: holds the state folder and keeps its processes; stops them all for certain.

Belongs here: the processes together: requests, the end of all, what a killed supervisor left.
Doesn't belong here: the life of one process (`keeper.py`), which processes there are
(`stack_units.py`), in which order they come (`stack.py`), who holds the folder
(`state_folder.py`), how others ask (`control.py`). It is the only spawner.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from retail_lakehouse.local import processes
from retail_lakehouse.local.control import Action, ControlError, ProcessState, ProcessStatus
from retail_lakehouse.local.keeper import Keeper, Unit
from retail_lakehouse.local.process_record import ProcessRecord, read_record
from retail_lakehouse.local.state_folder import Hold, hold

logger = logging.getLogger(__name__)

STOP_DEADLINE_SECONDS = 12.0
_ROTATE_EVERY_SECONDS = 10.0

# What ends the wait for a stop or a start, and what of it is no error. A start may take longer.
_AFTER_STOP = (ProcessState.STOPPED,), (ProcessState.STOPPED,)
_AFTER_START = (
    (
        ProcessState.RUNNING,
        ProcessState.WAITING,
        ProcessState.CRASHING,
        ProcessState.HALTED,
    ),
    (ProcessState.RUNNING, ProcessState.STARTING),
)


class Supervisor:
    """Holds the state folder and keeps its processes."""

    def __init__(
        self,
        root: Path,
        units: Sequence[Unit],
        changed: Callable[[ProcessStatus], None] = lambda status: None,
    ) -> None:
        """Describe the supervisor; nothing is started or written.

        Args:
            root: The state folder.
            units: What it may run.
            changed: Told each new state of a process, from that process's keeper.
        """
        self._root = root
        self._keepers: Mapping[str, Keeper] = {
            unit.name: Keeper(root, unit, changed) for unit in units
        }
        self._lock: Hold | None = None
        self._closed = threading.Event()

    def open(self) -> list[str]:
        """Take the state folder and end what a killed supervisor left in it.

        Returns:
            The names of the processes that were found running and ended.

        Raises:
            AlreadyRunningError: Another supervisor holds the folder; with its process id.
            StragglersError: A process that was found does not end.
        """
        self._lock = hold(self._root, "dev")
        found = end_recorded(self._root, self._keepers, grace_seconds=5.0)
        for keeper in self._keepers.values():
            keeper.begin()
        threading.Thread(target=self._rotate, name="logs", daemon=True).start()
        return found

    def status(self) -> dict[str, ProcessStatus]:
        """Every process, by name."""
        return {name: keeper.status() for name, keeper in self._keepers.items()}

    def request(self, action: Action, name: str, timeout_seconds: float = 45.0) -> ProcessStatus:
        """Start, stop or restart a process and wait until that is done.

        Raises:
            ControlError: There is no such process, or it did not get there in time.
        """
        keeper = self._keepers.get(name)
        if keeper is None:
            known = ", ".join(self._keepers)
            raise ControlError(f"There is no process {name!r}. Those there are: {known}.")
        if self._closed.is_set():
            raise ControlError("The supervisor is stopping everything.")
        keeper.ask(action)
        wished, accepted = _AFTER_STOP if action == "stop" else _AFTER_START
        keeper.wait_for(wished, timeout_seconds)
        status = keeper.status()
        if status.state not in accepted:
            late = (
                f"{name} is {status.state.value} after {timeout_seconds:.0f} s. See {status.log}."
            )
            raise ControlError(status.message or late)
        return status

    def ask(self, action: Action, name: str) -> None:
        """Wish for a process's state without waiting for it."""
        self._keepers[name].ask(action)

    def close(self, deadline_seconds: float = STOP_DEADLINE_SECONDS) -> None:
        """Stop everything and leave the folder to others.

        Raises:
            StragglersError: Processes remain that even SIGKILL does not end.
        """
        try:
            self.stop(deadline_seconds)
        finally:
            self.release()

    def stop(self, deadline_seconds: float = STOP_DEADLINE_SECONDS) -> None:
        """Stop everything, stage by stage, and see that nothing is left; the folder stays held.

        Raises:
            StragglersError: Processes remain that even SIGKILL does not end.
        """
        self._closed.set()
        try:
            self._stop_stages(time.monotonic() + deadline_seconds)
            self.kill()
        finally:
            for keeper in self._keepers.values():
                keeper.join(2.0)

    def release(self) -> None:
        """Leave the folder to others: the last that is done with it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _stop_stages(self, end: float) -> None:
        for keeper in self._keepers.values():
            # What is down already must not be tried again while the others are being stopped.
            if keeper.status().state not in (ProcessState.RUNNING, ProcessState.STOPPING):
                self._kill_starting(keeper)
                keeper.close()
        stages = sorted({keeper.unit.stage for keeper in self._keepers.values()})
        for position, stage in enumerate(stages):
            members = [each for each in self._keepers.values() if each.unit.stage == stage]
            # What remains is shared out, so that an early stage cannot use up a later one's time.
            left = (end - time.monotonic()) * (0.7 if position + 1 < len(stages) else 1.0)
            stage_end = time.monotonic() + max(0.0, left)
            for keeper in members:
                keeper.grace_seconds = max(0.0, left - 0.5)
                keeper.close()
            for keeper in members:
                if not keeper.join(stage_end - time.monotonic()):
                    keeper.hurry.set()

    def hurry(self) -> None:
        """Wait for nobody any more while stopping; from any thread, not from a signal's handler."""
        for keeper in self._keepers.values():
            keeper.hurry.set()

    def kill(self) -> None:
        """End everything at once, without asking.

        Raises:
            StragglersError: Processes remain that even SIGKILL does not end.
        """
        self._closed.set()
        self.hurry()
        for keeper in self._keepers.values():
            keeper.close()
        _end_each(self._root, self._keepers, processes.kill_session)

    def _kill_starting(self, keeper: Keeper) -> None:
        """A start that is waiting for an answer would hold up the stop, and has no client yet."""
        if keeper.status().state is ProcessState.STARTING:
            record = read_record(processes.record_path(self._root, keeper.unit.name))
            if record is not None:
                # What stays is tried once more, and told, when all the others have ended.
                with contextlib.suppress(processes.StragglersError):
                    processes.kill_session(record)

    def _rotate(self) -> None:
        growing: set[str] = set()
        while not self._closed.wait(_ROTATE_EVERY_SECONDS):
            for name in self._keepers:
                log = processes.log_path(self._root, name)
                try:
                    processes.rotate_log(log)
                except OSError as error:
                    # Once is enough: the next look is seconds away, and finds the disk as full.
                    if name not in growing:
                        growing.add(name)
                        logger.warning(
                            "The log %s cannot be moved aside and goes on growing: %s. Free disk "
                            "space, or make the folder writable.",
                            log,
                            error,
                        )
                else:
                    growing.discard(name)


def end_recorded(root: Path, names: Iterable[str], grace_seconds: float) -> list[str]:
    """End the processes of earlier supervisors that still run, all at once; forget their records.

    Returns:
        The names of those that were found.

    Raises:
        StragglersError: One of them does not end.
    """
    names = tuple(names)
    processes.adopt_unrecorded(root, names)
    records = processes.recorded(root, names)
    found = {name: record for name, record in records.items() if processes.session_members(record)}
    for record in found.values():
        with contextlib.suppress(ProcessLookupError):
            if record.is_alive():
                os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    _end_each(
        root,
        records,
        lambda record: processes.end_session(record, max(0.0, deadline - time.monotonic())),
    )
    return sorted(found)


def _end_each(root: Path, names: Iterable[str], end: Callable[[ProcessRecord], object]) -> None:
    """End all recorded processes before saying which did not; those keep their records.

    Raises:
        StragglersError: Some do not end.
    """
    stayed = []
    for name, record in processes.recorded(root, names).items():
        try:
            end(record)
        except processes.StragglersError as error:
            stayed.append(f"{name}: {error}")
        else:
            processes.record_path(root, name).unlink(missing_ok=True)
    if stayed:
        raise processes.StragglersError(" ".join(stayed))
