"""Delivery: each route gets its messages in order, again and again until it has them.

Here: whose turn it is, backoff, and a bound on the time of a pass. Not here: one attempt
(`notifiers.py`), keeping (`outbox.py`). At least once: a message that was sent just before a kill
is sent again, under the same id.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retail_lakehouse.alerts.message import Links, Rendered, render
from retail_lakehouse.alerts.notifiers import Notifier, Outcome, attempt, notifier_for
from retail_lakehouse.alerts.outbox import Entry, Outbox, RouteRecord, open_outbox
from retail_lakehouse.alerts.record_file import RecordFileError
from retail_lakehouse.alerts.redact import one_line, without_secrets
from retail_lakehouse.alerts.routes import Route, notices_for

logger = logging.getLogger(__name__)

PASS_SECONDS = 10.0
FIRST_BACKOFF_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 60.0
"""So late at the most is what waited for an end that is back: doubling without it costs the outage
once more."""
REFUSALS_MOST = 3
"""So often a route may refuse one message before the next has its turn."""
ABANDONED_AFTER_SECONDS = 60.0
"""An attempt that the other end draws out that long is counted as failed, and another is made."""

MakeNotifier = Callable[[Route], Notifier]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a pass did and left."""

    sent: int
    waiting: int
    errors: dict[str, str]
    """By route, why its next message waits."""


@dataclass(slots=True)
class _Attempt:
    """A route's thread, which outlives its pass when the other end dawdles."""

    thread: threading.Thread
    began: float


_attempts: dict[tuple[Path, str], _Attempt] = {}
_attempts_lock = threading.Lock()


def now_ms() -> int:
    """The clock of this machine."""
    return time.time_ns() // 1_000_000


def backoff_seconds(failures: int, retry_after_seconds: float | None) -> float:
    """How long a route rests after so many failures in a row; what it asks for is the least."""
    doubled = FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 10)
    return max(min(doubled, LONGEST_BACKOFF_SECONDS), retry_after_seconds or 0.0)


def next_entry(outbox: Outbox, route: Route, routes: Sequence[Route], at_ms: int) -> Entry | None:
    """The oldest entry that the route is to have and has not; None while it rests."""
    record = outbox.routes.get(route.name, RouteRecord())
    # A clock that was set back does not make a route rest for longer than it ever may.
    rest_ms = record.not_before_ms - at_ms
    if 0 < rest_ms <= 3600 * 1000:
        return None
    return next(iter(waiting_for(outbox, route, routes)), None)


def waiting_for(outbox: Outbox, route: Route, routes: Sequence[Route]) -> list[Entry]:
    """Every entry that the route is to have and has not."""
    return [entry for entry in outbox.entries.values() if _is_due(entry, route, routes)]


def deliver(
    folder: Path,
    routes: Sequence[Route],
    links: Links,
    *,
    make: MakeNotifier = notifier_for,
    clock: Callable[[], int] = now_ms,
    pass_seconds: float = PASS_SECONDS,
) -> Delivered:
    """One pass over all routes at once; returns after `pass_seconds` at the latest.

    An attempt that is not done by then goes on; its route has no other one meanwhile.

    Raises:
        RecordFileError: the outbox cannot be read.
    """
    deadline = time.monotonic() + pass_seconds
    sent: list[str] = []
    threads = []
    for route in routes:
        run = _RouteRun(folder, route, routes, links, make, clock, deadline, sent)
        thread = _begin(folder, route, run)
        if thread is None:
            continue
        threads.append(thread)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    with open_outbox(folder) as outbox:
        outbox.reclaim(
            [
                entry_id
                for entry_id, entry in outbox.entries.items()
                if not any(_is_due(entry, route, routes) for route in routes)
            ]
        )
        errors = {
            route.name: record.error
            for route in routes
            if (record := outbox.routes.get(route.name)) and record.failures
        }
        return Delivered(len(sent), len(outbox.entries), errors)


@dataclass(frozen=True, slots=True)
class _RouteRun:
    """One route's part of a pass."""

    folder: Path
    route: Route
    routes: Sequence[Route]
    links: Links
    make: MakeNotifier
    clock: Callable[[], int]
    deadline: float
    sent: list[str]

    def __call__(self) -> None:
        """Send what is due, one after the other, until one fails or the time is over."""
        try:
            found = self._turn(None)
            while found is not None:
                outcome = attempt(self.make(self.route), found)
                if outcome.delivered:
                    self.sent.append(found.id)
                found = self._turn((found, outcome))
        except RecordFileError as error:
            logger.error("Alerts on the route %s wait: %s", self.route.name, error)

    def _turn(self, came_of: tuple[Rendered, Outcome] | None) -> Rendered | None:
        """Writes down what came of the last attempt, and returns what is to be sent next."""
        with open_outbox(self.folder) as outbox:
            at_ms = self.clock()
            if came_of is not None:
                self._record(outbox, at_ms, *came_of)
            if time.monotonic() >= self.deadline:
                return None
            entry = next_entry(outbox, self.route, self.routes, at_ms)
            if entry is None:
                return None
            dropped = outbox.routes.get(self.route.name, RouteRecord()).dropped
        notices = notices_for(self.route, entry.notices, self.routes)
        return render(entry.id, notices, self.links, dropped, at_ms)

    def _record(self, outbox: Outbox, at_ms: int, message: Rendered, outcome: Outcome) -> None:
        name, entry_id = self.route.name, message.id
        if outcome.delivered:
            outbox.record_delivery(entry_id, name, message.dropped)
            return
        record = outbox.routes.get(name, RouteRecord())
        rest = backoff_seconds(record.failures, outcome.retry_after_seconds)
        error = one_line(without_secrets(outcome.sentence), 300)
        logger.warning("The route %s rests for %.0f s: %s", name, rest, error)
        # From the instant that the next entry is asked for: a moment more than the longest rest
        # would be taken for a clock that was set back, and the route asked again at once.
        not_before_ms = at_ms + round(rest * 1000)
        if not outcome.is_refused:
            outbox.record_failure(name, error, not_before_ms)
            return
        outbox.record_refusal(entry_id, name, error, not_before_ms)
        entry = outbox.entries.get(entry_id)
        if entry is not None and entry.refusals.get(name, 0) >= REFUSALS_MOST:
            logger.error("The route %s refuses the alert %s: given up.", name, entry_id)
            outbox.give_up(entry_id, name)


def _is_due(entry: Entry, route: Route, routes: Sequence[Route]) -> bool:
    return route.name not in entry.delivered and bool(notices_for(route, entry.notices, routes))


def _begin(folder: Path, route: Route, run: _RouteRun) -> threading.Thread | None:
    """The route's thread, started; None while an earlier one is still at it."""
    key = (folder, route.name)
    with _attempts_lock:
        earlier = _attempts.get(key)
        if earlier is not None and earlier.thread.is_alive():
            if time.monotonic() - earlier.began < ABANDONED_AFTER_SECONDS:
                return None
            logger.error("An attempt on the route %s does not end: another is made.", route.name)
        thread = threading.Thread(target=run, name=f"alerts-{route.name}", daemon=True)
        _attempts[key] = _Attempt(thread, time.monotonic())
        thread.start()
        return thread
