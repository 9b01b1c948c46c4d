"""Why a record is quarantined, in order of precedence.

Here: the reasons, their order, and the refusal that carries one. Not here: which record gets which
reason (`cases.py` by example, `judge.py` by code).
"""

from enum import StrEnum


class Reason(StrEnum):
    """One reason a record; where several hold, the first of this list is given."""

    TOMBSTONE = "tombstone"
    """No body at all."""
    OVERSIZE = "oversize"
    """The body is longer than the contract's `max_bytes`."""
    ENCODING = "encoding"
    """The body is not UTF-8."""
    JSON = "json"
    """The body is not one JSON text (RFC 8259), or nests deeper than the contract's `max_depth`."""
    DUPLICATE_KEY = "duplicate_key"
    """An object names one key twice: which value holds would be a guess."""
    TYPE = "type"
    """Not an object, a required field is absent or null, or a value has the wrong JSON type."""
    RANGE = "range"
    """A value of the right type that the contract does not allow."""
    TIME = "time"
    """The event time is implausible against the record's broker time."""
    CONFLICT = "conflict"
    """The same key has landed before with other content."""


PRECEDENCE: tuple[Reason, ...] = tuple(Reason)


class Refused(Exception):  # noqa: N818 - control flow inside the judge, never seen outside
    """A step of the judge ends with a reason, and with a sentence for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
