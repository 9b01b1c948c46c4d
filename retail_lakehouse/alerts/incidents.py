"""Which verdicts are worth telling: opened, still open, recovered.

Here: pure functions from what is known and what is seen now, the clock an argument. Not here: how
many messages become of it (`pacing.py`), words (`message.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

from retail_lakehouse.contracts.alerting import NOT_JUDGED, AlertPace
from retail_lakehouse.contracts.service_levels import CONTROL_PLANE, DATA_PLATFORM, Severity

Figure = int | float | str


class Kind(StrEnum):
    """What a notice tells."""

    OPENED = "opened"
    STILL_OPEN = "still open"
    RECOVERED = "recovered"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Seen:
    """The latest verdict of one check. `at_ms`: when it was given."""

    asset: str
    check: str
    passed: bool
    sentence: str
    severity: Severity
    owner: str
    at_ms: int
    figures: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What alerts are deduplicated by, and silences match."""
        return incident_name(self.asset, self.check)


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell of one incident."""

    kind: Kind
    asset: str
    check: str
    severity: Severity
    owner: str
    sentence: str
    since_ms: int
    at_ms: int
    told: int = 0
    """How often the incident was told before."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    snapshot: str = ""
    """The asset's last snapshot or data version, where there is one."""

    @property
    def name(self) -> str:
        """Of the incident."""
        return incident_name(self.asset, self.check)

    @property
    def id(self) -> str:
        """The same for the same telling of the same incident, whoever computes it."""
        told = f"{self.kind}|{self.name}|{self.since_ms}|{self.told}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, object]:
        """As `from_json` reads it."""
        return asdict(self)

    @staticmethod
    def from_json(raw: Mapping[str, object]) -> Notice:
        """What `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        told = dict(raw)
        kind, severity = Kind(str(told.pop("kind"))), Severity(str(told.pop("severity")))
        return Notice(kind=kind, severity=severity, **told)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Incident:
    """A check that fails, as it is remembered from tick to tick."""

    asset: str
    check: str
    severity: Severity
    owner: str
    sentence: str
    since_ms: int
    due_ms: int
    """When it is to be told next."""
    told: int = 0
    told_ms: int = 0
    """When it was told last."""
    is_judged: bool = True
    """Whether the last verdict was one; else nobody could look."""
    worst: Severity = Severity.INFO
    """As what it was told at the worst: whoever was told of that is told of the recovery."""

    @property
    def name(self) -> str:
        """What it is deduplicated by."""
        return incident_name(self.asset, self.check)


@dataclass(frozen=True, slots=True)
class Book:
    """Every open incident, and when each check opened and was told lately."""

    open: Mapping[str, Incident] = field(default_factory=dict)
    opened_ms: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    told_ms: Mapping[str, int] = field(default_factory=dict)
    """When each was told last, of those that were told lately."""


def is_judged(figures: Mapping[str, Figure]) -> bool:
    """Whether these are figures of a verdict, not of a check that could not look."""
    return any(figures.get(name) != value for name, value in NOT_JUDGED.items())


def incident_name(asset: str, check: str) -> str:
    """`asset:check`, the asset's parts divided by slashes."""
    return f"{asset}:{check}"


def advance(
    book: Book,
    seen: Sequence[Seen],
    known: Collection[str],
    now_ms: int,
    pace: AlertPace,
    is_silenced: Callable[[str], bool] = lambda name: False,
) -> tuple[Book, list[Notice]]:
    """The book after a look at `seen`, and what is to be told.

    A check that is `known` and not seen stays as it is; an open one that is not known any more
    has recovered. Silenced incidents are kept and told when the silence ends, if they are still
    open; the recovery of one that was told is told in any case.
    """
    opened = dict(book.open)
    openings = _lately(book.opened_ms, now_ms, pace)
    told_ms = {name: ms for name, ms in book.told_ms.items() if _is_lately(ms, now_ms, pace)}
    notices: list[Notice] = []
    for each in seen:
        incident = opened.get(each.name)
        if each.passed:
            if incident is not None:
                del opened[each.name]
                notices += _recovery(incident, each.sentence, now_ms)
            continue
        if incident is None:
            before = openings.get(each.name, ())
            openings[each.name] = (*before, now_ms)
            is_flapping = len(before) >= pace.flapping_opened
            last_ms = told_ms.get(each.name) if is_flapping else None
            due_ms = _first_due(last_ms, now_ms, pace)
            # A verdict cannot be from later than now, whatever the other's clock says.
            since_ms = min(each.at_ms, now_ms)
            incident = _incident(each, since_ms, due_ms)
        elif each.severity.rank > incident.severity.rank:
            incident = replace(incident, due_ms=_due_as_worse(incident, each, now_ms, pace))
        # No due time is further off than its pace, but after a clock that was set back.
        due_ms = min(incident.due_ms, now_ms + _longest_wait_ms(incident, pace))
        incident = replace(
            incident,
            severity=each.severity,
            sentence=each.sentence,
            due_ms=due_ms,
            is_judged=is_judged(each.figures),
        )
        if incident.due_ms <= now_ms and not is_silenced(each.name):
            times = len(openings.get(each.name, ()))
            notices.append(_telling(incident, each, now_ms, times, pace))
            told_ms[each.name] = now_ms
            steps = pace.reminders_seconds
            wait_ms = steps[min(incident.told, len(steps) - 1)] * 1000
            incident = replace(
                incident,
                told=incident.told + 1,
                told_ms=now_ms,
                due_ms=now_ms + wait_ms,
                worst=_worse(incident.worst, incident.severity),
            )
        opened[each.name] = incident
    for name in [name for name in opened if name not in known]:
        gone = "The check is not part of the platform any more."
        notices += _recovery(opened.pop(name), gone, now_ms)
    return Book(opened, openings, told_ms), notices


