"""Steps that depend on one another, run side by side where they don't.

Belongs here: the order and its reporting. Doesn't belong here: what the steps do (`stack.py`).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class StepState(StrEnum):
    """Where a step is."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it is called, what must be done before it, and what it does.

    The action returns a few words about its result, for the display.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    action: Callable[[], str]


@dataclass(frozen=True, slots=True)
class StepReport:
    """A step's change of state; `seconds` is how long it took so far."""

    name: str
    title: str
    state: StepState
    detail: str
    seconds: float


class StartError(RuntimeError):
    """A step failed; the sentence says which and why."""


class StartCancelledError(RuntimeError):
    """The start was interrupted."""


def run_steps(
    steps: Sequence[Step],
    report: Callable[[StepReport], None],
    cancelled: threading.Event,
    poll_seconds: float = 0.1,
) -> None:
    """Run every step as soon as those that it needs are done.

    A step that is running when the start is cancelled is left to end by itself: it holds nothing
    that the end of the processes does not release.

    Raises:
        StartError: A step failed.
        StartCancelledError: `cancelled` was set.
    """
    known = {step.name for step in steps}
    for step in steps:
        if not known.issuperset(step.needs):
            raise StartError(f"The step {step.name} needs a step that doesn't exist.")
    for step in steps:
        report(StepReport(step.name, step.title, StepState.PENDING, "", 0.0))
    waiting = list(steps)
    done: set[str] = set()
    running: dict[str, float] = {}
    ended: queue.SimpleQueue[tuple[Step, str, Exception | None]] = queue.SimpleQueue()
    while waiting or running:
        if cancelled.is_set():
            raise StartCancelledError("The start was interrupted.")
        ready = [step for step in waiting if done.issuperset(step.needs)]
        waiting = [step for step in waiting if step not in ready]
        for step in ready:
            report(StepReport(step.name, step.title, StepState.RUNNING, "", 0.0))
            running[step.name] = time.monotonic()
            # Daemons: a download that is under way must not hold up the program's end.
            threading.Thread(target=_run, args=(step, ended), name=step.name, daemon=True).start()
        if not running:
            left = ", ".join(step.name for step in waiting)
            raise StartError(f"The steps {left} wait for one another.")
        try:
            step, detail, error = ended.get(timeout=poll_seconds)
        except queue.Empty:
            continue
        seconds = time.monotonic() - running.pop(step.name)
        if error is not None:
            report(StepReport(step.name, step.title, StepState.FAILED, str(error), seconds))
            _raise(step, error)
        report(StepReport(step.name, step.title, StepState.DONE, detail, seconds))
        done.add(step.name)


def _run(step: Step, ended: queue.SimpleQueue[tuple[Step, str, Exception | None]]) -> None:
    try:
        detail = step.action()
    except Exception as error:  # noqa: BLE001 - handed to the thread that waits, and raised there
        ended.put((step, "", error))
    else:
        ended.put((step, detail, None))


def _raise(step: Step, error: Exception) -> None:
    if isinstance(error, StartCancelledError):
        raise error
    if type(error).__module__.startswith("retail_lakehouse."):
        raise StartError(f"{step.title}: {error}") from error
    raise error
