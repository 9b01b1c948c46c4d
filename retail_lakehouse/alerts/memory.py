"""What the alerts remember from tick to tick, as one JSON text.

Here: the text, of the sensor's cursor and of the outbox, and one step from one to the next. Not
here: the rules (`incidents.py`, `pacing.py`), the file (`outbox.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from retail_lakehouse.alerts.incidents import (
    Book,
    Notice,
    Seen,
    advance,
    book_from_json,
    book_to_json,
)
from retail_lakehouse.alerts.pacing import (
    Message,
    Minute,
    minute_from_json,
    minute_to_json,
    pace_notices,
)
from retail_lakehouse.contracts.alerting import AlertPace


class AlertMemoryError(ValueError):
    """A text that is not ours."""


@dataclass(frozen=True, slots=True)
class AlertMemory:
    """Open incidents and the last minute; `step` grows with each change."""

    step: int = 0
    book: Book = field(default_factory=Book)
    minute: Minute = field(default_factory=Minute)

    def to_text(self) -> str:
        """As `from_text` reads it."""
        told = {
            "step": self.step,
            "book": book_to_json(self.book),
            "minute": minute_to_json(self.minute),
        }
        return json.dumps(told, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_text(text: str | None) -> AlertMemory:
        """The memory in a text; an empty one when there is none.

        Raises:
            AlertMemoryError: the text was not written by `to_text`.
        """
        if not text:
            return AlertMemory()
        try:
            raw = json.loads(text)
            return AlertMemory(
                int(raw["step"]), book_from_json(raw["book"]), minute_from_json(raw["minute"])
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AlertMemoryError(
                f"What the alerts remembered cannot be read ({text[:80]!r}), so it is left out: "
                "without another copy of it what is open is told once more."
            ) from error


def step(
    memory: AlertMemory,
    seen: Sequence[Seen],
    known: Collection[str],
    now_ms: int,
    pace: AlertPace,
    is_silenced: Callable[[str], bool] = lambda name: False,
) -> tuple[AlertMemory, list[Message]]:
    """One look: the memory after it, and the messages to send; see `advance`, `pace_notices`."""
    book, notices = advance(memory.book, seen, known, now_ms, pace, is_silenced)
    minute, messages = pace_notices(memory.minute, notices, now_ms, pace)
    after = replace(memory, book=book, minute=minute)
    if after != memory:
        after = replace(after, step=memory.step + 1)
    return after, messages


def enriched(messages: Sequence[Message], enrich: Callable[[Notice], Notice]) -> list[Message]:
    """The messages with each notice replaced by what `enrich` makes of it."""
    return [tuple(enrich(notice) for notice in message) for message in messages]
