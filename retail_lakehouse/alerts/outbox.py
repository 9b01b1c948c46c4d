"""The outbox: what is to be told, kept until every route that takes it has it.

Here: entries, how each route fares, what the alerts remember, and which entry goes when there is no
room. Not here: bytes (`record_file.py`), sending (`delivery.py`). One record is one change, so
incidents and their entries change together or not at all.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from retail_lakehouse.alerts.incidents import Kind, Notice
from retail_lakehouse.alerts.pacing import Message
from retail_lakehouse.alerts.record_file import (
    HALF_BYTES,
    HalfFullError,
    RecordFile,
    open_records,
)

logger = logging.getLogger(__name__)

_EVICTION = (Kind.STILL_OPEN, Kind.RECOVERED, Kind.OPENED, Kind.TEST)
"""What goes first when there is no room."""
_SLACK_BYTES = HALF_BYTES // 32
_MORE_DIGITS_BYTES = 16


@dataclass(slots=True)
class Entry:
    """One message on its way. Its `id` is what receivers may deduplicate by."""

    notices: Message
    created_ms: int
    delivered: set[str] = field(default_factory=set)
    """Names of routes."""
    refusals: dict[str, int] = field(default_factory=dict)
    """By route: how often it said that it does not take this message."""

    @property
    def id(self) -> str:
        """That of its first notice; a digest's tells that it is one."""
        first = self.notices[0].id
        return first if len(self.notices) == 1 else f"{first}-{len(self.notices)}"

    @property
    def kind(self) -> Kind:
        """Of a digest the kind that matters most."""
        kinds = {notice.kind for notice in self.notices}
        return max(kinds, key=_EVICTION.index)


@dataclass(slots=True)
class RouteRecord:
    """How a route fares."""

    failures: int = 0
    """Attempts since the last delivery."""
    not_before_ms: int = 0
    error: str = ""
    delivered: int = 0
    refused: int = 0
    """Messages that it would not take, and that were given up for it."""
    dropped: int = 0
    """Messages that went for want of room, and that none has said yet: the next one does."""
    dropped_ever: int = 0


def outbox_file(folder: Path) -> Path:
    """Where the outbox lies."""
    return folder / "outbox"


@contextlib.contextmanager
def open_outbox(folder: Path, half_bytes: int = HALF_BYTES) -> Iterator[Outbox]:
    """The outbox, made if it is absent, locked against everybody else for the block.

    Raises:
        RecordFileError: it cannot be made, or is locked for too long.
    """
    with open_records(outbox_file(folder), half_bytes) as records:
        yield Outbox(records)


