"""A verdict of the watchdog, as alerts take it.

Here: severity and owner from the service level, names, spans of time in words. Not here: what is
judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from retail_lakehouse.alerts.incidents import Figure, Seen, incident_name
from retail_lakehouse.contracts.service_levels import (
    CONTROL_PLANE,
    WATCHDOG_MEASURES,
    Measure,
    level_of,
)

ALWAYS_KNOWN = frozenset(
    incident_name(CONTROL_PLANE, measure)
    for measure in WATCHDOG_MEASURES
    if measure is not Measure.SENSOR_TICKS
)
"""Names of the incidents there may always be; those of single sensors come and go."""


def verdict(
    measure: Measure,
    *,
    passed: bool,
    sentence: str,
    at_ms: int,
    part: str = "",
    figures: Mapping[str, Figure] | None = None,
) -> Seen:
    """The verdict on the control plane, or on a sensor of it. `at_ms`: since when it holds."""
    level = level_of(CONTROL_PLANE, measure)
    return Seen(
        asset=f"{CONTROL_PLANE}/{part}" if part else CONTROL_PLANE,
        check=measure.value,
        passed=passed,
        sentence=sentence,
        severity=level.severity,
        owner=level.owner,
        at_ms=at_ms,
        figures=dict(figures or {}),
    )


def clock(ms: int) -> str:
    """The time of day, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S UTC")


def span(seconds: float) -> str:
    """`95 s`, `12 min`, `3 h`."""
    if seconds < 180:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.0f} h"
