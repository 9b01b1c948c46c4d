"""How many messages become of what is to be told: a storm is one digest, a burst too.

Here: a pure function over the last minute. Not here: what is to be told (`incidents.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from retail_lakehouse.alerts.incidents import Kind, Notice
from retail_lakehouse.contracts.alerting import AlertPace

Message = tuple[Notice, ...]
"""One message's notices; more than one is a digest."""


@dataclass(frozen=True, slots=True)
class Minute:
    """What was told within the window, and what waits for the next digest."""

    messages_ms: tuple[int, ...] = ()
    opened_ms: tuple[int, ...] = ()
    digest_ms: int | None = None
    held: tuple[Notice, ...] = ()


def pace_notices(
    minute: Minute, notices: Sequence[Notice], now_ms: int, pace: AlertPace
) -> tuple[Minute, list[Message]]:
    """The messages to send now. What exceeds the pace waits for a digest, one a window at most."""

    def lately(times: Sequence[int]) -> tuple[int, ...]:
        # A clock that was set back must hold nothing: what is from later than now is forgotten.
        return tuple(ms for ms in times if 0 <= now_ms - ms < pace.window_seconds * 1000)

    waiting = _newest_of_each((*minute.held, *notices))
    messages_ms = lately(minute.messages_ms)
    newly = sum(notice.kind is Kind.OPENED for notice in notices)
    opened_ms = lately(minute.opened_ms) + (now_ms,) * newly
    digests = lately(() if minute.digest_ms is None else (minute.digest_ms,))
    is_storm = (
        bool(minute.held)
        or len(opened_ms) > pace.storm_opened
        or len(messages_ms) + len(waiting) > pace.messages_per_window
    )
    messages: list[Message] = []
    held: tuple[Notice, ...] = ()
    digest_ms = digests[0] if digests else None
    if not is_storm:
        messages = [(notice,) for notice in waiting]
    elif digests:
        held = waiting
    elif waiting:
        messages = [waiting]
        digest_ms = now_ms
    messages_ms += (now_ms,) * len(messages)
    return Minute(messages_ms, opened_ms, digest_ms, held), messages


def minute_to_json(minute: Minute) -> dict[str, object]:
    """As `minute_from_json` reads it."""
    return {
        "messages_ms": list(minute.messages_ms),
        "opened_ms": list(minute.opened_ms),
        "digest_ms": minute.digest_ms,
        "held": [notice.to_json() for notice in minute.held],
    }


def minute_from_json(raw: Mapping[str, object]) -> Minute:
    """What `minute_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    told = json.loads(json.dumps(raw))
    digest_ms = told["digest_ms"]
    return Minute(
        messages_ms=tuple(int(ms) for ms in told["messages_ms"]),
        opened_ms=tuple(int(ms) for ms in told["opened_ms"]),
        digest_ms=None if digest_ms is None else int(digest_ms),
        held=tuple(Notice.from_json(each) for each in told["held"]),
    )


def _newest_of_each(notices: Sequence[Notice]) -> tuple[Notice, ...]:
    """One notice an incident: what opened and recovered while it waited has recovered."""
    newest: dict[str, Notice] = {}
    for notice in notices:
        before = newest.pop(notice.name, None)
        if before is not None and before.kind is Kind.OPENED and notice.kind is Kind.STILL_OPEN:
            # Nobody has heard of it yet; what is known of it now counts, worse as it may be.
            notice = replace(notice, kind=Kind.OPENED, told=before.told)
        newest[notice.name] = notice
    return tuple(newest.values())
