"""From verdicts to events, and to the sentence that a tick leaves in the list of ticks.

Here: what every sensor that judges does with its verdicts, and how often news is worth an event.
Not here: the sensors.
"""

import logging
from collections.abc import Sequence

import dagster as dg

from retail_lakehouse.checks.judged import JudgedCheck
from retail_lakehouse.sensors.edges import (
    FAILING_HEARTBEAT_SECONDS,
    HEARTBEAT_SECONDS,
    Edge,
    Memory,
)
from retail_lakehouse.settings import Settings

logger = logging.getLogger(__name__)


def check_events(
    judged: list[JudgedCheck], memory: Memory, at_ms: int
) -> list[dg.AssetCheckEvaluation]:
    """The evaluations worth an event; edges are logged as new or recovered."""
    events = []
    for check in judged:
        # A warning that becomes an outage is news, though the check had failed before.
        failed = "warned" if check.verdict.warn_only else "failed"
        state = "passed" if check.verdict.passed else failed
        name = check_name(check)
        every_seconds = HEARTBEAT_SECONDS if check.verdict.passed else FAILING_HEARTBEAT_SECONDS
        edge = memory.edge(name, state, at_ms, every_seconds)
        if edge is Edge.PERSISTING:
            continue
        if edge is Edge.CHANGED:
            word = "recovered" if check.verdict.passed else "new failure"
            logger.info("%s: %s. %s", word, name, check.verdict.sentence)
        events.append(check.evaluation())
    return events


def check_name(check: JudgedCheck) -> str:
    """The name under which a sensor remembers what it reported of a check."""
    return f"{check.key.asset_key.to_user_string()}:{check.key.name}"


def report_every_seconds(settings: Settings, tick_seconds: float) -> float:
    """How long news waits for its report, for a sensor with this interval.

    Half a tick less than the setting: a tick that comes a moment early is the one that is meant.
    """
    return max(0.0, settings.report_interval_seconds - tick_seconds / 2)


def tick_sentence(events: int, judged: Sequence[JudgedCheck]) -> str:
    """What the tick reported and what fails by now: ticks without a run show only this."""
    failing = [check for check in judged if not check.verdict.passed]
    reported = f"{events} events reported" if events else "Nothing new"
    if not failing:
        return f"{reported}; all {len(judged)} checks pass."
    first = failing[0].verdict.sentence
    return f"{reported}; {len(failing)} of {len(judged)} checks fail, the first: {first}"
