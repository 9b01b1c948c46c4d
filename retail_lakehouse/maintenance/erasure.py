"""Erasing one customer: the rows deleted, the files that held them rewritten.

Here: what happens in the tables, by Spark. Not here: asking, the lease, the account for `verify`
(`local/erase.py`), the views.

A delete in these tables is merge-on-read: it writes position deletes beside the data files, which
still hold the rows. The cleaning rewrites those files without them and drops the delete files, and
rewrites the manifests, whose bounds may name the customer. What held the rows then goes with the
snapshots that still name it, after their retention.

What is left to clean is asked of the table as it is, and not of what this run has deleted: a run
before it may have been killed at any point, and other commits may have come behind.
"""

import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retail_lakehouse.contracts.events import CUSTOMER_ID_FIELD, EVENTS, EventContract
from retail_lakehouse.contracts.mark import Mark, MarkKind
from retail_lakehouse.contracts.tables import TableContract, event_table, quarantine_table
from retail_lakehouse.maintenance.compaction import Compaction
from retail_lakehouse.maintenance.places import Place
from retail_lakehouse.maintenance.statements import statement
from retail_lakehouse.streaming.iceberg import JobTable, java_words
from retail_lakehouse.streaming.progress import ENGINE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

DELETE_ATTEMPTS = 5
TAKES_ROWS = frozenset({"delete", "overwrite"})
"""Operations of snapshots that take rows away; in these tables only an erasure does."""
_WORD = "A-Za-z0-9_-"
_ESCAPE = "\\"
_LONGEST_ID = 256


class ErasureError(RuntimeError):
    """A customer that cannot be erased as asked."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where one table has the customer; None for each row that was backfilled."""

    contract: TableContract
    places: tuple[Place | None, ...]


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


def mention(customer: str, *, in_bytes: bool = False) -> str:
    """A regular expression for the id as a word of its own, each character plain or as JSON may.

    Unknown fields are kept as ASCII: of an id with other letters the escapes are all that is there.
    Spark (Java) and DuckDB (RE2) read it alike. `in_bytes`: for UTF-8 that is read as Latin-1.
    """
    spelt = "".join(f"(?:{'|'.join(_spellings(c, in_bytes))})" for c in customer)
    return f"(^|[^{_WORD}]){spelt}($|[^{_WORD}])"


def _spellings(character: str, in_bytes: bool) -> Iterator[str]:
    """The character as itself, and as each of JSON's escapes for it."""
    yield _quoted(character.encode().decode("latin-1") if in_bytes else character)
    units = character.encode("utf-16-be").hex()
    yield "".join(
        f"{_quoted(_ESCAPE)}u{''.join(map(_either_case, units[start : start + 4]))}"
        for start in range(0, len(units), 4)
    )
    if character in '"\\/':
        yield _quoted(_ESCAPE + character)


def _quoted(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)


def _either_case(digit: str) -> str:
    return f"[{digit}{digit.upper()}]" if digit.isalpha() else digit


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

    def refuse_half_a_batch(self) -> None:
        """Refuses while a batch's bad records are in quarantine and its rows have yet to land.

        Its job was killed between the two commits and judges the batch again: what is in
        quarantine stays as it is, and what was erased from there would be quarantined once more.

        Raises:
            ErasureError: it is so.
        """
        rows, quarantine = self.rows.last_mark(), self.quarantine.last_mark()
        if quarantine is None or (rows is not None and rows.topic_id != quarantine.topic_id):
            return
        until = rows.until if rows is not None else {}
        if any(end > until.get(partition, 0) for partition, end in quarantine.until.items()):
            name = self._event.name
            raise ErasureError(
                f"The {name} job was ended between the two commits of a batch: what is erased from "
                "its quarantine now would be there again once the job goes on. Nothing was "
                f"deleted. Let it land the batch (`retail-lakehouse jobs start {name}`, in a "
                "platform that runs), then erase again."
            )

    def erase(
        self,
        now_ms: Callable[[], int],
        *,
        carry_mark: bool,
        deleted: Callable[[TableContract], None] = lambda _: None,
    ) -> Iterator[TableErasure]:
        """Deletes and cleans, table by table, and ends what an interrupted erasure left.

        Args:
            now_ms: a clock, epoch milliseconds, called after each table.
            carry_mark: commit the last mark once more, without rows: the snapshot of the one before
                names files that hold the customer, and the last mark never expires. Only a holder
                of the topic's lock may.
            deleted: told of a table as soon as its delete is committed.

        Raises:
            ErasureError: the delete failed, or other commits came before each attempt; or the rows
                are deleted, and what names them in manifests is not cleaned.
            CompactionFailedError, CompactionRefusedError, CompactionUncertainError: the rows are
                deleted, but not cleaned.
        """
        # The quarantine first: an interrupted erasure then still finds the rows to count.
        for table, name in ((self.quarantine, "quarantined"), (self.rows, "rows")):
            rows = delete_files = 0
            if self._found(table, f"find_{name}").places:
                rows, delete_files = self._delete(table, f"delete_{name}")
                deleted(table.contract)
            yield self._clean(table, rows, delete_files, now_ms, carry_mark)

    def _arguments(self) -> dict[str, str]:
        return {
            "customer": self._customer,
            "mentioned": mention(self._customer),
            "mentioned_bytes": mention(self._customer, in_bytes=True),
        }

    def _found(self, table: JobTable, find: str) -> Found:
        rows = self._spark.sql(statement(find, table=table.name), args=self._arguments())
        return Found(table.contract, tuple(_place(*row) for row in rows.collect()))

    def _delete(self, table: JobTable, delete: str) -> tuple[int, int]:
        """Rows deleted, and position delete files written for them."""
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        before = table.current_snapshot_id()
        for attempt in range(DELETE_ATTEMPTS):
            try:
                self._spark.sql(statement(delete, table=table.name), args=self._arguments())
            except (Py4JJavaError, PySparkException) as error:
                told = java_words(error)
                if "ValidationException" not in str(error) or attempt == DELETE_ATTEMPTS - 1:
                    raise ErasureError(_delete_failed(table.name, told, str(error))) from error
                logger.warning("Another commit came before the delete (%s); again.", told)
                continue
            break
        return _taken_since(table, before)

    def _clean(
        self,
        table: JobTable,
        rows: int,
        delete_files: int,
        now_ms: Callable[[], int],
        carry_mark: bool,
    ) -> TableErasure:
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        compaction = Compaction(self._spark, self._catalog, table.contract, self._run_id)
        report = compaction.clean_deletes()
        try:
            if _names_gone_files(table):
                self._rewrite_manifests(table)
            if carry_mark and _last_mark_names_the_erased(table):
                mark = table.last_mark()
                if mark is not None:
                    self._carry(table, mark, now_ms())
        except (Py4JJavaError, PySparkException) as error:
            raise ErasureError(
                f"The customer's rows are deleted from {table.name}, but its metadata was not "
                f"written anew ({java_words(error)}): it may still name the customer, and "
                "files that hold the rows would stay. Erase again; it goes on from here."
            ) from error
        return TableErasure(
            table=table.contract.qualified_name,
            rows=rows,
            delete_files=delete_files,
            rewritten_files=report.rewritten_files,
            delete_files_left=report.after.delete_files,
            cleaned_at_ms=now_ms(),
        )

    def _rewrite_manifests(self, table: JobTable) -> None:
        """Drops what manifests still say of files that are gone, their bounds included.

        Iceberg's own Spark action leaves a manifest alone that is the only one of its partition
        spec, whatever gone files it names.
        """
        table.load().rewriteManifests().clusterBy(_one_cluster(self._spark)).commit()

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


