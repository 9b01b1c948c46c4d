"""What `verify` found: one line a check, with both sides.

Here: checks and their wording. Not here: how the sides are computed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

NOTE = "note "
"""How a line begins that is no check."""
KINDS_IN_LEDGER = "kinds in the ledger"


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison. `ledger` and `found` are the two sides as text, `relation` what holds."""

    topic: str
    name: str
    ledger: str
    found: str
    holds: bool
    relation: str = "="

    def __str__(self) -> str:
        sign = "ok  " if self.holds else "FAIL"
        negated = "is not" if self.relation == "=" else f"not {self.relation}"
        relation = self.relation if self.holds else negated
        return f"{sign} {self.topic}: {self.name}: {self.ledger} {relation} {self.found}"


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What became of one topic's records whose delivery was unknown, a kill having come between.

    Of the `unresolved` that this run found, `resolved` are booked now: `undelivered` of those are
    not in the topic, the others are. `undelivered_ever` counts since the ledger began.
    """

    topic: str
    unresolved: int
    resolved: int
    undelivered: int
    undelivered_ever: int

    def __str__(self) -> str:
        return (
            f"{NOTE}{self.topic}: deliveries: {self.unresolved} were unresolved, of which "
            f"{self.resolved - self.undelivered} had arrived and {self.undelivered} had not; "
            f"{self.undelivered_ever} never arrived since the ledger began"
        )


@dataclass(frozen=True, slots=True)
class Kinds:
    """What one topic's acknowledged records are, by the ledger: how many of each kind."""

    topic: str
    counts: Mapping[str, int]

    def __str__(self) -> str:
        # The marks know duplicates only as one number, so these are no check.
        told = (f"{name.lower()} {count}" for name, count in self.counts.items())
        return f"{NOTE}{self.topic}: {KINDS_IN_LEDGER}: {', '.join(told) or 'none'}"


@dataclass(frozen=True, slots=True)
class ErasedNote:
    """What of one topic was erased on request: rows, and quarantined records."""

    topic: str
    erasures: int
    rows: int
    quarantined: int

    def __str__(self) -> str:
        return (
            f"{NOTE}{self.topic}: erased on request: {self.rows} rows and {self.quarantined} "
            f"quarantined records, in {self.erasures} erasures. They are counted as the erasures "
            "summed them up before their deletes; nothing else knows them any more"
        )


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All checks of one run; `seconds` is how long it took."""

    checks: tuple[Check, ...]
    seconds: float
    deliveries: tuple[Deliveries, ...] = ()
    kinds: tuple[Kinds, ...] = ()
    erased: tuple[ErasedNote, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.holds)

    def lines(self) -> Iterator[str]:
        """Lines on deliveries, kinds and erasures, one a check, then the verdict."""
        yield from map(str, self.deliveries)
        yield from map(str, self.kinds)
        yield from map(str, self.erased)
        yield from map(str, self.checks)
        if self.ok:
            yield f"All {len(self.checks)} checks hold ({self.seconds:.1f} s)."
        else:
            yield (
                f"{len(self.failed)} of {len(self.checks)} checks do not hold "
                f"({self.seconds:.1f} s): the tables are not what the ledger says."
            )


def equal(topic: str, name: str, ledger: object, found: object) -> Check:
    """The check that both sides are the same."""
    return Check(topic, name, str(ledger), str(found), ledger == found)
