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
from retail_lakehouse.maintenance.compaction import (
    Compaction,
    CompactionFailedError,
    CompactionRefusedError,
    CompactionUncertainError,
)
from retail_lakehouse.maintenance.erasure import Eraser, erasable_events
from retail_lakehouse.maintenance.report import (
    Figures,
    cleanup_figures,
    compaction_figures,
    erasure_figures,
)
from retail_lakehouse.streaming.iceberg import TableNotReadyError, java_words

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)


class TablesFailedError(RuntimeError):
    """Some tables were not maintained; all others of the run are."""


def run_task(
    spark: "SparkSession", arguments: MaintenanceArguments
) -> Iterator[tuple[str, Figures]]:
    """Runs the task; each table's name and figures as soon as it is done.

    A table that cannot be maintained does not hold up the others.

    Raises:
        ArgumentsError: the task, a table or the customer is none.
        TablesFailedError: at the end, with a sentence for each table that was not maintained.
        CompactionRefusedError, CompactionFailedError, CompactionUncertainError, ErasureError: of an
            erasure, see there; tables that came before are done.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    task, contracts = arguments.what, arguments.contracts
    if task is MaintenanceTask.ERASURE:
        yield from _erase(spark, arguments)
        return
    failed = []
    for contract in contracts:
        name = contract.qualified_name
        try:
            figures = _of_table(spark, arguments, task, contract)
        except (
            CompactionFailedError,
            CompactionRefusedError,
            CompactionUncertainError,
            TableNotReadyError,
        ) as error:
            failed.append(str(error))
        except (Py4JJavaError, PySparkException) as error:
            failed.append(
                f"The {task.value} of {name} failed ({java_words(error)}). Its rows are whole; the "
                "next run looks at the table as it is, and what is left over goes as orphans."
            )
        else:
            logger.info("%s of %s: %s", task.value, name, dict(figures))
            yield contract.name, figures
            continue
        logger.error("%s", failed[-1])
    if failed:
        raise TablesFailedError(" ".join(failed))


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
