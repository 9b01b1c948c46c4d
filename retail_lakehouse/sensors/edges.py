"""Which verdicts are worth an event: those at an edge, and a heartbeat.

Here: the memory of what was reported last, as a sensor's cursor keeps it. Not here: sensors.
"""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

HEARTBEAT_SECONDS = 1_800
"""How often what has not changed is reported again: 54 checks at 3.4 KB are 9 MB a day by it. A
check without two of them is taken for one that nobody evaluates any more (`unlooked_seconds`)."""
FAILING_HEARTBEAT_SECONDS = 600
"""The same of what fails: its page and its next message are to say how bad it is by now."""


class Edge(StrEnum):
    """How something compares with what was reported of it last."""

    FIRST = "first"
    CHANGED = "changed"
    HEARTBEAT = "heartbeat"
    PERSISTING = "persisting"
    """Nothing new and not yet time for a heartbeat: not worth an event."""


@dataclass(slots=True)
class Memory:
    """What was reported last and when, by name; turned into a cursor and back as JSON."""

    reported: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Name -> (state, epoch ms of the report)."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Whatever else a sensor has to keep from tick to tick."""

    @staticmethod
    def from_cursor(cursor: str | None) -> "Memory":
        """The memory in a cursor; an empty one when there is none.

        Raises:
            CursorError: the cursor was not written by `to_cursor`.
        """
        if not cursor:
            return Memory()
        try:
            raw = json.loads(cursor)
            return Memory(
                reported={name: (str(s), int(ms)) for name, (s, ms) in raw["reported"].items()},
                facts=dict(raw["facts"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CursorError(
                f"The sensor's cursor cannot be read ({cursor[:80]!r}): reset it on the sensor's "
                "page; at most one report too many follows."
            ) from error

    def to_cursor(self) -> str:
        """The memory as a cursor."""
        return json.dumps(
            {"reported": self.reported, "facts": self.facts}, sort_keys=True, separators=(",", ":")
        )

    def edge(
        self, name: str, state: str, now_ms: int, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> Edge:
        """Compares `state` with the last report of `name`; remembers it if it is worth an event."""
        before = self.reported.get(name)
        if before is None:
            edge = Edge.FIRST
        elif before[0] != state:
            edge = Edge.CHANGED
        elif self.is_due(name, now_ms, heartbeat_seconds):
            edge = Edge.HEARTBEAT
        else:
            return Edge.PERSISTING
        self.note(name, state, now_ms)
        return edge

    def is_due(self, name: str, now_ms: int, every_seconds: float) -> bool:
        """Whether `name` was last reported `every_seconds` ago or longer, or never."""
        before = self.reported.get(name)
        return before is None or now_ms - before[1] >= every_seconds * 1000

    def reported_ms(self, name: str) -> int:
        """When `name` was last reported (epoch ms); 0 if never."""
        return self.reported[name][1] if name in self.reported else 0

    def note(self, name: str, state: str, now_ms: int) -> None:
        """Remembers that `name` is reported now."""
        self.reported[name] = (state, now_ms)


class CursorError(ValueError):
    """A cursor that is not ours."""
