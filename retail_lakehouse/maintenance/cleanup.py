"""What is removed: old snapshots with the files that only they need, and files nobody names.

Here: both for one table, with figures before and after. Not here: how long either is kept
(`contracts/maintenance.py`, settings).
"""

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.maintenance import ORPHAN_AGE_DAYS
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.maintenance.statements import statement
from retail_lakehouse.maintenance.table_files import (
    DiskFigures,
    TableFigures,
    disk_figures,
    size_of,
    table_figures,
)
from retail_lakehouse.streaming.iceberg import JobTable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """A table and its folder before and after; a writer beside may have added to both."""

    table: str
    before: TableFigures
    after: TableFigures
    disk_before: DiskFigures
    disk_after: DiskFigures
    removed_files: int
    removed_bytes: int
    seconds: float


def expire_snapshots(
    spark: "SparkSession",
    catalog: str,
    contract: TableContract,
    retention_minutes: float,
    now: datetime | None = None,
) -> CleanupReport:
    """Expires what has not been current for `retention_minutes`, never the last mark.

    The streaming job does the same every two minutes and keeps its last five snapshots: where one
    stands still, or a quarantine gets no record for days, this is what lets files go.
    """
    begun = time.monotonic()
    job_table = JobTable(spark, catalog, contract)
    table = job_table.load()
    before, on_disk = table_figures(spark, table), disk_figures(spark, table)
    moment = now or datetime.now(UTC)
    older_than = moment - timedelta(minutes=retention_minutes)
    if before.snapshots:
        job_table.expire(int(older_than.timestamp() * 1000), keep_at_least=1)
    table = job_table.load()
    left = disk_figures(spark, table)
    return CleanupReport(
        table=contract.name,
        before=before,
        after=table_figures(spark, table),
        disk_before=on_disk,
        disk_after=left,
        removed_files=max(0, on_disk.files - left.files),
        removed_bytes=max(0, on_disk.bytes - left.bytes),
        seconds=round(time.monotonic() - begun, 3),
    )


def remove_orphans(
    spark: "SparkSession",
    catalog: str,
    contract: TableContract,
    now: datetime | None = None,
) -> CleanupReport:
    """Removes files under the table's location that nothing names and that are old enough.

    A younger one may be a commit's that is under way, or a killed job's whose next start needs it.
    """
    begun = time.monotonic()
    table = JobTable(spark, catalog, contract).load()
    before, on_disk = table_figures(spark, table), disk_figures(spark, table)
    older_than = (now or datetime.now(UTC)) - timedelta(days=ORPHAN_AGE_DAYS)
    found = spark.sql(
        statement(
            "orphan_files",
            catalog=catalog,
            table=contract.qualified_name,
            older_than=older_than.strftime("%Y-%m-%d %H:%M:%S"),
        )
    ).collect()
    removed = 0
    for row in found:
        location = str(row["orphan_file_location"])
        removed += size_of(spark, location)
        table.io().deleteFile(location)
    if found:
        logger.info("Removed %d orphan files of %s.", len(found), contract.qualified_name)
    return CleanupReport(
        table=contract.name,
        before=before,
        after=table_figures(spark, table),
        disk_before=on_disk,
        disk_after=disk_figures(spark, table),
        removed_files=len(found),
        removed_bytes=removed,
        seconds=round(time.monotonic() - begun, 3),
    )
