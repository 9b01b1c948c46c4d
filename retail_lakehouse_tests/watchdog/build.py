"""What the watchdog's tests are made of: a platform that is well, and looks at it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from retail_lakehouse.alerts.incidents import Seen
from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.judge import Judged, judge, limits_of
from retail_lakehouse.watchdog.looks import (
    Beat,
    CodeServer,
    Declared,
    Disk,
    History,
    Kept,
    Limits,
    Look,
    Memory,
    State,
    Tick,
    TickEnd,
    TickerKind,
)

START_MS = 1_795_000_000_000
GIB = 1024**3
WELL_THREADS = ("SENSOR", "SCHEDULER", "ASSET")
LIMITS: Limits = limits_of(Settings.load({}))
RUNNING = Kept(is_running=True, is_stopped=False)
STOPPED = Kept(is_running=False, is_stopped=True)
SENSOR = Declared(TickerKind.SENSOR, "send_alerts", is_on=True, interval_seconds=15.0)
SCHEDULE = Declared(TickerKind.SCHEDULE, "keep_warm", is_on=True)


def ticks(*ends: TickEnd, first_id: int = 1, error: str = "ValueError: no") -> tuple[Tick, ...]:
    """The latest first, 15 s apart, the oldest at the start."""
    made = [
        Tick(
            first_id + place,
            end,
            START_MS + (first_id + place) * 15_000,
            error if end in (TickEnd.FAILED, TickEnd.UNREACHED) else "",
        )
        for place, end in enumerate(ends)
    ]
    return tuple(reversed(made))


@dataclass
class Platform:
    """A platform and its watchdog; `run` lets time pass, 10 s a look."""

    now_seconds: float = 1000.0
    beats: bool = True
    process_id: str = "one"
    thread_errors: dict[str, str] = field(default_factory=dict)
    silent_threads: set[str] = field(default_factory=set)
    sensor_ticks: bool = True
    sensor_end: TickEnd = TickEnd.WELL
    sensor_is_on: bool | None = None
    declared: tuple[Declared, ...] = (SENSOR, SCHEDULE)
    code_answers: bool = True
    code_is_broken: bool = False
    history_readable: bool = True
    scheduler_notes: bool = True
    schedule_ticks: tuple[Tick, ...] = ()
    free_bytes: int = 100 * GIB
    daemon_kept: Kept | None = None
    code_kept: Kept | None = None
    limits: Limits = LIMITS
    memory: Memory = field(default_factory=Memory)
    known: frozenset[str] = frozenset()
    seen: tuple[Seen, ...] = ()
    _beats: dict[str, Beat] = field(default_factory=dict)
    _ticks: tuple[Tick, ...] = ()
    _noted_ms: int = START_MS

    @property
    def now_ms(self) -> int:
        return START_MS + round((self.now_seconds - 1000) * 1000)

    def look(self) -> Look:
        if self.beats:
            for thread in set(WELL_THREADS) - self.silent_threads:
                error = self.thread_errors.get(thread, "")
                self._beats[thread] = Beat(thread, self.process_id, self.now_ms, error)
        if self.sensor_ticks:
            number = self._ticks[0].id + 1 if self._ticks else 1
            error = "" if self.sensor_end is TickEnd.WELL else "ValueError: no"
            tick = Tick(number, self.sensor_end, self.now_ms, error)
            self._ticks = (tick, *self._ticks)[:6]
        if self.scheduler_notes:
            self._noted_ms = self.now_ms // 3_600_000 * 3_600_000
        states = (
            State(TickerKind.SENSOR, SENSOR.name, self.sensor_is_on, self._ticks),
            State(TickerKind.SCHEDULE, SCHEDULE.name, None, self.schedule_ticks, self._noted_ms),
        )
        return Look(
            at_seconds=self.now_seconds,
            at_ms=self.now_ms,
            code=CodeServer(
                self.code_answers,
                "" if self.code_answers else "It answered UNAVAILABLE.",
                self.declared,
                self.code_is_broken,
            ),
            history=History(tuple(self._beats.values()), states) if self.history_readable else None,
            why_no_history="" if self.history_readable else "runs.db cannot be read (locked).",
            disk=Disk(self.free_bytes, 200 * GIB),
            daemon_kept=self.daemon_kept,
            code_kept=self.code_kept,
        )

    def turn(self) -> Judged:
        judged = judge(self.memory, self.look(), self.limits)
        self.memory, self.seen, self.known = judged.memory, judged.seen, judged.known
        return judged

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 10)):
            self.now_seconds += 10
            self.turn()

    def failing(self) -> set[str]:
        return {each.name.removeprefix("control_plane") for each in self.seen if not each.passed}

    def says(self, measure: Measure, part: str = "") -> Seen:
        asset = f"control_plane/{part}" if part else "control_plane"
        (found,) = [each for each in self.seen if (each.asset, each.check) == (asset, measure)]
        return found

    def seconds_until(self, name: str, most: float = 3600) -> float:
        """How long it takes until the incident is judged to fail."""
        began = self.now_seconds
        while self.now_seconds - began < most:
            self.run(10)
            if name in self.failing():
                return self.now_seconds - began
        raise AssertionError(f"{name} was not found within {most} s")


def well(**changes: object) -> Platform:
    """A platform that has been looked at for two minutes, and then changed."""
    platform = Platform()
    platform.run(120)
    return replace(platform, **changes)  # type: ignore[arg-type]
