"""Compaction: a table's due files rewritten into sorted ones, in one `replace` commit.

Here: staging, the guard, the commit and its repetition. Not here: which files (`plan.py`).

The rewritten rows are staged as Iceberg's own rewrite action does it (a set of scan tasks in, a set
of new files out), and by the same classes. The action itself groups files by partition, and landing
files have another spec: an hour that late rows reopened would be left as two files by the one and
merged by the next run only.
"""

import logging
import textwrap
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.maintenance.plan import DayPlan, TableFile, due_files, with_deletes
from retail_lakehouse.maintenance.table_files import (
    LiveFiles,
    TableFigures,
    is_hourly,
    live_files,
    scan_tasks,
    table_figures,
)
from retail_lakehouse.streaming.iceberg import JobTable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

REPLACE = "replace"
RUN_KEY = "retail-lakehouse.maintenance-run"
ATTEMPTS = 5
MOST_WRITERS = 24
_TARGET_BYTES = "write.target-file-size-bytes"
_CONFLICTS = (
    "org.apache.iceberg.exceptions.ValidationException",
    "org.apache.iceberg.exceptions.CommitFailedException",
)
_UNKNOWN = "org.apache.iceberg.exceptions.CommitStateUnknownException"


class CompactionRefusedError(RuntimeError):
    """What would be committed is not the same rows in other files."""


class CompactionFailedError(RuntimeError):
    """The rewrite could not be committed; the table is as it was."""


