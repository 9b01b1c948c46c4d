"""Maintenance as assets: one a task and table, so that each has its own figures and plots.

Here: the specs, and what a run of them asks. Not here: the tasks (`retail_lakehouse.maintenance`),
where they run (`resources/maintenance.py`), when (`schedules.py`).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from retail_lakehouse.assets.describe import code_reference
from retail_lakehouse.assets.keys import MAINTENANCE_GROUP, OWNER, maintenance_key, table_key
from retail_lakehouse.contracts.maintenance import (
    HOUR_CLOSES_AFTER_MINUTES,
    ORPHAN_AGE_DAYS,
    MaintenanceTask,
)
from retail_lakehouse.contracts.tables import MAINTAINED_TABLES, TableContract
from retail_lakehouse.resources.maintenance import MaintenanceError, MaintenanceResource

SCHEDULED_TASKS = (MaintenanceTask.COMPACTION, MaintenanceTask.EXPIRY, MaintenanceTask.ORPHANS)
_CODE = {
    MaintenanceTask.COMPACTION: "retail_lakehouse/maintenance/compaction.py",
    MaintenanceTask.EXPIRY: "retail_lakehouse/maintenance/cleanup.py",
    MaintenanceTask.ORPHANS: "retail_lakehouse/maintenance/cleanup.py",
}


class CompactionConfig(dg.Config):
    """Which partitions a compaction takes."""

    reopened: bool = Field(
        default=True,
        description="Also partitions that were compacted before and have late rows since.",
    )


def maintenance_assets() -> list[dg.AssetsDefinition]:
    """Compaction, expiry and removal of orphans, each over every maintained table."""
    return [_compaction(), _cleanup(MaintenanceTask.EXPIRY), _cleanup(MaintenanceTask.ORPHANS)]


def task_selection(*tasks: MaintenanceTask) -> dg.AssetSelection:
    """The assets of these tasks."""
    return dg.AssetSelection.assets(
        *(maintenance_key(task, table) for task in tasks for table in MAINTAINED_TABLES)
    )


def task_op_name(task: MaintenanceTask) -> str:
    """Name of the task's op, by which a run's configuration finds it."""
    return f"maintenance_{task.value}"


def _compaction() -> dg.AssetsDefinition:
    task = MaintenanceTask.COMPACTION

    @dg.multi_asset(name=task_op_name(task), specs=_specs(task), can_subset=True)
    def compaction(
        context: dg.AssetExecutionContext,
        config: CompactionConfig,
        maintenance: MaintenanceResource,
    ) -> Iterator[Any]:
        yield from _run(context, task, maintenance, reopened=config.reopened)

    return compaction


def _cleanup(task: MaintenanceTask) -> dg.AssetsDefinition:
    @dg.multi_asset(name=task_op_name(task), specs=_specs(task), can_subset=True)
    def cleanup(
        context: dg.AssetExecutionContext, maintenance: MaintenanceResource
    ) -> Iterator[Any]:
        yield from _run(context, task, maintenance)

    return cleanup


def _run(
    context: dg.AssetExecutionContext,
    task: MaintenanceTask,
    maintenance: MaintenanceResource,
    *,
    reopened: bool = True,
) -> Iterator[Any]:
    chosen = [
        table
        for table in MAINTAINED_TABLES
        if maintenance_key(task, table) in context.selected_asset_keys
    ]
    try:
        yield from maintenance.run(context, task, chosen, reopened=reopened)
    except MaintenanceError as error:
        raise dg.Failure(description=str(error)) from error


def _specs(task: MaintenanceTask) -> list[dg.AssetSpec]:
    return [
        dg.AssetSpec(
            key=maintenance_key(task, table),
            # Expiry too: a compaction that fails must not keep old snapshots, of any table.
            deps=[table_key(table)],
            description=_description(task, table),
            group_name=MAINTENANCE_GROUP,
            owners=[OWNER],
            kinds={"pyspark", "iceberg"},
            metadata=code_reference(_CODE[task], "The task"),
        )
        for table in MAINTAINED_TABLES
    ]


def _description(task: MaintenanceTask, table: TableContract) -> str:
    name = table.qualified_name
    if task is MaintenanceTask.COMPACTION:
        return (
            f"Rewrites closed partitions of {name} into files sorted by "
            f"{', '.join(table.sort_by)}, in one `replace` snapshot; a partition is closed "
            f"{HOUR_CLOSES_AFTER_MINUTES} minutes after its end. Figures are those of the whole "
            "table, before and after."
        )
    if task is MaintenanceTask.EXPIRY:
        return (
            f"Expires snapshots of {name} past their retention, never the last mark, with the "
            "files that only they need."
        )
    return (
        f"Removes files under {name}'s location that nothing names and that are older than "
        f"{ORPHAN_AGE_DAYS} days."
    )
