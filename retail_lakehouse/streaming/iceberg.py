"""The Iceberg tables through the job's JVM.

Here: marks, snapshots, specs and expiry of one table, and marked appends. Not here: what is
appended. The JVM's Iceberg is used, so that a job needs nothing that Glue does not bring.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pyspark.sql import DataFrame, SparkSession

from retail_lakehouse.contracts.mark import SUMMARY_KEY, Mark
from retail_lakehouse.contracts.tables import SNAPSHOTS_KEPT_LEAST, TableContract

_Entry = TypeVar("_Entry")


class TableNotReadyError(RuntimeError):
    """A table that the job writes is not there or not as the platform makes it."""


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """One snapshot of the main branch: its id, operation, mark, and when it was committed."""

    snapshot_id: int
    committed_ms: int
    operation: str
    mark: Mark | None


class JobTable:
    """One table that a job reads and writes. `name` is catalog.database.table."""

    def __init__(self, spark: SparkSession, catalog: str, contract: TableContract) -> None:
        self._spark = spark
        self.contract = contract
        self.name = f"{catalog}.{contract.qualified_name}"
        self._loaded: Any = None

    def load(self) -> Any:
        """Iceberg's own table object, as the catalog has it now.

        Raises:
            TableNotReadyError: the catalog has no such table, or did not answer.
        """
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        jvm: Any = self._spark._jvm
        try:
            if self._loaded is None:
                self._loaded = jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(
                    self._spark._jsparkSession, self.name
                )
            else:
                self._loaded.refresh()
        except (Py4JJavaError, PySparkException) as error:
            told = java_words(error)
            advice = (
                "Tables are made before jobs start: run `retail-lakehouse dev`, or apply the "
                "deployment, then start the job again."
                if "TABLE_OR_VIEW_NOT_FOUND" in told or "NoSuch" in told
                else "Check that the catalog can be reached and is not locked; the job's next "
                "start tries again."
            )
            raise TableNotReadyError(
                f"The table {self.name} cannot be loaded ({told}). {advice}"
            ) from error
        return self._loaded

    def uuid(self) -> str:
        """The table's own id, which a table made again under the same name does not share."""
        return str(self.load().uuid().toString())

    def snapshots_back(self) -> Iterator[SnapshotFacts]:
        """The main branch from the current snapshot back to the oldest that is left."""
        table = self.load()
        snapshot = table.currentSnapshot()
        while snapshot is not None:
            yield _facts(snapshot)
            parent = snapshot.parentId()
            snapshot = None if parent is None else table.snapshot(parent)

    def last_mark(self) -> Mark | None:
        """The newest mark on the main branch."""
        return next((facts.mark for facts in self.snapshots_back() if facts.mark), None)

    def _depth_of_last_mark(self) -> tuple[int, int | None]:
        """Snapshots from the current one back to the last mark, both counted, and its time (ms).

        0 and None without a mark. Compaction commits carry no mark: were the last one expired
        behind them, the topic would be read again from its beginning.
        """
        for depth, facts in enumerate(self.snapshots_back(), start=1):
            if facts.mark is not None:
                return depth, facts.committed_ms
        return 0, None

    def current_snapshot_id(self) -> int | None:
        """Id of the current snapshot; None for a table without one."""
        snapshot = self.load().currentSnapshot()
        return None if snapshot is None else int(snapshot.snapshotId())

    def row_count(self) -> int:
        """Rows of the current snapshot, by its summary."""
        snapshot = self.load().currentSnapshot()
        return 0 if snapshot is None else int(snapshot.summary().get("total-records") or 0)

    def landing_spec_id(self) -> int:
        """Id of the partition spec that the streaming writer uses."""
        return self.spec_id(self.contract.landing_partition_by or self.contract.partition_by)

    def spec_id(self, columns: Sequence[str]) -> int:
        """Id of the partition spec over just these columns.

        Raises:
            TableNotReadyError: the table has none.
        """
        wanted = list(columns)
        specs = self.load().specs()
        for spec_id in specs.keySet():
            if [field.name() for field in specs.get(spec_id).fields()] == wanted:
                return int(spec_id)
        raise TableNotReadyError(
            f"The table {self.name} has no partition spec over {', '.join(wanted)}. Run "
            "`retail-lakehouse dev`, or apply the deployment, to bring it to its contract."
        )

    def append(self, rows: DataFrame, mark: Mark, spec_id: int) -> None:
        """Appends `rows` in one commit that carries `mark`."""
        writer = rows.writeTo(self.name).option("output-spec-id", str(spec_id))
        for key, value in mark.to_summary().items():
            writer = writer.option(f"snapshot-property.{key}", value)
        writer.append()

    def expire(self, older_than_ms: int, keep_at_least: int = SNAPSHOTS_KEPT_LEAST) -> None:
        """Expires old snapshots and the files that only they need, never the last mark.

        The snapshot that was current at `older_than_ms` stays with all that came after it. The
        retention is longer than the longest query, so a file goes only after every reader that may
        have opened it (https://iceberg.apache.org/docs/latest/maintenance/).
        """
        table = self.load()
        depth, marked_ms = self._depth_of_last_mark()
        cutoff_ms = _cutoff_ms(table, older_than_ms)
        (
            table.expireSnapshots()
            # Time and number: compactions may commit before this does, and Iceberg counts from the
            # snapshot that is current then.
            .expireOlderThan(cutoff_ms if marked_ms is None else min(cutoff_ms, marked_ms))
            .retainLast(max(keep_at_least, depth))
            .cleanExpiredFiles(True)
            .commit()
        )


def java_words(error: Exception) -> str:
    """The first line of what Java said; PySpark turns some of its exceptions into its own."""
    thrown = getattr(error, "java_exception", None)
    text = str(error) if thrown is None else str(thrown.toString())
    return (text.strip() or type(error).__name__).splitlines()[0]


def current_at(
    history: Sequence[_Entry], moment_ms: int, became_current_ms: Callable[[_Entry], int]
) -> _Entry | None:
    """The entry that was current at the moment, None before the first; `history` is oldest first.

    After an idle time it is far older than the moment itself, and was still read just then.
    """
    position = bisect_right(history, moment_ms, key=became_current_ms)
    return history[position - 1] if position else None


def _cutoff_ms(table: Any, older_than_ms: int) -> int:
    """What is older than this has not been current since `older_than_ms`."""
    # Each entry that is looked at is a call to the JVM: a week's history is only searched.
    entry: Any = current_at(
        table.history(), older_than_ms, lambda each: int(each.timestampMillis())
    )
    snapshot = None if entry is None else table.snapshot(entry.snapshotId())
    if snapshot is None:
        return older_than_ms
    return min(older_than_ms, int(snapshot.timestampMillis()))


def _facts(snapshot: Any) -> SnapshotFacts:
    text = snapshot.summary().get(SUMMARY_KEY)
    return SnapshotFacts(
        snapshot_id=int(snapshot.snapshotId()),
        committed_ms=int(snapshot.timestampMillis()),
        operation=str(snapshot.operation()),
        mark=None if text is None else Mark.from_summary({SUMMARY_KEY: str(text)}),
    )
