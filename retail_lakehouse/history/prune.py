"""Deletes what is old from Dagster's history, and never the latest of anything.

Here: which rows go, in which order, in how large steps. Not here: when (`sensors/history.py`),
giving space back to the disk (`space.py`).

Dagster 1.13 deletes old ticks and nothing else (its issue 33785 asks for the rest). Runs, their
events and their logs go through its own interface. For events that were reported without a run and
for results of checks it has none: those go by its own table definitions, and only while the schema
is one that was read and tried (`KNOWN_SCHEMAS`).

What is never deleted: of each asset, kind of event and partition the newest event (the pages' and
`latest_materialization`'s answers, freshness states); of each check and partition the newest result
and the newest that is not merely planned; the newest event of all (ids would be given out again,
and a sensor's cursor would step over them); runs that any of these belong to.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

logger = logging.getLogger(__name__)

KNOWN_SCHEMAS = frozenset({"29b539ebc72a"})
"""Revisions of Dagster's event log whose tables are as they are taken to be here (1.13)."""
KNOWN_COLUMNS = {
    "event_logs": frozenset(
        [
            "id",
            "run_id",
            "event",
            "dagster_event_type",
            "timestamp",
            "step_key",
            "asset_key",
            "partition",
        ]
    ),
    "asset_event_tags": frozenset(
        ["id", "event_id", "asset_key", "key", "value", "event_timestamp"]
    ),
    "asset_check_executions": frozenset(
        [
            "id",
            "asset_key",
            "check_name",
            "partition",
            "run_id",
            "execution_status",
            "evaluation_event",
            "evaluation_event_timestamp",
            "evaluation_event_storage_id",
            "materialization_event_storage_id",
            "create_timestamp",
        ]
    ),
}
"""The tables that rows are deleted from. Dagster does not stamp its one-file event log with a
revision when it makes it, so that the columns have to tell."""
BATCH_ROWS = 500
"""Rows a transaction: SQLite lets one write at a time, and a sensor must not wait long for it."""
PAUSE_SECONDS = 0.02
"""Between transactions, so that others who wait for the lock get it: they ask at intervals."""
TICKS_KEPT = timedelta(hours=6)
"""Ticks that reported nothing: at one every 15 s and 2 KB each, a day of three sensors is 33 MB."""


class HistorySchemaError(RuntimeError):
    """Dagster's tables are not known to be as this code takes them to be: nothing is deleted."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one pruning deleted, and whether it came to its end in its time."""

    events: int
    check_results: int
    runs: int
    finished: bool

    @property
    def anything(self) -> bool:
        """Whether anything was deleted."""
        return bool(self.events or self.check_results or self.runs)


def prune_history(
    instance: "DagsterInstance", keep: timedelta, now: datetime, budget_seconds: float
) -> Pruned:
    """Deletes what is older than `keep`, for at most about `budget_seconds`.

    What is not reached, or is locked by others for longer than SQLite waits, is left to the next
    time. Runs are deleted when they ended; one that is still under way is left alone whatever its
    age.

    Raises:
        HistorySchemaError: the event log's schema is not a known one; nothing was deleted.
    """
    from sqlalchemy.exc import OperationalError

    storage = _event_log(instance)
    deadline = time.monotonic() + budget_seconds

    def late() -> bool:
        return time.monotonic() >= deadline

    before = (now.astimezone(UTC) - keep).replace(tzinfo=None)
    latest = _latest(storage)
    events = results = runs = 0
    is_locked = False
    try:
        events = _delete_events(storage, before, latest.events, late)
        results = _delete_check_results(storage, before, latest.check_results, late)
        runs = _delete_runs(instance, now - keep, latest.runs, late)
        _delete_ticks(instance, now - TICKS_KEPT)
    except OperationalError as error:
        if "database is locked" not in str(error):
            raise
        logger.warning("Others write Dagster's history; the rest is pruned the next time.")
        is_locked = True
    return Pruned(events, results, runs, finished=not (is_locked or late()))


