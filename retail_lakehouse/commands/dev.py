"""`retail-lakehouse dev`: the whole platform on this machine.

Belongs here: options, signals, when it ends and with which exit code. Doesn't belong here: what is
started (`local/stack.py`), how it looks (`display.py`).
"""

from __future__ import annotations

import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from retail_lakehouse.alerts.routes import read_routes
from retail_lakehouse.commands.options import Assignments, Exit, StateDir, load_settings
from retail_lakehouse.loopback import LOOPBACK
from retail_lakehouse.settings import ENV_PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from retail_lakehouse.commands.display import Display
    from retail_lakehouse.local.session import DevSession

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_SECONDS = 0.2
_PULSE_SECONDS = 3.0
_LIVE_CHECK_SECONDS = 1.0


def dev(
    until_live: Annotated[
        bool,
        typer.Option("--until-live", help="Exit once a view shows an event of this start."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that --until-live waits.", metavar="SECONDS")
    ] = 600.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="With --until-live: leave it running behind.")
    ] = False,
    events_per_second: Annotated[
        float | None, typer.Option(help="Events a second of the simulator.", metavar="RATE")
    ] = None,
    no_simulator: Annotated[
        bool, typer.Option("--no-simulator", help="Start without the simulator.")
    ] = False,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Start the whole platform on this machine; Ctrl-C stops it.

    Started again, it goes on where it was. `retail-lakehouse status` says from another terminal
    how it is, `retail-lakehouse stop` ends it.
    """
    overrides: dict[str, object] = {}
    if events_per_second is not None:
        overrides["simulator_events_per_second"] = events_per_second
    settings = load_settings(state_dir, assignments, overrides)
    if not settings.is_local:
        raise SettingsError(
            "`dev` runs the local profile only. Unset RETAIL_LAKEHOUSE_PROFILE, or set it to local."
        )
    _require_own_servers(settings)
    # Read again at each tick. Said now: who starts is there to mend it, who is on call is not.
    read_routes(settings.routes_file)
    if keep and not until_live:
        raise SettingsError(
            "--keep leaves running what --until-live has waited for. Give both, or neither: "
            "without them `dev` runs until Ctrl-C."
        )
    if until_live and keep:
        from retail_lakehouse.commands.behind import start_behind

        raise typer.Exit(start_behind(settings, timeout, with_simulator=not no_simulator))
    raise typer.Exit(_run(settings, timeout if until_live else None, not no_simulator))


def _require_own_servers(settings: Settings) -> None:
    """Refuse the addresses of another Kafka or warehouse, told for AWS most likely.

    Other verbs of the local profile may go there. `dev` would make its topics and views in them,
    and produce synthetic events.
    """
    own = {"bootstrap_servers": f"{LOOPBACK}:{settings.broker_port}", "warehouse_host": LOOPBACK}
    told = {name: str(getattr(settings, name)) for name in own}
    foreign = [name for name, address in told.items() if address not in ("", own[name])]
    if foreign:
        listed = " and ".join(f"{ENV_PREFIX}{name.upper()} ({told[name]})" for name in foreign)
        raise SettingsError(
            "`dev` makes topics, views and synthetic events only in the broker and the warehouse "
            f"that it starts on {LOOPBACK} itself: unset {listed}."
        )


class _Ending:
    """What SIGINT, SIGTERM and SIGHUP ask for: to stop, and at the second time to hurry.

    A handler runs inside whatever the main thread does, so that one which took a lock could wait
    for ever for its own thread. Here the interpreter only writes the signal's number to a socket,
    and a thread of its own does what it asks for.
    """

    def __init__(self, cancel: Callable[[], None], hurry: Callable[[], None]) -> None:
        """Describe it; both functions are called from its thread."""
        self.asked = threading.Event()
        self.signal = 0
        self._cancel = cancel
        self._hurry = hurry
        self._numbers, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)

    def __enter__(self) -> Self:
        """Take over the signals."""
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, _leave_to_the_thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread; the signals stay harmless, since nothing is left to be stopped."""
        signal.set_wakeup_fd(-1)
        self._wakeup.close()

    def _listen(self) -> None:
        with self._numbers:
            while told := self._numbers.recv(1):
                if told[0] in _SIGNALS:
                    self._take(told[0])

    def _take(self, number: int) -> None:
        if self.asked.is_set():
            self._hurry()
        self.signal = number
        self.asked.set()
        self._cancel()


