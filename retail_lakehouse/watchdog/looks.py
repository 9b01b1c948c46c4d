"""What one look of the watchdog sees, as plain data.

Here: heartbeats, ticks, what the code server declares, the disk, the supervisor's word. Not here:
where it is read (`local/watchdog/`), what it means (`judge.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

UNREACHED_ERRORS = frozenset({"DagsterUserCodeUnreachableError", "DagsterCodeLocationLoadError"})
"""Names of Dagster's errors where the code server was not reached, or not in time."""


class TickerKind(StrEnum):
    """What ticks, by Dagster's name of the kind."""

    SENSOR = "SENSOR"
    SCHEDULE = "SCHEDULE"


class TickEnd(StrEnum):
    """How a tick ended."""

    WELL = "well"
    """Skipped, too: it said that there is nothing to do."""
    FAILED = "failed"
    UNREACHED = "unreached"
    """The code server was not reached in time: says nothing of the sensor's own code."""
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Beat:
    """The last heartbeat of one of the daemon's threads.

    `process_id`: Dagster's id of the daemon's process; threads of an earlier one keep theirs.
    """

    thread: str
    process_id: str
    at_ms: int
    error: str = ""
    """First line of the newest error that it carries."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick. `at_ms`: when it began."""

    id: int
    end: TickEnd
    at_ms: int
    error: str = ""
    """First line of the innermost error."""


@dataclass(frozen=True, slots=True)
class State:
    """What Dagster remembers of a sensor or schedule.

    `is_on`: None where its code says. `noted_ms`: when the scheduler noted that it looked.
    """

    kind: TickerKind
    name: str
    is_on: bool | None
    ticks: tuple[Tick, ...] = ()
    """The latest first, a few."""
    noted_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """A sensor or schedule in the code that is loaded now."""

    kind: TickerKind
    name: str
    is_on: bool
    """Unless somebody switched it."""
    interval_seconds: float = 0.0
    """Of a sensor."""


@dataclass(frozen=True, slots=True)
class History:
    """What Dagster's storage holds."""

    beats: tuple[Beat, ...] = ()
    states: tuple[State, ...] = ()


@dataclass(frozen=True, slots=True)
class CodeServer:
    """Whether the code server answers; what its code declares, None as long as that is not known.

    `why`: a sentence, where it does not.
    `is_broken`: it has come up, and says that its code cannot be loaded.
    """

    answers: bool
    why: str = ""
    declared: tuple[Declared, ...] | None = None
    is_broken: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of the state folder, for those who are not root."""

    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A process as its keeper has it: running, stopped on purpose, or neither."""

    is_running: bool
    is_stopped: bool
    message: str = ""
    up_seconds: float = float("inf")
    """Since it was started."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look. `at_seconds`: of a clock that nobody sets; `at_ms`: of the wall's.

    `history`, `disk`: None where they could not be read; `why_no_history` says why.
    """

    at_seconds: float
    at_ms: int
    code: CodeServer
    history: History | None
    why_no_history: str = ""
    disk: Disk | None = None
    daemon_kept: Kept | None = None
    code_kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """After how many seconds something stands still; below how much space the disk is full."""

    daemon_silent_seconds: float
    daemon_thread_silent_seconds: float
    code_server_silent_seconds: float
    code_server_loading_seconds: float
    sensor_silent_seconds: float
    sensor_silent_intervals: int
    sensor_failed_ticks: int
    schedule_silent_seconds: float
    disk_warning_free_mb: float
    disk_critical_free_mb: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What the watchdog knows from earlier looks; see `memory.py`."""

    looked_seconds: float | None = None
    alive_seconds: Mapping[str, float] = field(default_factory=dict)
    """By name, when it was last seen to be alive."""
    tokens: Mapping[str, object] = field(default_factory=dict)
    """By name, what changes with each sign of life."""
    failing: frozenset[str] = frozenset()
    """Names of what was judged to fail at the last look."""
    declared: tuple[Declared, ...] | None = None
    free: tuple[tuple[float, int], ...] = ()
    """Free bytes at earlier seconds, the oldest first."""
