"""When events are expected: the stores' opening hours as a calendar.

Here: which share of the stores that feed a topic is open at an instant, or was over a while. Not
here: how many events the stores owe (`service_levels.py`), the verdict (`checks/`).

Hours are those of the wall clock in the store's zone, so the switches of summer time are the
zone's affair. A share is computed once for each slot of five minutes, and then remembered: a tick
costs next to nothing.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from retail_lakehouse.contracts.events import CLICKSTREAM, INVENTORY, TRANSACTIONS
from retail_lakehouse.contracts.reference_data import Store, stores

GRACE_SECONDS = 30 * 60
"""A store that has just opened owes nothing yet: tills are switched on, gateways connect."""
SLOT_SECONDS = 300
LOOK_BACK_SECONDS = 6 * 3600
"""A longer silence than this is judged by its last hours."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Stores that open and close together. Minutes of the local day; `closes_at` is exclusive.

    Past midnight where `closes_at` is before `opens_at`; never closed where they span the day.
    """

    time_zone: str
    opens_at: int
    closes_at: int
    stores: int

    def is_open(self, minute: int) -> bool:
        """Whether they are open at that minute of their wall clock."""
        if self.opens_at <= self.closes_at:
            return self.opens_at <= minute < self.closes_at
        return minute >= self.opens_at or minute < self.closes_at


@dataclass(frozen=True, slots=True)
class OpeningCalendar:
    """The opening hours of all stores that feed a topic."""

    hours: tuple[Hours, ...]
    grace_seconds: int = GRACE_SECONDS

    @staticmethod
    def of(open_stores: Iterable[Store], grace_seconds: int = GRACE_SECONDS) -> "OpeningCalendar":
        """The calendar of these stores, those with the same hours counted together."""
        counts: dict[tuple[str, int, int], int] = {}
        for store in open_stores:
            key = (store.time_zone, store.opens_at_minute, store.closes_at_minute)
            counts[key] = counts.get(key, 0) + 1
        return OpeningCalendar(
            tuple(Hours(*key, count) for key, count in sorted(counts.items())), grace_seconds
        )

    def open_share(self, at_ms: int) -> float:
        """The share of stores, 0 to 1, that are open and were so a grace before `at_ms`.

        Both instants are read on the store's wall clock, so a day of 23 or 25 hours opens and
        closes when its clocks say so.
        """
        slot = at_ms // (SLOT_SECONDS * 1000)
        return _open_share(self, slot * SLOT_SECONDS)

    def mean_open_share(self, since_ms: int, until_ms: int) -> float:
        """The mean of `open_share` from one instant to another, by slots; 0 for no time at all."""
        if until_ms <= since_ms:
            return 0.0
        step = SLOT_SECONDS * 1000
        since_ms = max(since_ms, until_ms - LOOK_BACK_SECONDS * 1000)
        steps = math.ceil((until_ms - since_ms) / step)
        # From the end backwards, so that a short while is judged by its newest slot.
        return sum(self.open_share(until_ms - i * step) for i in range(steps)) / steps

    def events_due(self, per_minute: float, since_ms: int, until_ms: int) -> float:
        """How many events came at least, at `per_minute` with all stores open.

        Of a while longer than `LOOK_BACK_SECONDS` its last part counts.
        """
        minutes = min(until_ms - since_ms, LOOK_BACK_SECONDS * 1000) / 60_000
        return max(0.0, minutes) * per_minute * self.mean_open_share(since_ms, until_ms)


@cache
def calendar_of(event: str) -> OpeningCalendar:
    """The calendar of the stores that feed an event's topic, by the reference data.

    Stock moves in stores on the map; baskets come from them and from the online shop; visits only
    from the online shop, which never closes.

    Raises:
        KeyError: there is no such event.
    """
    feeds_online = {INVENTORY.name: False, TRANSACTIONS.name: True, CLICKSTREAM.name: True}
    with_shop, on_map = feeds_online[event], event != CLICKSTREAM.name
    return OpeningCalendar.of(
        store for store in stores() if (with_shop if store.is_virtual else on_map)
    )


@lru_cache(maxsize=1024)
def _open_share(calendar: OpeningCalendar, at_seconds: int) -> float:
    every = sum(each.stores for each in calendar.hours)
    now, before = (
        {each.time_zone: _minute_of_day(each.time_zone, seconds) for each in calendar.hours}
        for seconds in (at_seconds, at_seconds - calendar.grace_seconds)
    )
    are_open = sum(
        each.stores
        for each in calendar.hours
        if each.is_open(now[each.time_zone]) and each.is_open(before[each.time_zone])
    )
    return are_open / every if every else 0.0


def _minute_of_day(time_zone: str, at_seconds: int) -> int:
    local = datetime.fromtimestamp(at_seconds, UTC).astimezone(ZoneInfo(time_zone))
    return local.hour * 60 + local.minute
