"""How `dev` looks: the steps of the start, then one live line.

Belongs here: lines and colours, in a terminal and elsewhere. Doesn't belong here: what is measured.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from retail_lakehouse.local.control import ProcessState, ProcessStatus
from retail_lakehouse.local.startup import StepReport, StepState
from retail_lakehouse.local.status import Pulse
from retail_lakehouse.loopback import LOOPBACK
from retail_lakehouse.settings import Settings

PLAIN_PULSE_SECONDS = 10.0
_TROUBLE = (ProcessState.WAITING, ProcessState.CRASHING, ProcessState.HALTED)


class Display(Protocol):
    """What `dev` says; a context manager around the start."""

    def __enter__(self) -> Self:
        """The start begins."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The start is over."""

    def step(self, report: StepReport) -> None:
        """A step of the start changed its state."""

    def process(self, status: ProcessStatus) -> None:
        """A process changed its state."""

    def say(self, text: str, *, error: bool = False) -> None:
        """Print a sentence."""

    def addresses(self, settings: Settings) -> None:
        """Print where things are."""

    def live(self, seconds: float) -> None:
        """Say that the platform is live."""

    def pulse(self, pulse: Pulse, waiting_seconds: float | None) -> None:
        """Show the live line."""

    def end_line(self) -> None:
        """Leave the live line as it is; what follows comes below it."""


def make_display() -> Display:
    """The display for standard output: drawn in a terminal, lines elsewhere.

    It falls silent when what it writes to is gone, and raises nothing then.
    """
    console = _PatientConsole(highlight=False)
    drawn = TerminalDisplay(console) if console.is_terminal else PlainDisplay()
    return LosableDisplay(drawn)


def pulse_line(pulse: Pulse, waiting_seconds: float | None = None) -> str:
    """The live line; under 80 columns.

    Args:
        pulse: The figures.
        waiting_seconds: How long the first figure of this start has been waited for, if it is:
            ages of what an earlier start left would say nothing.
    """
    if waiting_seconds is not None:
        age = pulse.table_age_seconds
        if age is None or age > waiting_seconds:
            return f"Waiting for Spark's first batch, about a minute: {waiting_seconds:.0f} s"
        return f"Events are in the tables; waiting for the views: {waiting_seconds:.0f} s"
    return (
        f"{pulse.events_per_second:,.0f} events/s, age at table {_age(pulse.table_age_seconds)}, "
        f"view {_age(pulse.view_age_seconds)}, quarantined {pulse.quarantined:,}, "
        f"duplicates {pulse.duplicates:,}"
    )


def address_lines(settings: Settings) -> list[str]:
    """Where the parts of the running platform are."""
    return [
        f"Dagster    http://{LOOPBACK}:{settings.dagster_port}",
        f"Kafka      {settings.kafka_bootstrap}",
        f"Warehouse  {LOOPBACK}:{settings.warehouse_port}, database "
        f"{settings.warehouse_database}, user {settings.warehouse_user}",
        f"State      {settings.root}",
    ]


def live_line(seconds: float) -> str:
    """That the platform is live."""
    return f"Live {seconds:.0f} s after the start: the views show its events."


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f} s"


class _PatientConsole(Console):
    """A console that leaves it to its user what a closed pipe means; Rich's ends the program."""

    def on_broken_pipe(self) -> None:
        """Fail like any other write that has no reader."""
        raise BrokenPipeError("Nobody reads the standard output any more.")


