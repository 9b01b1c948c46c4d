"""Dagster's own history as an asset: how much there is of it, and the button that prunes it.

Here: its spec, one pruning and what that reports. Not here: what is deleted
(`retail_lakehouse/history/`), when (`sensors/history.py`).
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from retail_lakehouse.assets.describe import code_reference
from retail_lakehouse.assets.keys import MAINTENANCE_GROUP, OWNER
from retail_lakehouse.history.prune import Pruned, event_rows, prune_history
from retail_lakehouse.history.space import Space, give_back, history_files, space_of
from retail_lakehouse.settings import Settings

HISTORY_KEY = dg.AssetKey(["dagster", "history"])
BUTTON_SECONDS = 600.0
"""How long the button may take: as much as anybody waits for."""


@dataclass(frozen=True, slots=True)
class HistoryPruning:
    """One pruning, with what there was before and after."""

    pruned: Pruned
    rows_after: int
    before: Space
    after: Space
    seconds: float

    def metadata(self, settings: Settings) -> dict[str, Any]:
        """The figures, for the asset's page and its plots."""
        return {
            "events": self.rows_after,
            "events_deleted": self.pruned.events,
            "check_results_deleted": self.pruned.check_results,
            "runs_deleted": self.pruned.runs,
            "size_bytes_before": self.before.size_bytes,
            "size_bytes": self.after.size_bytes,
            "free_bytes": self.after.free_bytes,
            "seconds": round(self.seconds, 3),
            "finished": self.pruned.finished,
            "days_kept": settings.history_retention_days,
        }


def prune_and_measure(
    instance: dg.DagsterInstance, settings: Settings, budget_seconds: float
) -> HistoryPruning:
    """Prunes the history and gives space back, each for at most about half of the budget.

    Raises:
        HistorySchemaError: Dagster's tables are not the known ones; nothing was deleted.
    """
    began = time.monotonic()
    # On AWS the history is in PostgreSQL, which reuses space by itself.
    files = history_files(Path(instance.root_directory)) if settings.is_local else []
    before = space_of(files)
    keep = timedelta(days=settings.history_retention_days)
    pruned = prune_history(instance, keep, datetime.now(UTC), budget_seconds / 2)
    give_back(files, budget_seconds / 2)
    return HistoryPruning(
        pruned, event_rows(instance), before, space_of(files), time.monotonic() - began
    )


def history_asset(settings: Settings) -> dg.AssetsDefinition:
    """Dagster's history; Materialize prunes it now."""

    @dg.asset(
        key=HISTORY_KEY,
        group_name=MAINTENANCE_GROUP,
        owners=[OWNER],
        kinds={"sql"},
        description=(
            "What Dagster remembers of this platform: events, results of checks, runs. Older than "
            f"{settings.history_retention_days} days it is deleted, the latest of each asset and "
            "check apart; the sensor `prune_history` does it every hour, Materialize does it now."
        ),
        metadata=code_reference("retail_lakehouse/history/prune.py", "What is deleted"),
    )
    def history(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        pruning = prune_and_measure(context.instance, settings, BUTTON_SECONDS)
        return dg.MaterializeResult(metadata=pruning.metadata(settings))

    return history