class CompactionUncertainError(RuntimeError):
    """Whether the rewrite is in the table cannot be told from here."""


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What one run did to one table. Without a due file there is no commit: `snapshot_id` None."""

    table: str
    before: TableFigures
    after: TableFigures
    snapshot_id: int | None
    rewritten_files: int
    added_files: int
    removed_delete_files: int
    partitions_days: int
    failed_commits: int
    """Commits that another one came before; what was still due then was planned anew."""
    seconds: float


@dataclass(slots=True)
class _Staged:
    """Files taken and files written, not yet committed."""

    taken: list[TableFile] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)
    written: list[Any] = field(default_factory=list)
    dropped_deletes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows_taken(self) -> int:
        return sum(int(task.file().recordCount()) for task in self.tasks)

    @property
    def rows_written(self) -> int:
        return sum(int(file.recordCount()) for file in self.written)


class Compaction:
    """Compacts one table."""

    def __init__(
        self, spark: "SparkSession", catalog: str, contract: TableContract, run_id: str
    ) -> None:
        self.table = JobTable(spark, catalog, contract)
        self._spark = spark
        self._contract = contract
        self._run_id = run_id

    def compact(self, now: datetime | None = None, *, reopened: bool = True) -> CompactionReport:
        """Rewrites what is due. `now` is UTC without zone; `reopened` as for `due_files`.

        Raises:
            CompactionRefusedError: the rewritten rows are not those that were read.
            CompactionFailedError: other commits came before each of several attempts.
            CompactionUncertainError: the catalog did not say whether the commit is in.
        """
        moment = now or datetime.now(UTC).replace(tzinfo=None)
        return self._run(
            lambda files, target_bytes: due_files(
                files,
                moment,
                target_bytes=target_bytes,
                hourly=is_hourly(self._contract),
                reopened=reopened,
            )
        )

    def clean_deletes(self) -> CompactionReport:
        """Rewrites every file that deletes apply to, open hours included, and drops the deletes.

        Raises as `compact`.
        """
        return self._run(lambda files, _: with_deletes(files))

    def _run(self, plan: Callable[[Sequence[TableFile], int], list[DayPlan]]) -> CompactionReport:
        begun = time.monotonic()
        table = self.table.load()
        before = table_figures(self._spark, table)
        target_bytes = int(table.properties().get(_TARGET_BYTES))
        committed: tuple[int, _Staged] | None = None
        failed = 0
        for attempt in range(ATTEMPTS):
            # In this order: the snapshot that is rewritten has every file that was looked at,
            # unless another rewrite took some.
            found = live_files(self._spark, self.table.name, self._contract)
            table = self.table.load()
            if not found.data:
                break
            snapshot_id = int(table.currentSnapshot().snapshotId())
            files, tasks = self._with_deletes_known(table, snapshot_id, found)
            plans = plan(files, target_bytes)
            if not plans:
                break
            staged = self._staged(table, snapshot_id, plans, tasks, target_bytes)
            if not staged.tasks:
                break
            try:
                new_id = self._commit(table, snapshot_id, staged)
            except _ConflictError as conflict:
                failed += 1
                self._discard(table, staged)
                logger.warning("%s: %s Planning anew.", self.table.name, conflict)
                if attempt == ATTEMPTS - 1:
                    raise CompactionFailedError(
                        f"{self.table.name} was not compacted: {conflict} That was attempt "
                        f"{ATTEMPTS}; nothing changed, and the next run tries again. If it goes "
                        "on, see what else deletes or compacts in this table."
                    ) from conflict
                continue
            except CompactionRefusedError:
                self._discard(table, staged)
                raise
            committed = (new_id, staged)
            break
        snapshot, done = committed or (None, _Staged())
        after = table_figures(self._spark, self.table.load())
        return CompactionReport(
            table=self._contract.name,
            before=before,
            after=after,
            snapshot_id=snapshot,
            rewritten_files=len(done.taken),
            added_files=len(done.written),
            removed_delete_files=len(done.dropped_deletes),
            partitions_days=len({file.day for file in done.taken}),
            failed_commits=failed,
            seconds=round(time.monotonic() - begun, 3),
        )

    def _with_deletes_known(
        self, table: Any, snapshot_id: int, found: LiveFiles
    ) -> tuple[list[TableFile], Mapping[str, Any]]:
        """The files, each with whether deletes apply to it; and the tasks of days with deletes."""
        from dataclasses import replace

        tasks = self._tasks(table, snapshot_id, found.days_with_deletes)
        deleted = {path for path, task in tasks.items() if len(task.deletes())}
        return [replace(file, has_deletes=file.path in deleted) for file in found.data], tasks

    def _tasks(self, table: Any, snapshot_id: int, days: Any) -> Mapping[str, Any]:
        day = self._contract.partition_by[0]
        return scan_tasks(self._spark, table, snapshot_id, day, days)

    def _staged(
        self,
        table: Any,
        snapshot_id: int,
        plans: Sequence[DayPlan],
        known_tasks: Mapping[str, Any],
        target_bytes: int,
    ) -> _Staged:
        tasks = {**self._tasks(table, snapshot_id, (p.day for p in plans)), **known_tasks}
        staged = _Staged()
        try:
            for plan in plans:
                # A file that went between the two looks at the table is left out.
                taken = [file for file in plan.files if file.path in tasks]
                if not taken:
                    continue
                of_day = [tasks[file.path] for file in taken]
                writers = min(MOST_WRITERS, max(1, -(-plan.size_bytes // target_bytes)))
                staged.taken += taken
                staged.tasks += of_day
                staged.written += self._rewrite(table, of_day, writers)
        except BaseException:
            self._discard(table, staged)
            raise
        staged.dropped_deletes = _deletes_left_without_files(
            tasks, {file.path for file in staged.taken}
        )
        return staged

    def _rewrite(self, table: Any, tasks: Sequence[Any], writers: int) -> list[Any]:
        """Writes the tasks' rows into new files that no snapshot names yet, and returns them."""
        jvm: Any = self._spark._jvm
        manager = jvm.org.apache.iceberg.spark.ScanTaskSetManager.get()
        coordinator = jvm.org.apache.iceberg.spark.FileRewriteCoordinator.get()
        set_id = str(uuid.uuid4())
        listed = jvm.java.util.ArrayList()
        for task in tasks:
            listed.add(task)
        manager.stageTasks(table, set_id, listed)
        try:
            rows = (
                self._spark.read.format("iceberg")
                .option("scan-task-set-id", set_id)
                .option("file-open-cost", "0")
                .load(self.table.name)
            )
            self._write(rows, set_id, writers)
            return list(coordinator.fetchNewFiles(table, set_id))
        finally:
            manager.removeTasks(table, set_id)
            coordinator.clearRewrite(table, set_id)

    def _write(self, rows: "DataFrame", set_id: str, writers: int) -> None:
        partition, order = self._contract.partition_by, self._contract.sort_by
        # A partition goes to one writer, which rolls its files at the target size: at most one
        # small file is left of it, so the next run finds nothing to merge.
        spread = rows.coalesce(1) if writers == 1 else rows.repartition(writers, *partition)
        (
            spread.sortWithinPartitions(*partition, *order)
            .writeTo(self.table.name)
            .option("rewritten-file-scan-task-set-id", set_id)
            .option("output-spec-id", str(self._compacted_spec_id()))
            .option("use-table-distribution-and-ordering", "false")
            .option("fanout-enabled", "false")
            .append()
        )

    def _compacted_spec_id(self) -> int:
        return self.table.spec_id(self._contract.partition_by)

    def _commit(self, table: Any, snapshot_id: int, staged: _Staged) -> int:
        """Commits the rewrite as one `replace` snapshot and returns its id.

        Iceberg repeats the commit by itself when an append came before it; it fails for good when
        a file that it replaces is gone, or has a delete that was not there when it was read.
        """
        from py4j.protocol import Py4JJavaError

        self._refuse_other_rows(staged)
        rewrite = table.newRewrite().validateFromSnapshot(snapshot_id).set(RUN_KEY, self._run_id)
        for task in staged.tasks:
            rewrite.deleteFile(task.file())
        for delete in staged.dropped_deletes.values():
            rewrite.deleteFile(delete)
        for file in staged.written:
            rewrite.addFile(file)
        try:
            refuse_other_operation(self.table.name, str(rewrite.apply().operation()))
            rewrite.commit()
        except Py4JJavaError as error:
            name = str(error.java_exception.getClass().getName())
            told = str(error.java_exception.getMessage()).partition("\n")[0]
            # It may list every file.
            told = textwrap.shorten(told, 200)
            if name == _UNKNOWN:
                raise CompactionUncertainError(
                    f"The catalog did not say whether {self.table.name} was compacted ({told}). "
                    "Its rows are whole either way. The next run looks at the table as it is; "
                    "files that are left over go as orphans."
                ) from error
            if name in _CONFLICTS:
                raise _ConflictError(f"another commit came before ({told}).") from error
            raise
        return self._snapshot_of_this_run(table)

    def _snapshot_of_this_run(self, table: Any) -> int:
        table.refresh()
        snapshot = table.currentSnapshot()
        while snapshot is not None:
            if snapshot.summary().get(RUN_KEY) == self._run_id:
                return int(snapshot.snapshotId())
            parent = snapshot.parentId()
            snapshot = None if parent is None else table.snapshot(parent)
        raise CompactionUncertainError(
            f"{self.table.name} was compacted, but the snapshot is not on its main branch: "
            "somebody rolled the table back meanwhile. Look at its history."
        )

    def _refuse_other_rows(self, staged: _Staged) -> None:
        deleted: dict[str, int] = {}
        for task in staged.tasks:
            for delete in task.deletes():
                deleted[str(delete.location())] = int(delete.recordCount())
        refuse_other_rows(
            self.table.name, staged.rows_taken, staged.rows_written, sum(deleted.values())
        )

    def _discard(self, table: Any, staged: _Staged) -> None:
        io = table.io()
        for file in staged.written:
            io.deleteFile(file.location())