class LosableDisplay:
    """Another display, until its terminal or pipe is closed; silent from then on.

    The platform must be stopped, and its processes kept, also when nobody can be told.
    """

    def __init__(self, shown: Display) -> None:
        """Show on the given display."""
        self._shown = shown
        self._lost = False

    def __enter__(self) -> Self:
        """The start begins."""
        self._try(self._shown.__enter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The start is over."""
        self._try(lambda: self._shown.__exit__(kind, error, trace))

    def step(self, report: StepReport) -> None:
        """A step of the start changed its state."""
        self._try(lambda: self._shown.step(report))

    def process(self, status: ProcessStatus) -> None:
        """A process changed its state."""
        self._try(lambda: self._shown.process(status))

    def say(self, text: str, *, error: bool = False) -> None:
        """Print a sentence; an error's goes to the error output if the other one is gone."""
        if not self._try(lambda: self._shown.say(text, error=error)) and error:
            with contextlib.suppress(OSError):
                typer.echo(text, err=True)

    def addresses(self, settings: Settings) -> None:
        """Print where things are."""
        self._try(lambda: self._shown.addresses(settings))

    def live(self, seconds: float) -> None:
        """Say that the platform is live."""
        self._try(lambda: self._shown.live(seconds))

    def pulse(self, pulse: Pulse, waiting_seconds: float | None) -> None:
        """Show the live line."""
        self._try(lambda: self._shown.pulse(pulse, waiting_seconds))

    def end_line(self) -> None:
        """Leave the live line as it is."""
        self._try(self._shown.end_line)

    def _try(self, show: Callable[[], object]) -> bool:
        if self._lost:
            return False
        try:
            show()
        except OSError:
            self._lost = True
            _discard_output()
        return not self._lost


def _discard_output() -> None:
    """Send the standard output nowhere: what is buffered would fail again at the program's end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stdout__.fileno())  # type: ignore[union-attr]
        os.close(nowhere)


class PlainDisplay:
    """Lines, for a file or a pipe."""

    def __init__(self) -> None:
        """Start the clock that each line shows."""
        self._began = time.monotonic()
        self._next_pulse = 0.0

    def __enter__(self) -> Self:
        """Nothing to draw."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to draw."""

    def step(self, report: StepReport) -> None:
        """A line for each step that is done."""
        if report.state is StepState.DONE:
            detail = f": {report.detail}" if report.detail else ""
            self.say(f"{report.title} ready after {report.seconds:.1f} s{detail}")

    def process(self, status: ProcessStatus) -> None:
        """A line for each process in trouble."""
        if status.state in _TROUBLE and status.message:
            self.say(status.message)

    def say(self, text: str, *, error: bool = False) -> None:
        """A line with the seconds since the start before it."""
        typer.echo(f"[{time.monotonic() - self._began:6.1f} s] {text}", err=error)

    def addresses(self, settings: Settings) -> None:
        """A line an address."""
        for line in address_lines(settings):
            typer.echo(line)

    def live(self, seconds: float) -> None:
        """A line."""
        self.say(live_line(seconds))

    def pulse(self, pulse: Pulse, waiting_seconds: float | None) -> None:
        """A line every 10 seconds."""
        if time.monotonic() >= self._next_pulse:
            self._next_pulse = time.monotonic() + PLAIN_PULSE_SECONDS
            self.say(pulse_line(pulse, waiting_seconds))

    def end_line(self) -> None:
        """Lines end by themselves."""


class TerminalDisplay:
    """Drawn in place."""

    def __init__(self, console: Console) -> None:
        """Describe the display; nothing is drawn before the start."""
        self._console = console
        self._lock = threading.Lock()
        self._reports: dict[str, StepReport] = {}
        self._spinners: dict[str, Spinner] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begin to draw the steps."""
        self._live = Live(console=self._console, refresh_per_second=8)
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the steps on the screen."""
        self.end_line()

    def step(self, report: StepReport) -> None:
        """Redraw the steps."""
        with self._lock:
            self._reports[report.name] = report
            if self._live is not None:
                self._live.update(Group(*(self._row(each) for each in self._reports.values())))

    def process(self, status: ProcessStatus) -> None:
        """A line above the drawing for each process in trouble."""
        if status.state in _TROUBLE and status.message:
            self.say(status.message)

    def say(self, text: str, *, error: bool = False) -> None:
        """A line above the drawing."""
        self._console.print(Text(text, style="bold red" if error else ""))

    def addresses(self, settings: Settings) -> None:
        """A line an address."""
        self._console.print()
        for line in address_lines(settings):
            self._console.print(Text(line))
        self._console.print(Text("Ctrl-C stops everything; started again, it goes on.", "dim"))
        self._console.print()

    def live(self, seconds: float) -> None:
        """A line above the live line."""
        self._console.print(Text(live_line(seconds), style="green"))

    def pulse(self, pulse: Pulse, waiting_seconds: float | None) -> None:
        """The live line, rewritten in place."""
        line = Text(pulse_line(pulse, waiting_seconds), no_wrap=True, overflow="ellipsis")
        if self._live is None:
            self._live = Live(line, console=self._console, auto_refresh=False)
            self._live.__enter__()
        self._live.update(line, refresh=True)

    def end_line(self) -> None:
        """Stop drawing."""
        with self._lock:
            if self._live is not None:
                self._live.__exit__(None, None, None)
                self._live = None

    def _row(self, report: StepReport) -> Text | Spinner:
        if report.state is StepState.RUNNING:
            return self._spinners.setdefault(report.name, Spinner("dots", f"{report.title} ..."))
        mark, style = {
            StepState.PENDING: ("·", "dim"),
            StepState.DONE: ("✓", "green"),
            StepState.FAILED: ("✗", "red"),
        }[report.state]
        seconds = f"{report.seconds:5.1f} s" if report.state is not StepState.PENDING else ""
        detail = report.detail if report.state is StepState.DONE else ""
        line = Text(f"{mark} ", style)
        line.append(f"{report.title:<18} ", "" if report.state is not StepState.PENDING else "dim")
        line.append(f"{seconds:>8}  {detail}", "dim")
        return line
