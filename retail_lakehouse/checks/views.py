"""The checks of the materialized views.

Here: their specs, and one evaluation of them all. Not here: the verdicts (`view_judges.py`), when
they are evaluated (`sensors/views.py`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from retail_lakehouse.assets.keys import view_key
from retail_lakehouse.assets.stream import now_ms
from retail_lakehouse.assets.views import BaseLook, look_at_bases
from retail_lakehouse.checks.causes import diagnose_serving
from retail_lakehouse.checks.judged import JudgedCheck, level_metadata
from retail_lakehouse.checks.view_judges import (
    first_waiting_ms,
    judge_incremental,
    judge_serving_lag,
    judge_snapshots_outlast,
)
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS, Measure, level_of
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.sensors.remembered import VIEWS_SENSOR, not_remembered, remembered
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.holds import Hold, HoldsError, read_holds
from retail_lakehouse.warehouse.refresh_record import ViewRecord, read_records
from retail_lakehouse.warehouse.session_marks import sessions_under_way

SERVING_LAG = Measure.SERVING_LAG.value
REFRESHED_INCREMENTALLY = Measure.REFRESHED_INCREMENTALLY.value
SNAPSHOTS_OUTLAST_REFRESH = Measure.SNAPSHOTS_OUTLAST_REFRESH.value

_OUTAGES = "outages"


def view_check_specs() -> list[dg.AssetCheckSpec]:
    """The checks of every materialized view."""
    specs = []
    for view in MATERIALIZED_VIEWS:
        specs += [
            dg.AssetCheckSpec(
                SERVING_LAG,
                asset=view_key(view),
                metadata=level_metadata(view.name, Measure.SERVING_LAG),
                description=(
                    "How long data that has landed waits to be seen in the view, against "
                    f"{level_of(view.name, Measure.SERVING_LAG).number:.0f} s. Its sentence "
                    "names the guilty stage."
                ),
            ),
            dg.AssetCheckSpec(
                REFRESHED_INCREMENTALLY,
                asset=view_key(view),
                metadata=level_metadata(view.name, Measure.REFRESHED_INCREMENTALLY),
                description="The last refresh folded a delta instead of recomputing in full.",
            ),
            dg.AssetCheckSpec(
                SNAPSHOTS_OUTLAST_REFRESH,
                asset=view_key(view),
                metadata=level_metadata(view.name, Measure.SNAPSHOTS_OUTLAST_REFRESH),
                description=(
                    "The snapshot that the view has folded is kept until the next refresh, which "
                    "counts from it."
                ),
            ),
        ]
    return specs


def judge_views(
    bases: Mapping[str, BaseLook | str],
    records: Mapping[str, ViewRecord],
    outages: Mapping[str, str],
    settings: Settings,
    at_ms: int,
    holds: Mapping[str, Hold],
) -> list[JudgedCheck]:
    """Every check of the views. By view: the sentence of a refresh that failed, what holds it."""
    judged = []
    session = next(iter(sessions_under_way(settings.root)), None)
    for view in MATERIALIZED_VIEWS:
        record, outage = records.get(view.name), outages.get(view.name)
        hold = holds.get(view.name)
        level = level_of(view.name, Measure.SERVING_LAG)
        lag = judge_serving_lag(view, record, bases, outage, at_ms, level, hold)
        if outage is None:
            waiting_ms = first_waiting_ms(view, record, bases)
            why = diagnose_serving(record, waiting_ms, at_ms, settings, SERVICE_LEVELS, session)
            lag = why.named_in(lag)
        judged += [
            JudgedCheck(dg.AssetCheckKey(view_key(view), SERVING_LAG), lag),
            JudgedCheck(
                dg.AssetCheckKey(view_key(view), REFRESHED_INCREMENTALLY),
                judge_incremental(view, record),
            ),
            JudgedCheck(
                dg.AssetCheckKey(view_key(view), SNAPSHOTS_OUTLAST_REFRESH),
                judge_snapshots_outlast(
                    view,
                    record,
                    bases,
                    settings.retention_minutes * 60,
                    settings.refresh_seconds,
                    at_ms,
                    hold,
                ),
            ),
        ]
    return judged


def known_holds(root: Path) -> dict[str, Hold]:
    """What holds views, by their names; none where that cannot be read, which `data.py` tells."""
    try:
        return read_holds(root).holds_among(MATERIALIZED_VIEWS)
    except HoldsError:
        return {}


def note_outages(facts: dict[str, Any], outages: Mapping[str, str], at_ms: int) -> None:
    """Keeps the sentences of the refreshes that failed at this tick, in place of those before."""
    facts[_OUTAGES] = {view: [sentence, at_ms] for view, sentence in outages.items()}


def known_outages(
    facts: Mapping[str, Any],
    records: Mapping[str, ViewRecord],
    settings: Settings,
    at_ms: int,
) -> dict[str, str]:
    """By view: why its last refresh failed, as the sensor that refreshes noted it.

    Not where a refresh has come since, nor where the sensor has ticked for so long no more that
    what it noted says nothing of now.
    """
    since_ms = at_ms - SERVICE_LEVELS.missed_refreshes * settings.refresh_seconds * 1000
    noted: Mapping[str, tuple[str, int]] = facts.get(_OUTAGES, {})
    return {
        view: sentence
        for view, (sentence, failed_ms) in noted.items()
        if failed_ms >= since_ms
        and (view not in records or records[view].refreshed_at_ms <= failed_ms)
    }


def view_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """The checks with their buttons; they read a file and table metadata, never the warehouse."""

    @dg.multi_asset_check(specs=view_check_specs(), name="view_checks", can_subset=True)
    def evaluate_views(
        context: dg.AssetCheckExecutionContext, iceberg: IcebergCatalogResource
    ) -> Iterator[dg.AssetCheckResult]:
        bases, records = look_at_bases(iceberg), read_records(settings.root)
        holds, at = known_holds(settings.root), now_ms()
        memory = remembered(context.instance, VIEWS_SENSOR)
        outages = known_outages(memory.facts, records, settings, at) if memory else {}
        for judged in judge_views(bases, records, outages, settings, at, holds):
            if judged.key not in context.selected_asset_check_keys:
                continue
            if memory is None and judged.key.name == SERVING_LAG:
                yield judged.not_knowing(not_remembered(VIEWS_SENSOR)).result()
            else:
                yield judged.result()

    return evaluate_views