class Outbox:
    """Entries oldest first, and what is known of each route."""

    def __init__(self, records: RecordFile) -> None:
        """Read it; a record that no longer makes sense is stepped over and logged."""
        self._records = records
        self.entries: dict[str, Entry] = {}
        self.routes: dict[str, RouteRecord] = {}
        self.memory_text: str | None = None
        if records.damaged_bytes:
            logger.error(
                "%d bytes of the alerts' outbox are damaged; what they held cannot be told.",
                records.damaged_bytes,
            )
        for record in records.records:
            try:
                self._apply(json.loads(record))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                logger.error("A record of the alerts' outbox makes no sense: %s", error)

    def post(self, messages: Sequence[Message], memory_text: str, now_ms: int) -> None:
        """Add messages and what the alerts remember, in one record.

        Raises:
            RecordFileError: the disk refuses it, and nothing has changed.
        """
        self._change(
            {
                "add": [_entry_json(Entry(message, now_ms)) for message in messages],
                "memory": memory_text,
            }
        )

    def record_delivery(self, entry_id: str, route: str, said_dropped: int) -> None:
        """The route has the entry; its message said that so many were dropped."""
        self._change(
            {"done": [[entry_id, route]]},
            route,
            lambda told: RouteRecord(
                delivered=told.delivered + 1,
                refused=told.refused,
                # What went while the message was on its way is the next one's to say.
                dropped=max(0, told.dropped - said_dropped),
                dropped_ever=told.dropped_ever,
            ),
        )

    def record_failure(self, route: str, error: str, not_before_ms: int) -> None:
        """An attempt failed; the next is not before the time given."""
        self._change(
            {},
            route,
            lambda told: replace(
                told, failures=told.failures + 1, error=error, not_before_ms=not_before_ms
            ),
        )

    def record_refusal(self, entry_id: str, route: str, error: str, not_before_ms: int) -> None:
        """The route answered, and would not take this very message."""
        self._change({"refused": [[entry_id, route]]})
        self.record_failure(route, error, not_before_ms)

    def give_up(self, entry_id: str, route: str) -> None:
        """The entry is not for this route any more: it has refused it too often."""
        self._change(
            {"done": [[entry_id, route]]},
            route,
            lambda told: replace(told, refused=told.refused + 1, failures=0, not_before_ms=0),
        )

    def reclaim(self, entry_ids: Sequence[str]) -> None:
        """Forget entries that every route has; their space is free with the next rewrite."""
        if entry_ids:
            self._change({"forget": list(entry_ids)})

    def _change(
        self,
        change: dict[str, object],
        route: str = "",
        after: Callable[[RouteRecord], RouteRecord] | None = None,
    ) -> None:
        """Write a change down, and make it. `after`: from a route's record to the next one."""
        content = self._told(change, route, after)
        if len(content) > self._records.room:
            self._make_room(len(content) + _MORE_DIGITS_BYTES)
            # Again: what went was counted with the route.
            content = self._told(change, route, after)
        self._records.append(content)
        self._apply(json.loads(content))

    def _told(
        self,
        change: dict[str, object],
        route: str,
        after: Callable[[RouteRecord], RouteRecord] | None,
    ) -> bytes:
        if after is None:
            return _content(change)
        record = after(self.routes.get(route, RouteRecord()))
        return _content({**change, "routes": {route: asdict(record)}})

    def _make_room(self, wanted: int) -> None:
        """Rewrite what counts; where that leaves too little, the least important goes."""
        kept = {entry_id: _kept(entry) for entry_id, entry in self.entries.items()}
        routes = {name: replace(record) for name, record in self.routes.items()}
        gone: list[Entry] = []
        for entry in self._least_important():
            told = {name: asdict(record) for name, record in routes.items()}
            contents = [*kept.values(), _content({"memory": self.memory_text, "routes": told})]
            free = self._records.most(len(contents) + 1) - sum(map(len, contents))
            # Where something must go, a bit more goes, so that not every change rewrites all.
            if free >= wanted + (_SLACK_BYTES if gone and entry is not None else 0):
                break
            if entry is None:
                raise HalfFullError(
                    f"A change of {wanted} bytes does not fit into the alerts' outbox, which has "
                    "room for far more: it is not kept."
                )
            del kept[entry.id]
            gone.append(entry)
            for name, record in routes.items():
                if name not in entry.delivered:
                    record.dropped += 1
                    record.dropped_ever += 1
        self._records.rewrite(contents)
        self.entries = {entry_id: self.entries[entry_id] for entry_id in kept}
        self.routes = routes
        if gone:
            logger.error(
                "The alerts' outbox is full: %d messages were dropped, reminders first.", len(gone)
            )

    def _least_important(self) -> Iterator[Entry | None]:
        """What goes first: of the least important kind the oldest; None when nothing is left.

        A reminder goes before all else: the next one says the same again.
        """
        yield from sorted(self.entries.values(), key=lambda entry: _EVICTION.index(entry.kind))
        yield None

    def _apply(self, change: dict[str, Any]) -> None:
        for raw in _listed(change, "add"):
            entry = _entry(raw)
            self.entries.setdefault(entry.id, entry)
        for entry_id, route in _listed(change, "done"):
            if entry_id in self.entries:
                self.entries[entry_id].delivered.add(route)
        for entry_id, route in _listed(change, "refused"):
            if entry_id in self.entries:
                refusals = self.entries[entry_id].refusals
                refusals[route] = refusals.get(route, 0) + 1
        for entry_id in _listed(change, "forget"):
            self.entries.pop(entry_id, None)
        for name, raw in dict(change.get("routes") or {}).items():
            self.routes[name] = RouteRecord(**raw)
        if change.get("memory") is not None:
            self.memory_text = str(change["memory"])


def _content(change: dict[str, object]) -> bytes:
    return json.dumps(change, separators=(",", ":")).encode("ascii")


def _kept(entry: Entry) -> bytes:
    return _content({"add": [_entry_json(entry)]})


def _listed(change: dict[str, Any], name: str) -> list[Any]:
    found = change.get(name) or []
    if not isinstance(found, list):
        raise TypeError(f"{name} is no list")
    return found


def _entry(told: dict[str, Any]) -> Entry:
    return Entry(
        notices=tuple(Notice.from_json(each) for each in told["notices"]),
        created_ms=int(told["created_ms"]),
        delivered=set(told["delivered"]),
        refusals=dict(told["refusals"]),
    )


def _entry_json(entry: Entry) -> dict[str, object]:
    return {
        "notices": [notice.to_json() for notice in entry.notices],
        "created_ms": entry.created_ms,
        "delivered": sorted(entry.delivered),
        "refusals": entry.refusals,
    }
