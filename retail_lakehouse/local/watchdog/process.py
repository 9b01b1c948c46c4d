"""The watchdog's loop: look, tell what it means, have what hangs started anew.

Here: the loop. Not here: looking, judging, telling. Whatever goes wrong in one turn is logged and
the next one comes: nobody watches the watchdog but its keeper, which starts it anew when it dies.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from retail_lakehouse.alerts.desk import links_of
from retail_lakehouse.alerts.incidents import Notice
from retail_lakehouse.alerts.redact import one_line, without_secrets
from retail_lakehouse.alerts.routes import LOG_ROUTE, RoutesError, read_routes
from retail_lakehouse.alerts.silences import Silence, SilenceError, is_silenced, read_silences
from retail_lakehouse.local.control import ControlError, SupervisorClient, SupervisorNotRunningError
from retail_lakehouse.local.watchdog.look import CODE_SERVER_PROCESS, DAEMON_PROCESS, Looker
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.judge import CODE_SERVER, DAEMON, judge, limits_of
from retail_lakehouse.watchdog.looks import Limits, Look, Memory
from retail_lakehouse.watchdog.repair import restarts_due
from retail_lakehouse.watchdog.telling import Teller

logger = logging.getLogger(__name__)

_DELIVER_EVERY_SECONDS = 1.0
_PROCESSES = {DAEMON: DAEMON_PROCESS, CODE_SERVER: CODE_SERVER_PROCESS}


class Looking(Protocol):
    """What looks."""

    def look(self) -> Look:
        """One look."""


@dataclass(slots=True)
class Watchdog:
    """The loop's parts and what it remembers."""

    settings: Settings
    looker: Looking
    limits: Limits
    teller: Teller
    restart: Callable[[str], object]
    memory: Memory = field(default_factory=Memory)
    asked_seconds: dict[str, float] = field(default_factory=dict)
    _faults: frozenset[str] = frozenset()

    def turn(self) -> list[Notice]:
        """One look, its verdicts, what is told of them, and what is started anew."""
        look = self.looker.look()
        faults: set[str] = set()
        self._take_routes(faults)
        silences = self._silences(look.at_ms, faults)
        judged = judge(self.memory, look, self.limits)
        self.memory = judged.memory
        told = self.teller.tell(
            judged.seen,
            judged.known,
            look.at_ms,
            lambda name: is_silenced(silences, name, look.at_ms),
        )
        for notice in told:
            sentence = one_line(without_secrets(notice.sentence), 300)
            logger.warning("%s: %s. %s", notice.kind.value, notice.name, sentence)
        for name in restarts_due(judged.memory, look, self.limits, self.asked_seconds):
            self.asked_seconds[name] = look.at_seconds
            self.restart(_PROCESSES[name])
        # Once is enough: the next look says the same.
        for fault in sorted(faults - self._faults):
            logger.error("%s", fault)
        self._faults = frozenset(faults)
        return told

    def run(self, ended: threading.Event) -> None:
        """Turn after turn, until it is to end."""
        every, next_look = self.settings.watchdog_seconds, 0.0
        while not ended.is_set():
            try:
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + every
                    self.turn()
                self.teller.deliver(time.time_ns() // 1_000_000, time.monotonic())
            except Exception:  # a watchdog that a surprise ends sees nothing more
                logger.exception("A turn of the watchdog failed; the next one comes.")
            ended.wait(_DELIVER_EVERY_SECONDS)

    def _take_routes(self, faults: set[str]) -> None:
        try:
            self.teller.take_routes(read_routes(self.settings.routes_file))
        except RoutesError as error:
            faults.add(str(error))
            if not self.teller.has_routes:
                self.teller.take_routes([LOG_ROUTE])

    def _silences(self, at_ms: int, faults: set[str]) -> list[Silence]:
        try:
            return read_silences(self.settings.alerts_dir, at_ms)
        except SilenceError as error:
            faults.add(str(error))
            return []


def make_watchdog(settings: Settings) -> Watchdog:
    """The watchdog of the settings' state folder."""
    return Watchdog(
        settings,
        Looker(settings.root),
        limits_of(settings),
        Teller(links_of(settings)),
        lambda name: restart_behind(SupervisorClient(settings.root), name),
    )


def restart_behind(client: SupervisorClient, name: str) -> threading.Thread:
    """Ask the supervisor, in a thread: it answers when that is done, and looks must go on."""
    logger.warning("%s hangs: the supervisor is asked to start it anew.", name)
    thread = threading.Thread(target=_restart, args=(client, name), name="restart", daemon=True)
    thread.start()
    return thread


def _restart(client: SupervisorClient, name: str) -> None:
    try:
        client.request("restart", name)
    except (SupervisorNotRunningError, ControlError) as error:
        logger.error("%s was not started anew: %s", name, error)