def _place(
    topic_id: str | None, partition: int | None, offset: int | None, broker_ms: int | None
) -> Place | None:
    if topic_id is None or partition is None or offset is None or broker_ms is None:
        return None
    return Place(topic_id, partition, offset, broker_ms)


def _delete_failed(table: str, told: str, error: str) -> str:
    became = (
        "The catalog did not say whether it is deleted."
        if "CommitStateUnknownException" in error
        else "Nothing of it was deleted."
    )
    return (
        f"Deleting from {table} failed: {told}. {became} Erase again; beside a job that cannot "
        "yield (on AWS) it may take some attempts, or stop that job first."
    )


def _taken_since(table: JobTable, before: int | None) -> tuple[int, int]:
    """Rows that the delete since the snapshot `before` took, and delete files that it wrote.

    A compaction takes no lock: its commit may have come on top already.
    """
    loaded = table.load()
    snapshot = loaded.currentSnapshot()
    while snapshot is not None and int(snapshot.snapshotId()) != before:
        if str(snapshot.operation()) in TAKES_ROWS:
            summary = snapshot.summary()
            taken = int(summary.get("added-position-deletes") or 0)
            dropped = int(summary.get("deleted-records") or 0)
            return taken + dropped, int(summary.get("added-delete-files") or 0)
        parent = snapshot.parentId()
        snapshot = None if parent is None else loaded.snapshot(parent)
    return 0, 0


def _names_gone_files(table: JobTable, snapshot_id: int | None = None) -> bool:
    """Whether manifests of a snapshot, the current one unless told, still name files that are gone.

    A commit that takes a file out of a manifest leaves its entry there, bounds and all, for as long
    as the manifest has files that stay. Bounds are cut short, and do not tell for certain whose
    they are: files that a compaction took count too.
    """
    loaded = table.load()
    snapshot = loaded.currentSnapshot() if snapshot_id is None else loaded.snapshot(snapshot_id)
    if snapshot is None:
        return False
    return any(bool(each.hasDeletedFiles()) for each in snapshot.dataManifests(loaded.io()))


def _last_mark_names_the_erased(table: JobTable) -> bool:
    """Whether the last mark's snapshot, which never expires, may name what is cleaned by now.

    So it is where rows were taken since, and where the snapshot itself has deletes or names files
    that are gone: a job that committed between an erasure's delete and its cleaning made it so.
    """
    for since, facts in enumerate(table.snapshots_back()):
        if facts.mark is not None:
            summary = table.load().snapshot(facts.snapshot_id).summary()
            has_deletes = int(summary.get("total-delete-files") or 0) > 0
            return since > 0 and (has_deletes or _names_gone_files(table, facts.snapshot_id))
        if facts.operation in TAKES_ROWS:
            return True
    return False


def _one_cluster(spark: "SparkSession") -> Any:
    """A Java function that gives every data file the same key, made without a call back to here."""
    jvm: Any = spark._jvm
    handles = jvm.java.lang.invoke.MethodHandles
    any_object = jvm.java.lang.Class.forName("java.lang.Object")
    parameters = jvm.java.util.ArrayList()
    parameters.add(any_object)
    constant = handles.dropArguments(handles.constant(any_object, "all"), 0, parameters)
    function = jvm.java.lang.Class.forName("java.util.function.Function")
    return jvm.java.lang.invoke.MethodHandleProxies.asInterfaceInstance(function, constant)
