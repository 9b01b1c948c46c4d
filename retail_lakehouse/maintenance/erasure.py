"""Erasing one customer: the rows deleted, the files that held them rewritten.

Here: what happens in the tables, by Spark. Not here: asking, the lease, the account for `verify`
(`local/erasure.py`), the views.

A delete in these tables is merge-on-read: it writes position deletes beside the data files, which
still hold the rows. The cleaning rewrites those files without them and drops the delete files, and
rewrites the manifests, whose bounds may name the customer. What held the rows then goes with the
snapshots that still name it, after their retention.
"""

import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retail_lakehouse.contracts.events import CUSTOMER_ID_FIELD, EVENTS, EventContract
from retail_lakehouse.contracts.mark import Mark, MarkKind
from retail_lakehouse.contracts.tables import TableContract, event_table, quarantine_table
from retail_lakehouse.maintenance.compaction import Compaction
from retail_lakehouse.maintenance.statements import statement
from retail_lakehouse.streaming.iceberg import JobTable
from retail_lakehouse.streaming.progress import ENGINE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

DELETE_ATTEMPTS = 5
_WORD = "A-Za-z0-9_-"
_LONGEST_ID = 256


class ErasureError(RuntimeError):
    """A customer that cannot be erased as asked."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where one table has the customer: coordinates, None where the row was backfilled."""

    contract: TableContract
    places: tuple[tuple[int | None, int | None], ...]


@dataclass(frozen=True, slots=True)
class TableErasure:
    """What was done to one table."""

    table: str
    rows: int
    """Rows that the delete took away."""
    delete_files: int
    """Position delete files that it wrote; a file whose every row goes is dropped at once."""
    rewritten_files: int
    delete_files_left: int
    cleaned_at_ms: int
    """When the last snapshot that holds the rows ceased to be current."""


def erasable_events() -> tuple[EventContract, ...]:
    """The events that say who a customer is."""
    return tuple(e for e in EVENTS if any(field.name == CUSTOMER_ID_FIELD for field in e.fields))


def checked_customer(customer: str) -> str:
    """The id as it was given, if it can be one.

    Raises:
        ErasureError: it is empty, too long, or has spaces or control characters.
    """
    if not customer or len(customer) > _LONGEST_ID or any(c.isspace() for c in customer):
        raise ErasureError(
            f"{customer!r} is no customer id: give it as it stands in {CUSTOMER_ID_FIELD}, without "
            "spaces."
        )
    if not customer.isprintable():
        raise ErasureError("The customer id has control characters; give it as it stands.")
    return customer


def mention(customer: str) -> str:
    """A regular expression for the id as a word of its own.

    Spark (Java) and DuckDB (RE2) read it alike.
    """
    quoted = "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):x}}}" for c in customer)
    return f"(^|[^{_WORD}]){quoted}($|[^{_WORD}])"


