"""One turn of the alerts: from verdicts to the outbox, and from the outbox to people.

Here: the order of the steps, and what a fault of one of them does to the others. Not here: the
steps. A broken file of silences silences nothing, a broken file of routes keeps everything in the
outbox: neither stops a turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from retail_lakehouse.alerts.delivery import deliver
from retail_lakehouse.alerts.incidents import Notice, Seen
from retail_lakehouse.alerts.memory import AlertMemory, AlertMemoryError, enriched, step
from retail_lakehouse.alerts.message import Links
from retail_lakehouse.alerts.outbox import Outbox, open_outbox
from retail_lakehouse.alerts.routes import RoutesError, read_routes
from retail_lakehouse.alerts.silences import SilenceError, is_silenced, read_silences
from retail_lakehouse.contracts.alerting import ALERT_PACE
from retail_lakehouse.contracts.service_levels import CONTROL_PLANE, Measure, level_of
from retail_lakehouse.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What a turn leaves: the memory as a text, and a sentence for the list of ticks."""

    cursor: str
    sentence: str


def links_of(settings: Settings) -> Links:
    """Where the addresses in a message lead."""
    return Links(settings.dagster_address, settings.runbooks_url)


def remembered(outbox: Outbox, cursor: str | None) -> tuple[AlertMemory, list[str]]:
    """What the outbox and the cursor remember, the newer of the two; and sentences on faults.

    They are equal but for a kill between writing the one and the other, or a lost file.
    """
    found, faults = AlertMemory(), []
    for text in (cursor, outbox.memory_text):
        try:
            memory = AlertMemory.from_text(text)
        except AlertMemoryError as error:
            faults.append(str(error))
            continue
        found = max(found, memory, key=lambda each: each.step)
    return found, faults


def tell(
    settings: Settings,
    seen: Sequence[Seen],
    known: Collection[str],
    cursor: str | None,
    at_ms: int,
    enrich: Callable[[Notice], Notice] = lambda notice: notice,
) -> Told:
    """One turn. `known`: the names of all checks there are; `enrich` is asked of what is told.

    Raises:
        RecordFileError: the outbox cannot be made, read or written: nothing is remembered of this
            look, so the next one tells it.
    """
    folder = settings.alerts_dir
    faults: list[str] = []
    try:
        silences = read_silences(folder, at_ms)
    except SilenceError as error:
        silences = []
        faults.append(str(error))
    with open_outbox(folder) as outbox:
        memory, unreadable = remembered(outbox, cursor)
        faults += unreadable
        after, messages = step(
            memory,
            seen,
            known,
            at_ms,
            ALERT_PACE,
            lambda name: is_silenced(silences, name, at_ms),
        )
        text = after.to_text()
        if messages or text != outbox.memory_text:
            outbox.post(enriched(messages, enrich), text, at_ms)
    sent, waiting = 0, 0
    try:
        routes = read_routes(settings.routes_file)
    except RoutesError as error:
        faults.append(str(error))
    else:
        done = deliver(folder, routes, links_of(settings))
        sent, waiting = done.sent, done.waiting
        faults += [f"The route {name} fails: {why}" for name, why in done.errors.items()]
    for fault in faults:
        logger.error("%s", fault)
    told = f"{len(after.book.open)} open, {sent} messages sent, {waiting} wait."
    return Told(text, " ".join([told, *faults]))


def judge_looked_at(
    evaluated_ms: Mapping[str, int | None],
    watching_since_ms: int,
    at_ms: int,
) -> Seen:
    """Whether somebody still evaluates the checks: ours, so that silence is no good news.

    `evaluated_ms`: by name, when each was evaluated last, of those that are evaluated again and
    again. `watching_since_ms`: since when this is looked at without a break: after a pause of the
    whole platform its checks have as long as they ever do.
    """
    level = level_of(CONTROL_PLANE, Measure.CHECKS_LOOKED_AT)
    patience_ms = level.number * 1000
    late = sorted(
        name
        for name, ms in evaluated_ms.items()
        if at_ms - max(ms or 0, watching_since_ms) > patience_ms
    )
    sentence = f"All {len(evaluated_ms)} checks are evaluated."
    if late:
        sentence = (
            f"{len(late)} of {len(evaluated_ms)} checks were not evaluated for "
            f"{level.number / 60:.0f} minutes, {late[0]} among them: a sensor is off, fails "
            "at every tick or hangs. See the sensors' ticks in Dagster."
        )
    return Seen(
        asset=CONTROL_PLANE,
        check=level.measure.value,
        passed=not late,
        sentence=sentence,
        severity=level.severity,
        owner=level.owner,
        at_ms=at_ms,
        figures={"checks_not_evaluated": len(late)},
    )


def with_snapshot(notice: Notice, snapshot: str) -> Notice:
    """The notice with the asset's last snapshot."""
    return replace(notice, snapshot=snapshot)
