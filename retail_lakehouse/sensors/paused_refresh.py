"""What the sensor that refreshes views cannot say of itself: that it does not.

Here: which views another sensor judges in its place, because data waits for them and no refresh
comes; and those it judged so before, until they have recovered. Not here: the verdict
(`checks/view_judges.py`) or the cause (`checks/causes.py`).
"""

import dagster as dg

from retail_lakehouse.assets.views import look_at_bases
from retail_lakehouse.checks.causes import Cause
from retail_lakehouse.checks.judged import JudgedCheck
from retail_lakehouse.checks.views import SERVING_LAG, judge_views, known_holds, known_outages
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.sensors.edges import Memory
from retail_lakehouse.sensors.remembered import VIEWS_SENSOR, remembered
from retail_lakehouse.sensors.reports import check_name
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.refresh_record import read_records

_WITHOUT_A_TICK = (Cause.PAUSED_REFRESH.value, Cause.COLD_WAREHOUSE.value)
"""While they hold, the sensor that refreshes does not tick, or its tick does not end."""


def judge_paused(
    iceberg: IcebergCatalogResource,
    settings: Settings,
    memory: Memory,
    instance: dg.DagsterInstance,
    at_ms: int,
) -> list[JudgedCheck]:
    """The serving lag of views whose refresh does not end, and of those that were so and are not.

    Tables are looked at only where a refresh is missing: while they come, a tick reads one file. A
    refresh that comes and fails is not paused: its own sensor says why it failed.
    """
    records = read_records(settings.root)
    missing_ms = at_ms - SERVICE_LEVELS.missed_refreshes * settings.refresh_seconds * 1000
    is_missing = any(
        view.name not in records or records[view.name].refreshed_at_ms < missing_ms
        for view in MATERIALIZED_VIEWS
    )
    told = {name for name, (state, _) in memory.reported.items() if state == "failed"}
    was_red = any(name.endswith(f":{SERVING_LAG}") for name in told)
    if not is_missing and not was_red:
        return []
    holds = known_holds(settings.root)
    refresher = remembered(instance, VIEWS_SENSOR)
    outages = known_outages(refresher.facts, records, settings, at_ms) if refresher else {}
    lags = [
        judged
        for judged in judge_views(look_at_bases(iceberg), records, outages, settings, at_ms, holds)
        if judged.key.name == SERVING_LAG
    ]
    return [
        judged
        for judged in lags
        if judged.verdict.figures.get("cause") in _WITHOUT_A_TICK or check_name(judged) in told
    ]