def rehearsal(now_ms: int) -> Notice:
    """A notice of nothing, to try a route with."""
    return Notice(
        kind=Kind.TEST,
        asset=CONTROL_PLANE,
        check="rehearsal",
        severity=Severity.INFO,
        owner=DATA_PLATFORM,
        sentence="Nothing is wrong. Somebody tries whether alerts arrive here: they do.",
        since_ms=now_ms,
        at_ms=now_ms,
    )


def book_to_json(book: Book) -> dict[str, object]:
    """As `book_from_json` reads it."""
    return {
        "open": [asdict(incident) for incident in book.open.values()],
        "opened_ms": {name: list(times) for name, times in book.opened_ms.items()},
        "told_ms": dict(book.told_ms),
    }


def book_from_json(raw: Mapping[str, object]) -> Book:
    """What `book_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is something else.
    """
    incidents = []
    for told in json.loads(json.dumps(raw["open"])):
        severity = Severity(told.pop("severity"))
        # A text of a version that did not know it yet has none.
        worst = Severity(told.pop("worst", severity))
        incidents.append(Incident(severity=severity, worst=worst, **told))
    times = json.loads(json.dumps(raw["opened_ms"]))
    told_ms = json.loads(json.dumps(raw.get("told_ms", {})))
    return Book(
        {incident.name: incident for incident in incidents},
        {str(name): tuple(int(ms) for ms in each) for name, each in times.items()},
        {str(name): int(ms) for name, ms in told_ms.items()},
    )


def _incident(seen: Seen, since_ms: int, due_ms: int) -> Incident:
    return Incident(
        asset=seen.asset,
        check=seen.check,
        severity=seen.severity,
        owner=seen.owner,
        sentence=seen.sentence,
        since_ms=since_ms,
        due_ms=due_ms,
    )


def _worse(one: Severity, other: Severity) -> Severity:
    return max(one, other, key=lambda each: each.rank)


def _first_due(told_ms: int | None, now_ms: int, pace: AlertPace) -> int:
    """At once, unless it was told at `told_ms` and fails and passes by turns.

    Then it has to stay failed for long enough, or nobody to have heard of it for a whole window.
    """
    if told_ms is None:
        return now_ms
    again_ms = told_ms + pace.flapping_window_seconds * 1000
    return min(again_ms, now_ms + pace.flapping_hold_seconds * 1000)


def _longest_wait_ms(incident: Incident, pace: AlertPace) -> int:
    """From the look that makes it wait to its next telling, at the most."""
    if not incident.told:
        return pace.flapping_hold_seconds * 1000
    steps = pace.reminders_seconds
    return steps[min(incident.told, len(steps)) - 1] * 1000


def _due_as_worse(incident: Incident, seen: Seen, now_ms: int, pace: AlertPace) -> int:
    """At once where nobody was told of the like; else not before the first reminder is due.

    A check that is badly and mildly failed by turns would be told at every turn.
    """
    if not incident.told or seen.severity.rank > incident.worst.rank:
        return now_ms
    again_ms = incident.told_ms + pace.reminders_seconds[0] * 1000
    return min(incident.due_ms, max(now_ms, again_ms))


def _telling(incident: Incident, seen: Seen, now_ms: int, times: int, pace: AlertPace) -> Notice:
    sentence = seen.sentence
    if times > pace.flapping_opened:
        sentence += f" It has failed and passed by turns: {times} times within the hour."
    return Notice(
        kind=Kind.STILL_OPEN if incident.told else Kind.OPENED,
        asset=incident.asset,
        check=incident.check,
        severity=incident.severity,
        owner=incident.owner,
        sentence=sentence,
        since_ms=incident.since_ms,
        at_ms=now_ms,
        told=incident.told,
        figures=dict(seen.figures),
    )


def _recovery(incident: Incident, sentence: str, now_ms: int) -> list[Notice]:
    """Nothing for one that nobody was told of."""
    if not incident.told:
        return []
    return [
        Notice(
            kind=Kind.RECOVERED,
            asset=incident.asset,
            check=incident.check,
            severity=_worse(incident.worst, incident.severity),
            owner=incident.owner,
            sentence=sentence,
            since_ms=incident.since_ms,
            at_ms=now_ms,
            told=incident.told,
            figures={} if incident.is_judged else dict(NOT_JUDGED),
        )
    ]


def _lately(
    opened_ms: Mapping[str, tuple[int, ...]], now_ms: int, pace: AlertPace
) -> dict[str, tuple[int, ...]]:
    """Without what is not of the window any more."""
    kept = {
        name: tuple(ms for ms in times if _is_lately(ms, now_ms, pace))
        for name, times in opened_ms.items()
    }
    return {name: times for name, times in kept.items() if times}


def _is_lately(ms: int, now_ms: int, pace: AlertPace) -> bool:
    """Whether it is of the last window; nothing is that a clock told which was set back since."""
    return 0 <= now_ms - ms < pace.flapping_window_seconds * 1000