class Eraser:
    """Erases one customer from one event's two tables.

    On one machine its caller holds the topic's lease, so that what was found is what is deleted.
    """

    def __init__(
        self, spark: "SparkSession", catalog: str, event: EventContract, customer: str
    ) -> None:
        self._spark = spark
        self._catalog = catalog
        self._event = event
        self._customer = checked_customer(customer)
        self._run_id = f"erase-{uuid.uuid4().hex[:12]}"
        self.rows = JobTable(spark, catalog, event_table(event))
        self.quarantine = JobTable(spark, catalog, quarantine_table(event))

    def find(self) -> tuple[Found, Found]:
        """Where event table and quarantine have the customer."""
        return self._found(self.rows, "find_rows"), self._found(self.quarantine, "find_quarantined")

    def erase(self, now_ms: Any, *, carry_mark: bool) -> Iterator[TableErasure]:
        """Deletes and cleans, table by table; `now_ms` is a clock.

        Args:
            now_ms: epoch milliseconds, called after each table.
            carry_mark: commit the last mark once more, without rows: the snapshot of the one before
                names files that hold the customer, and the last mark never expires. Only a holder
                of the topic's lock may.

        Raises:
            ErasureError: other commits came before each attempt of the delete.
            CompactionFailedError, CompactionRefusedError, CompactionUncertainError: the rows are
                deleted, but not cleaned.
        """
        # The quarantine first: an interrupted erasure then still finds the rows to count.
        for table, name in ((self.quarantine, "quarantined"), (self.rows, "rows")):
            rows, delete_files = self._delete(table, f"delete_{name}", f"find_{name}")
            yield self._clean(table, rows, delete_files, now_ms, carry_mark)

    def _arguments(self) -> dict[str, str]:
        as_latin_1 = self._customer.encode().decode("latin-1")
        return {
            "customer": self._customer,
            "mentioned": mention(self._customer),
            "mentioned_bytes": mention(as_latin_1),
        }

    def _found(self, table: JobTable, find: str) -> Found:
        rows = self._spark.sql(statement(find, table=table.name), args=self._arguments())
        return Found(table.contract, tuple((row[0], row[1]) for row in rows.collect()))

    def _delete(self, table: JobTable, delete: str, find: str) -> tuple[int, int]:
        """Rows deleted, and position delete files written for them."""
        from py4j.protocol import Py4JJavaError

        if not self._found(table, find).places:
            return 0, 0
        for attempt in range(DELETE_ATTEMPTS):
            try:
                self._spark.sql(statement(delete, table=table.name), args=self._arguments())
            except Py4JJavaError as error:
                told = str(error.java_exception.getMessage()).partition("\n")[0]
                if "ValidationException" not in str(error) or attempt == DELETE_ATTEMPTS - 1:
                    raise ErasureError(
                        f"Deleting from {table.name} failed: {told}. Nothing of it was deleted. "
                        "Erase again; beside a job that cannot yield (on AWS) it may take some "
                        "attempts, or stop that job first."
                    ) from error
                logger.warning("Another commit came before the delete (%s); again.", told)
                continue
            break
        summary = table.load().currentSnapshot().summary()
        deleted = int(summary.get("added-position-deletes") or 0)
        dropped = int(summary.get("deleted-records") or 0)
        return deleted + dropped, int(summary.get("added-delete-files") or 0)

    def _clean(
        self, table: JobTable, rows: int, delete_files: int, now_ms: Any, carry_mark: bool
    ) -> TableErasure:
        compaction = Compaction(self._spark, self._catalog, table.contract, self._run_id)
        report = compaction.clean_deletes()
        if rows:
            self._rewrite_manifests(table)
            mark = table.last_mark()
            if carry_mark and mark is not None:
                self._carry(table, mark, now_ms())
        return TableErasure(
            table=table.contract.qualified_name,
            rows=rows,
            delete_files=delete_files,
            rewritten_files=report.rewritten_files,
            delete_files_left=report.after.delete_files,
            cleaned_at_ms=now_ms(),
        )

    def _rewrite_manifests(self, table: JobTable) -> None:
        """Drops what manifests still say of files that are gone, their bounds included."""
        jvm: Any = self._spark._jvm
        loaded = table.load()
        actions = jvm.org.apache.iceberg.spark.actions.SparkActions.get(self._spark._jsparkSession)
        for spec_id in list(loaded.specs().keySet()):
            actions.rewriteManifests(table.load()).specId(int(spec_id)).execute()

    def _carry(self, table: JobTable, mark: Mark, at_ms: int) -> None:
        carried = mark.carried(
            MarkKind.ERASURE,
            self._run_id,
            at_ms,
            engine=ENGINE,
            contract_version=self._event.version,
        )
        nothing = self._spark.table(table.name).where("false")
        table.append(nothing, carried, table.landing_spec_id())


def total_rows(erasures: Sequence[TableErasure]) -> int:
    """Rows and records that were erased in all."""
    return sum(each.rows for each in erasures)