class _ConflictError(RuntimeError):
    """The commit failed because of another one; the table has to be looked at again."""


def refuse_other_operation(table: str, operation: str) -> None:
    """A compaction is a `replace`, of which no view folds anything, and nothing else.

    Raises:
        CompactionRefusedError: it would be another operation.
    """
    if operation != REPLACE:
        raise CompactionRefusedError(
            f"The compaction of {table} would be committed as {operation!r}, which views take for "
            "new rows or recompute for. Nothing was committed; this is a fault in the program."
        )


def refuse_other_rows(table: str, taken: int, written: int, deleted_at_most: int) -> None:
    """A compaction writes each row it read, and none that a delete takes away.

    Raises:
        CompactionRefusedError: fewer or more rows were written.
    """
    if not taken - deleted_at_most <= written <= taken:
        raise CompactionRefusedError(
            f"The compaction of {table} read {taken} rows, of which at most {deleted_at_most} are "
            f"deleted, and wrote {written}. Nothing was committed. Run it again; if it says so "
            "again, a data file is damaged: compare the table with `retail-lakehouse verify`."
        )


def _deletes_left_without_files(tasks: Mapping[str, Any], taken: set[str]) -> Mapping[str, Any]:
    """The delete files that apply to none but the files that are rewritten."""
    deletes: dict[str, Any] = {}
    still_needed: set[str] = set()
    for path, task in tasks.items():
        for delete in task.deletes():
            deletes[str(delete.location())] = delete
            if path not in taken:
                still_needed.add(str(delete.location()))
    return {location: each for location, each in deletes.items() if location not in still_needed}