def event_rows(instance: "DagsterInstance") -> int:
    """How many events the log has."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events

    with _event_log(instance).index_connection() as connection:
        counted = connection.execute(db.select(db.func.count()).select_from(Events)).scalar()
    return int(counted or 0)


def _event_log(instance: "DagsterInstance") -> "SqlEventLogStorage":
    """The event log, if its tables are known.

    Raises:
        HistorySchemaError: they are not.
    """
    import sqlalchemy as db
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise HistorySchemaError(
            f"Dagster's event log is a {type(storage).__name__}, which keeps no tables that are "
            "known here: its history is not pruned. See how that one is, and set up its own way."
        )
    told: set[str] = set()
    with storage.index_connection() as connection:
        found = db.inspect(connection)
        names = found.get_table_names()
        if "alembic_version" in names:
            versions = db.table("alembic_version", db.column("version_num"))
            told = {str(row[0]) for row in connection.execute(db.select(versions.c.version_num))}
        columns = {
            name: frozenset(each["name"] for each in found.get_columns(name))
            for name in KNOWN_COLUMNS
            if name in names
        }
    if columns != KNOWN_COLUMNS:
        told.add("with other columns")
    if not told <= KNOWN_SCHEMAS:
        raise HistorySchemaError(
            f"Dagster's event log has the schema {', '.join(sorted(told))}, and known "
            f"are {', '.join(sorted(KNOWN_SCHEMAS))}: its history is not pruned and grows until "
            "retail_lakehouse/history/prune.py has been compared with the new one's tables. "
            "Install the version of Dagster that uv.lock names, or do that."
        )
    return storage


@dataclass(frozen=True, slots=True)
class _Latest:
    events: Collection[int]
    check_results: Collection[int]
    runs: Collection[str]


def _latest(storage: "SqlEventLogStorage") -> _Latest:
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Results
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events

    newest = db.func.max(Events.c.id)
    of_assets = (
        db.select(newest)
        .where(Events.c.asset_key.is_not(None))
        .group_by(Events.c.asset_key, Events.c.dagster_event_type, Events.c.partition)
    )
    of_each_check = (Results.c.asset_key, Results.c.check_name, Results.c.partition)
    of_checks = db.select(db.func.max(Results.c.id)).group_by(*of_each_check)
    evaluated = of_checks.where(Results.c.execution_status != "PLANNED")
    with storage.index_connection() as connection:
        results = {
            int(row[0]) for query in (of_checks, evaluated) for row in connection.execute(query)
        }
        of_results = (
            db.select(Results.c.evaluation_event_storage_id, Results.c.run_id).where(
                Results.c.id.in_(some)
            )
            for some in _in_batches(sorted(results))
        )
        told = [row for query in of_results for row in connection.execute(query)]
        runs = {str(run_id) for _, run_id in told if run_id}
        events = {int(event_id) for event_id, _ in told if event_id is not None}
        for query in (of_assets, db.select(newest)):
            events |= {int(row[0]) for row in connection.execute(query) if row[0] is not None}
        for some in _in_batches(sorted(events)):
            owners = db.select(Events.c.run_id).where(Events.c.id.in_(some)).distinct()
            runs |= {str(row[0]) for row in connection.execute(owners) if row[0]}
    return _Latest(events, results, runs)


def _delete_events(
    storage: "SqlEventLogStorage",
    before: datetime,
    kept: Collection[int],
    late: Callable[[], bool],
) -> int:
    """Deletes events that belong to no run, oldest first."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetEventTagsTable as Tags
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events

    deleted, last = 0, 0
    while not late():
        # By id, which the index by run has in order: events come in the order of their times.
        query = (
            db.select(Events.c.id, Events.c.timestamp)
            .where(Events.c.run_id == "", Events.c.id > last)
            .order_by(Events.c.id)
            .limit(BATCH_ROWS)
        )
        with storage.index_connection() as connection:
            rows = connection.execute(query).all()
            old = [int(row.id) for row in rows if row.timestamp < before]
            going = [event_id for event_id in old if event_id not in kept]
            connection.execute(db.delete(Tags).where(Tags.c.event_id.in_(going)))
            connection.execute(db.delete(Events).where(Events.c.id.in_(going)))
        deleted += len(going)
        # A single young one among them was written by a clock that was wrong.
        if not old or len(rows) < BATCH_ROWS:
            break
        last = int(rows[-1].id)
        time.sleep(PAUSE_SECONDS)
    return deleted


def _delete_check_results(
    storage: "SqlEventLogStorage",
    before: datetime,
    kept: Collection[int],
    late: Callable[[], bool],
) -> int:
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Results

    deleted, last = 0, 0
    while not late():
        query = (
            db.select(Results.c.id, Results.c.evaluation_event_timestamp)
            .where(Results.c.id > last)
            .order_by(Results.c.id)
            .limit(BATCH_ROWS)
        )
        with storage.index_connection() as connection:
            rows = connection.execute(query).all()
            old = [
                int(row.id)
                for row in rows
                if row.evaluation_event_timestamp is not None
                and row.evaluation_event_timestamp < before
            ]
            going = [result_id for result_id in old if result_id not in kept]
            connection.execute(db.delete(Results).where(Results.c.id.in_(going)))
        deleted += len(going)
        # A single young one among them was written by a clock that was wrong.
        if not old or len(rows) < BATCH_ROWS:
            break
        last = int(rows[-1].id)
        time.sleep(PAUSE_SECONDS)
    return deleted


def _delete_runs(
    instance: "DagsterInstance",
    before: datetime,
    kept: Collection[str],
    late: Callable[[], bool],
) -> int:
    """Deletes ended runs with their events and their captured output."""
    from dagster import RunsFilter
    from dagster._core.storage.dagster_run import FINISHED_STATUSES

    ended = RunsFilter(statuses=list(FINISHED_STATUSES), created_before=before)
    deleted = 0
    for run_id in instance.get_run_ids(filters=ended):
        if late():
            break
        if run_id in kept:
            continue
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        instance.delete_run(run_id)
        deleted += 1
        time.sleep(PAUSE_SECONDS)
    return deleted


def _delete_ticks(instance: "DagsterInstance", before: datetime) -> None:
    from dagster._core.scheduler.instigation import TickStatus

    for state in instance.all_instigator_state():
        instance.purge_ticks(
            state.instigator_origin_id,
            state.selector_id,
            before.timestamp(),
            [TickStatus.SKIPPED],
        )


def _in_batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """SQLite takes a limited number of values in one statement."""
    for start in range(0, len(ids), BATCH_ROWS):
        yield ids[start : start + BATCH_ROWS]