def _leave_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Keep the signal from ending the program."""


def _run(settings: Settings, live_timeout: float | None, with_simulator: bool) -> Exit:
    from retail_lakehouse.commands.display import make_display
    from retail_lakehouse.local.session import DevSession
    from retail_lakehouse.local.startup import StartCancelledError, StartError
    from retail_lakehouse.local.state_folder import AlreadyRunningError
    from retail_lakehouse.local.without_pandas import leave_pandas_out

    leave_pandas_out()
    # pyiceberg warns of how it replaces a dimension's rows, which is as it should be.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pyiceberg\.")
    display = make_display()
    session = DevSession(settings, display, with_simulator=with_simulator)
    with _Ending(session.cancel, session.hurry) as ending:
        deadline = None if live_timeout is None else time.monotonic() + live_timeout
        late = threading.Timer(live_timeout or 0.0, session.cancel)
        late.daemon = True
        if deadline is not None:
            late.start()
        try:
            for name in session.open():
                display.say(f"{name} still ran from an earlier start and has been ended.")
        except AlreadyRunningError as error:
            typer.echo(str(error), err=True)
            return Exit.REFUSED
        try:
            with display:
                session.start()
            late.cancel()
            return _watch(session, display, ending, deadline)
        except StartError as error:
            display.say(str(error), error=True)
            return Exit.FAILED
        except StartCancelledError:
            return Exit.INTERRUPTED if ending.asked.is_set() else _not_live(session, display)
        finally:
            late.cancel()
            _stop(session, display)


def _watch(session: DevSession, display: Display, ending: _Ending, deadline: float | None) -> Exit:
    """Show the live line until asked to end, or, with a deadline, until live."""
    from retail_lakehouse.local.facts import TableReader, TablesUnreadableError, read_views
    from retail_lakehouse.local.status import pulse
    from retail_lakehouse.tables.catalog import CatalogError
    from retail_lakehouse.warehouse.errors import WarehouseError

    display.addresses(session.settings)
    tables = TableReader(session.settings)
    next_pulse = next_check = 0.0
    trouble = ""
    while not ending.asked.is_set():
        now = time.monotonic()
        if session.live_after_seconds is None and now >= next_check:
            next_check = now + _LIVE_CHECK_SECONDS
            try:
                if session.check_live():
                    display.live(session.live_after_seconds or 0.0)
            except WarehouseError as error:
                display.say(str(error))
        if deadline is not None and session.live_after_seconds is not None:
            return Exit.DONE
        if deadline is not None and now >= deadline:
            return _not_live(session, display)
        if now >= next_pulse:
            next_pulse = now + _PULSE_SECONDS
            views = read_views(session.settings.root)
            try:
                now_pulse = pulse(tables.read(), views, time.time() * 1000)
                display.pulse(now_pulse, session.waiting_seconds())
                trouble = ""
            except (CatalogError, TablesUnreadableError) as error:
                # Once is enough: the next look is three seconds away and may say the same.
                if str(error) != trouble:
                    trouble = str(error)
                    display.say(trouble)
        ending.asked.wait(_TICK_SECONDS)
    return Exit.INTERRUPTED if ending.signal == signal.SIGINT else Exit.DONE


def _not_live(session: DevSession, display: Display) -> Exit:
    from retail_lakehouse.local.live import what_is_missing
    from retail_lakehouse.local.status import collect_status

    now_ms = time.time() * 1000
    why = what_is_missing(collect_status(session.settings), session.started_ms, now_ms)
    seconds = (now_ms - session.started_ms) / 1000
    display.say(f"Not live after {seconds:.0f} seconds: {why}", error=True)
    return Exit.NOT_LIVE


def _stop(session: DevSession, display: Display) -> None:
    began = time.monotonic()
    try:
        display.end_line()
        display.say("Stopping; Ctrl-C again stops at once.")
    finally:
        session.close()
    display.say(f"Stopped in {time.monotonic() - began:.1f} s. The data is kept.")
