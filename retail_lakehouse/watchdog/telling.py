"""Telling people without a file: incidents and what waits to be sent are kept in memory alone.

Here: the same incidents, pace, messages and notifiers as `alerts/`, for one process that must work
on a full disk. Not here: verdicts. A watchdog that is started anew forgets what it told: it tells
what is open once more, with the same id where the incident's beginning is known from outside.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from retail_lakehouse.alerts.delivery import ABANDONED_AFTER_SECONDS, REFUSALS_MOST, backoff_seconds
from retail_lakehouse.alerts.incidents import Kind, Notice, Seen
from retail_lakehouse.alerts.memory import AlertMemory, step
from retail_lakehouse.alerts.message import Links, Rendered, render
from retail_lakehouse.alerts.notifiers import Notifier, Outcome, attempt, notifier_for
from retail_lakehouse.alerts.outbox import Entry
from retail_lakehouse.alerts.redact import one_line, without_secrets
from retail_lakehouse.alerts.routes import Route, notices_for
from retail_lakehouse.contracts.alerting import ALERT_PACE

logger = logging.getLogger(__name__)

WAITING_MOST = 200
"""Messages that may wait for one route; beyond it the oldest reminders go first."""


@dataclass(slots=True)
class _Way:
    """One route: what waits, and how it fares. Seconds are of a clock that nobody sets."""

    route: Route
    waiting: deque[Entry] = field(default_factory=deque)
    failures: int = 0
    rests_until: float = 0.0
    dropped: int = 0
    attempt: int = 0
    """Number of the attempt that is under way; 0 while there is none."""
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class _Came:
    """What came of an attempt."""

    route: str
    attempt: int
    message: Rendered
    outcome: Outcome


class Teller:
    """Incidents, and the messages on their way to each route.

    All methods are called from one thread; each attempt is a thread of its own, so that a receiver
    which hangs holds up neither a look nor another route.
    """

    def __init__(self, links: Links, make: Callable[[Route], Notifier] = notifier_for) -> None:
        """Begin with nothing open and nothing waiting."""
        self._links = links
        self._make = make
        self._memory = AlertMemory()
        self._routes: tuple[Route, ...] = ()
        self._ways: dict[str, _Way] = {}
        self._came: queue.SimpleQueue[_Came] = queue.SimpleQueue()
        self._attempts = 0

    @property
    def waiting(self) -> int:
        """Messages that some route has not got."""
        return sum(len(way.waiting) for way in self._ways.values())

    @property
    def has_routes(self) -> bool:
        """Whether there is any way to people."""
        return bool(self._routes)

    def take_routes(self, routes: Sequence[Route]) -> None:
        """Use these routes from now on; what waits for one of the same name goes on waiting.

        What waits for one that is gone goes to those that take it now and did not before: a route
        that got another name loses nothing.
        """
        before = {name: way.route for name, way in self._ways.items()}
        ways: dict[str, _Way] = {}
        for route in routes:
            way = self._ways.get(route.name, _Way(route))
            way.route = route
            ways[route.name] = way
        gone = [way for name, way in self._ways.items() if name not in ways]
        left = sorted((e for way in gone for e in way.waiting), key=lambda e: e.created_ms)
        for entry in left:
            for name, way in ways.items():
                had_it = name in before and notices_for(before[name], entry.notices, self._routes)
                is_there = any(each.id == entry.id for each in way.waiting)
                if notices_for(way.route, entry.notices, routes) and not had_it and not is_there:
                    way.waiting.append(Entry(entry.notices, entry.created_ms))
                    _make_room(way)
        self._routes, self._ways = tuple(routes), ways

    def tell(
        self,
        seen: Sequence[Seen],
        known: Collection[str],
        now_ms: int,
        is_silenced: Callable[[str], bool] = lambda name: False,
    ) -> list[Notice]:
        """What the verdicts make worth telling, now put on its way to every route that takes it."""
        self._memory, messages = step(self._memory, seen, known, now_ms, ALERT_PACE, is_silenced)
        for message in messages:
            for way in self._ways.values():
                if notices_for(way.route, message, self._routes):
                    way.waiting.append(Entry(notices=message, created_ms=now_ms))
                    _make_room(way)
        return [notice for message in messages for notice in message]

    def deliver(self, now_ms: int, now_seconds: float) -> None:
        """Take in what came of earlier attempts, and begin one on each route that is free."""
        while True:
            try:
                self._take_in(self._came.get_nowait(), now_seconds)
            except queue.Empty:
                break
        for way in self._ways.values():
            if not way.waiting or now_seconds < way.rests_until:
                continue
            if way.attempt and now_seconds - way.began < ABANDONED_AFTER_SECONDS:
                continue
            self._begin(way, now_ms, now_seconds)

    def _begin(self, way: _Way, now_ms: int, now_seconds: float) -> None:
        self._attempts += 1
        way.attempt, way.began = self._attempts, now_seconds
        entry = way.waiting[0]
        notices = notices_for(way.route, entry.notices, self._routes)
        message = render(entry.id, notices or entry.notices, self._links, way.dropped, now_ms)
        begun = _Attempt(self._make(way.route), message, way.route.name, way.attempt, self._came)
        threading.Thread(target=begun, name=f"tell-{way.route.name}", daemon=True).start()

    def _take_in(self, came: _Came, now_seconds: float) -> None:
        way = self._ways.get(came.route)
        if way is None or way.attempt != came.attempt:
            # An attempt that was given up: if it arrived after all, it arrives twice.
            return
        way.attempt = 0
        is_first = bool(way.waiting) and way.waiting[0].id == came.message.id
        if came.outcome.delivered:
            way.failures, way.rests_until = 0, 0.0
            way.dropped = max(0, way.dropped - came.message.dropped)
            if is_first:
                way.waiting.popleft()
            return
        rest = backoff_seconds(way.failures, came.outcome.retry_after_seconds)
        way.failures += 1
        way.rests_until = now_seconds + rest
        told = one_line(without_secrets(came.outcome.sentence), 300)
        logger.warning("The route %s rests for %.0f s: %s", came.route, rest, told)
        if came.outcome.is_refused and is_first:
            refusals = way.waiting[0].refusals
            refusals[came.route] = refusals.get(came.route, 0) + 1
            if refusals[came.route] >= REFUSALS_MOST:
                logger.error("The route %s refuses %s: given up.", came.route, came.message.id)
                way.waiting.popleft()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt, in a thread of its own."""

    notifier: Notifier
    message: Rendered
    route: str
    number: int
    came: queue.SimpleQueue[_Came]

    def __call__(self) -> None:
        """Send, and say what came of it."""
        outcome = attempt(self.notifier, self.message)
        self.came.put(_Came(self.route, self.number, self.message, outcome))


def _make_room(way: _Way) -> None:
    """The oldest reminder goes first: the next one says the same again."""
    while len(way.waiting) > WAITING_MOST:
        # The first may be on its way.
        rest = list(way.waiting)[1:]
        gone = next((each for each in rest if each.kind is Kind.STILL_OPEN), rest[0])
        way.waiting.remove(gone)
        way.dropped += 1
