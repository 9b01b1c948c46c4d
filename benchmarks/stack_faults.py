"""What is broken in a running platform, as a fault would break it: kill -9 and lost folders.

Belongs here: the faults and their plan. Doesn't belong here: how the platform mends them.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from retail_lakehouse.local import processes
from retail_lakehouse.settings import Settings

_BATCH_WAIT_SECONDS = 30.0
_INTO_THE_BATCH_SECONDS = 0.3
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Inflicted:
    """A fault that was inflicted; `at` in seconds since 1970, `note` empty if all went as told."""

    what: str
    at: float
    note: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A planned fault; `planned_at` in seconds since 1970."""

    what: str
    planned_at: float
    how: Callable[[Settings], str]
    """Does it; what it returns is a remark, empty if all went as the words say."""

    def inflict(self, settings: Settings) -> Inflicted:
        """Does it, and notes when."""
        note = self.how(settings)
        return Inflicted(self.what, time.time(), note)


def planned_faults(begin: float, seconds: float) -> list[Fault]:
    """The faults of a run, spread over it so that each is recovered from before the next."""
    faults: list[tuple[str, Callable[[Settings], str]]] = [
        (
            "kill -9 of every process of the inventory job during a batch",
            lambda settings: kill_in_batch(settings, "inventory"),
        ),
        (
            "kill -9 of the transactions job's Python process alone during a batch",
            lambda settings: _kill_leader_in_batch(settings, "transactions"),
        ),
        ("kill -9 of the broker", lambda settings: _kill(settings, "broker")),
        ("kill -9 of the warehouse server", lambda settings: _kill(settings, "warehouse")),
        (
            "kill -9 of the clickstream job during a batch and deletion of its checkpoint",
            lambda settings: _lose_checkpoint(settings, "clickstream"),
        ),
    ]
    step = seconds / (len(faults) + 1)
    return [
        Fault(what, begin + step * number, how)
        for number, (what, how) in enumerate(faults, start=1)
    ]


def _kill(settings: Settings, name: str) -> str:
    processes.kill_session(processes.recorded(settings.root, [name])[name])
    return ""


def kill_in_batch(settings: Settings, event: str) -> str:
    """Kills every process of the event's job while a batch runs; a remark if none was seen."""
    note = _wait_for_batch(settings, event)
    _kill(settings, event)
    return note


def _kill_leader_in_batch(settings: Settings, event: str) -> str:
    note = _wait_for_batch(settings, event)
    psutil.Process(processes.recorded(settings.root, [event])[event].pid).kill()
    return note


def _lose_checkpoint(settings: Settings, event: str) -> str:
    folder = Path(settings.checkpoints) / event
    note = kill_in_batch(settings, event)
    # Renamed first: the supervisor starts the job again while the files are deleted.
    gone = folder.with_name(f"{event}.lost")
    folder.rename(gone)
    shutil.rmtree(gone)
    return note


def _wait_for_batch(settings: Settings, event: str) -> str:
    """Returns a moment after a batch has begun: its offsets are planned, and not committed."""
    checkpoint = Path(settings.checkpoints) / event
    deadline = time.monotonic() + _BATCH_WAIT_SECONDS
    before = _newest(checkpoint / "offsets")
    while time.monotonic() < deadline:
        planned = _newest(checkpoint / "offsets")
        if planned > before:
            time.sleep(_INTO_THE_BATCH_SECONDS)
            if _newest(checkpoint / "commits") < planned:
                return ""
            before = planned
        time.sleep(_POLL_SECONDS)
    return f"no batch was seen to begin in {_BATCH_WAIT_SECONDS:.0f} s"


def _newest(folder: Path) -> int:
    try:
        return max((int(f.name) for f in folder.iterdir() if f.name.isdigit()), default=-1)
    except FileNotFoundError:
        return -1
