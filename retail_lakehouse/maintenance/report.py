"""Reports of maintenance as plain numbers by name, which Dagster shows and plots.

Here: the names. Not here: measuring, or Dagster.
"""

from collections.abc import Mapping

from retail_lakehouse.maintenance.cleanup import CleanupReport
from retail_lakehouse.maintenance.compaction import CompactionReport
from retail_lakehouse.maintenance.erasure import TableErasure
from retail_lakehouse.maintenance.table_files import TableFigures

Figures = Mapping[str, int | float]


def compaction_figures(report: CompactionReport) -> Figures:
    """Of a compaction: sizes in bytes, times as their names say."""
    return {
        **_before_and_after(report.before, report.after),
        "delete_files_before": report.before.delete_files,
        "delete_files_after": report.after.delete_files,
        "rows_before": report.before.rows,
        "rows_after": report.after.rows,
        "rewritten_files": report.rewritten_files,
        "added_files": report.added_files,
        "removed_delete_files": report.removed_delete_files,
        "days_touched": report.partitions_days,
        "failed_commits": report.failed_commits,
        "replace_snapshots": 0 if report.snapshot_id is None else 1,
        "seconds": report.seconds,
    }


def cleanup_figures(report: CleanupReport) -> Figures:
    """Of an expiry or a removal of orphans: `disk_` counts whatever lies under the location.

    Neither changes a row or a delete file, so that these are not told again.
    """
    return {
        **_before_and_after(report.before, report.after),
        "disk_files_before": report.disk_before.files,
        "disk_files_after": report.disk_after.files,
        "disk_bytes_before": report.disk_before.bytes,
        "disk_bytes_after": report.disk_after.bytes,
        "removed_files": report.removed_files,
        "removed_bytes": report.removed_bytes,
        "seconds": report.seconds,
    }


def erasure_figures(erased: TableErasure) -> Figures:
    """Of an erasure, in one table."""
    return {
        "rows_erased": erased.rows,
        "delete_files_written": erased.delete_files,
        "rewritten_files": erased.rewritten_files,
        "delete_files_left": erased.delete_files_left,
    }


def _before_and_after(before: TableFigures, after: TableFigures) -> dict[str, int | float]:
    return {
        "files_before": before.files,
        "files_after": after.files,
        "bytes_before": before.bytes,
        "bytes_after": after.bytes,
        "planning_ms_before": before.planning_ms,
        "planning_ms_after": after.planning_ms,
        "snapshots_before": before.snapshots,
        "snapshots_after": after.snapshots,
    }
