"""The sensor that keeps Dagster's history bounded.

Here: one pruning a tick, and when it is worth an event. Not here: what is deleted
(`retail_lakehouse/history/`). A sensor and no schedule: it also ticks when the machine was off at
the scheduled hour, needs no run (a process of its own for a second of work), and an hour's share is
small enough to hold up nobody.
"""

import dagster as dg

from retail_lakehouse.assets.history import HISTORY_KEY, HistoryPruning, prune_and_measure
from retail_lakehouse.assets.stream import now_ms
from retail_lakehouse.sensors.edges import Memory
from retail_lakehouse.settings import Settings

PRUNE_EVERY_SECONDS = 3600
BUDGET_SECONDS = 20.0
"""Well under what a tick may take (60 s); what is left over is deleted in the next hour."""
REPORT_EVERY_SECONDS = 86_400
_MEGABYTE = 1_000_000


def history_sensor(settings: Settings) -> dg.SensorDefinition:
    """Prunes Dagster's history every hour and reports what is kept once a day."""

    @dg.sensor(
        name="prune_history",
        minimum_interval_seconds=PRUNE_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        asset_selection=[HISTORY_KEY],
        description=(
            f"Deletes Dagster's history older than {settings.history_retention_days} days, the "
            "latest of each asset and check apart."
        ),
    )
    def prune_history(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        memory, at = Memory.from_cursor(context.cursor), now_ms()
        pruning = prune_and_measure(context.instance, settings, BUDGET_SECONDS)
        events = []
        if memory.is_due("history", at, REPORT_EVERY_SECONDS - PRUNE_EVERY_SECONDS / 2):
            metadata = pruning.metadata(settings)
            events.append(dg.AssetMaterialization(HISTORY_KEY, metadata=metadata))
            memory.note("history", "reported", at)
        return dg.SensorResult(
            asset_events=events, cursor=memory.to_cursor(), skip_reason=_sentence(pruning)
        )

    return prune_history


def _sentence(pruning: HistoryPruning) -> str:
    pruned, kept = pruning.pruned, f"{pruning.after.size_bytes / _MEGABYTE:.1f} MB are kept"
    if not pruned.anything:
        return f"Nothing is old enough to be deleted; {kept}."
    rest = "" if pruned.finished else " More is old and follows in the next hour."
    return (
        f"Deleted {pruned.events} events, {pruned.check_results} results of checks and "
        f"{pruned.runs} runs in {pruning.seconds:.1f} s; {kept}.{rest}"
    )
