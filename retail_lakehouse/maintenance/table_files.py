"""A table's files as maintenance sees them, and the figures that say what it gained.

Here: reading metadata, by Spark and by the JVM's Iceberg. Not here: which files are due
(`plan.py`), changing any.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.maintenance.plan import TableFile
from retail_lakehouse.maintenance.statements import statement

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_HOUR = "event_hour"
_PLANNINGS = 3


@dataclass(frozen=True, slots=True)
class TableFigures:
    """A table at one moment, by its metadata; sizes are those of live files."""

    files: int
    delete_files: int
    bytes: int
    rows: int
    """Rows in data files; those that a delete file takes away are still among them."""
    snapshots: int
    planning_ms: float
    """How long Iceberg takes to plan a scan of the whole table, the best of three."""


@dataclass(frozen=True, slots=True)
class DiskFigures:
    """What lies under a table's location: live files, and those that wait for their end."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class LiveFiles:
    """The data files of a snapshot, and the days in which delete files lie."""

    data: tuple[TableFile, ...]
    days_with_deletes: frozenset[date]


def is_hourly(contract: TableContract) -> bool:
    """Whether the table's partitions are hours; else they are days."""
    return _HOUR in contract.partition_by


def table_figures(spark: "SparkSession", table: Any) -> TableFigures:
    """Figures of a loaded Iceberg table."""
    snapshot = table.currentSnapshot()
    summary = {} if snapshot is None else snapshot.summary()
    return TableFigures(
        files=int(summary.get("total-data-files") or 0),
        delete_files=int(summary.get("total-delete-files") or 0),
        bytes=int(summary.get("total-files-size") or 0),
        rows=int(summary.get("total-records") or 0),
        snapshots=count(spark, table.snapshots()),
        planning_ms=min(_planning_ms(spark, table) for _ in range(_PLANNINGS)),
    )


def disk_figures(spark: "SparkSession", table: Any) -> DiskFigures:
    """Everything under the table's location."""
    jvm: Any = spark._jvm
    context: Any = spark.sparkContext._jsc
    path = jvm.org.apache.hadoop.fs.Path(table.location())
    summary = path.getFileSystem(context.hadoopConfiguration()).getContentSummary(path)
    return DiskFigures(int(summary.getFileCount()), int(summary.getLength()))


def size_of(spark: "SparkSession", location: str) -> int:
    """Bytes of one file."""
    jvm: Any = spark._jvm
    context: Any = spark.sparkContext._jsc
    path = jvm.org.apache.hadoop.fs.Path(location)
    status = path.getFileSystem(context.hadoopConfiguration()).getFileStatus(path)
    return int(status.getLen())


def count(spark: "SparkSession", iterable: Any) -> int:
    """How many a Java Iterable has, counted there: a call for each would be most of the time."""
    jvm: Any = spark._jvm
    return int(jvm.org.apache.iceberg.relocated.com.google.common.collect.Iterables.size(iterable))


def live_files(spark: "SparkSession", name: str, contract: TableContract) -> LiveFiles:
    """The live files of the table `name` (catalog.database.table) as they are now."""
    day = contract.partition_by[0]
    hourly = is_hourly(contract)
    bounds = f"readable_metrics.{_HOUR}"
    rows = spark.sql(
        statement(
            "live_files",
            table=name,
            day=day,
            hour=f"partition.{_HOUR}" if hourly else "0",
            first_hour=f"{bounds}.lower_bound" if hourly else "0",
            last_hour=f"{bounds}.upper_bound" if hourly else "23",
        )
    ).collect()
    return LiveFiles(
        data=tuple(_table_file(row, hourly) for row in rows if row["content"] == 0),
        days_with_deletes=frozenset(row["day"] for row in rows if row["content"] != 0),
    )


def _table_file(row: Any, hourly: bool) -> TableFile:
    is_landing = hourly and row["hour"] is None
    first, last = row["first_hour"], row["last_hour"]
    if hourly and not is_landing:
        first = last = row["hour"]
    return TableFile(
        path=row["file_path"],
        day=row["day"],
        # A file without these metrics may hold any hour.
        first_hour=0 if first is None else int(first),
        last_hour=23 if last is None else int(last),
        is_landing=is_landing,
        size_bytes=int(row["file_size_in_bytes"]),
        rows=int(row["record_count"]),
    )


def scan_tasks(
    spark: "SparkSession", table: Any, snapshot_id: int, day_column: str, days: Iterable[date]
) -> Mapping[str, Any]:
    """Iceberg's FileScanTask of each data file of these days, by the file's path."""
    jvm: Any = spark._jvm
    expressions = jvm.org.apache.iceberg.expressions.Expressions
    wanted = jvm.java.util.ArrayList()
    for day in sorted(set(days)):
        wanted.add(day.isoformat())
    if not len(wanted):
        return {}
    # The overload that takes a collection: py4j tells the two by the argument's class.
    scan = table.newScan().useSnapshot(snapshot_id).ignoreResiduals()
    planned = scan.filter(getattr(expressions, "in")(day_column, wanted)).planFiles()
    try:
        tasks = {}
        iterator = planned.iterator()
        while iterator.hasNext():
            task = iterator.next()
            tasks[str(task.file().location())] = task
        return tasks
    finally:
        planned.close()


def _planning_ms(spark: "SparkSession", table: Any) -> float:
    begun = time.perf_counter()
    planned = table.newScan().planFiles()
    try:
        count(spark, planned)
    finally:
        planned.close()
    return round((time.perf_counter() - begun) * 1000, 1)
