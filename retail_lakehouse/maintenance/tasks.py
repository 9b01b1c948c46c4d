"""One maintenance task over some tables, as assets and the Glue job both run it.

Here: the order of tables and what of each is reported. Not here: the session it runs in.
"""

import logging
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.maintenance.arguments import ArgumentsError, MaintenanceArguments
from retail_lakehouse.maintenance.cleanup import expire_snapshots, remove_orphans
from retail_lakehouse.maintenance.compaction import Compaction
from retail_lakehouse.maintenance.erasure import Eraser, erasable_events
from retail_lakehouse.maintenance.report import (
    Figures,
    cleanup_figures,
    compaction_figures,
    erasure_figures,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)


def run_task(
    spark: "SparkSession", arguments: MaintenanceArguments
) -> Iterator[tuple[str, Figures]]:
    """Runs the task; each table's name and figures as soon as it is done.

    Raises:
        ArgumentsError: the task, a table or the customer is none.
        CompactionRefusedError, CompactionFailedError, CompactionUncertainError, ErasureError: see
            there; tables that came before are done.
    """
    task, contracts = arguments.what, arguments.contracts
    if task is MaintenanceTask.ERASURE:
        yield from _erase(spark, arguments)
        return
    for contract in contracts:
        figures = _of_table(spark, arguments, task, contract)
        logger.info("%s of %s: %s", task.value, contract.qualified_name, dict(figures))
        yield contract.name, figures


def _of_table(
    spark: "SparkSession",
    arguments: MaintenanceArguments,
    task: MaintenanceTask,
    contract: TableContract,
) -> Figures:
    catalog = arguments.catalog_name
    if task is MaintenanceTask.COMPACTION:
        run_id = f"{arguments.job_name}-{uuid.uuid4().hex[:12]}"
        reopened = arguments.reopened.lower() != "false"
        compaction = Compaction(spark, catalog, contract, run_id)
        return compaction_figures(compaction.compact(reopened=reopened))
    if task is MaintenanceTask.EXPIRY:
        minutes = arguments.snapshot_retention_minutes
        return cleanup_figures(expire_snapshots(spark, catalog, contract, minutes))
    return cleanup_figures(remove_orphans(spark, catalog, contract))


def _erase(spark: "SparkSession", arguments: MaintenanceArguments) -> Iterator[tuple[str, Figures]]:
    if not arguments.customer:
        raise ArgumentsError("An erasure needs --customer, the id as it stands in customer_id.")
    for event in erasable_events():
        eraser = Eraser(spark, arguments.catalog_name, event, arguments.customer)
        # No lock of this job's holds a streaming job on Glue back: its marks are its own.
        for erased in eraser.erase(lambda: int(time.time() * 1000), carry_mark=False):
            yield erased.table.rpartition(".")[2], erasure_figures(erased)
