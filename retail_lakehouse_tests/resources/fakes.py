"""Plain objects in place of resources, and a real Iceberg catalog in a folder of the test.

Fakes are no resources: Dagster rebuilds those from their configuration and would lose their state.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retail_lakehouse.contracts.events import (
    EVENT_ID_FIELD,
    EVENT_TIME_FIELD,
    EVENTS,
    event_named,
)
from retail_lakehouse.contracts.fields import Kind
from retail_lakehouse.contracts.job_states import JobEvent
from retail_lakehouse.contracts.mark import SUMMARY_KEY, Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.contracts.tables import (
    TableContract,
    event_table,
    quarantine_table,
)
from retail_lakehouse.contracts.views import ViewContract
from retail_lakehouse.kafka.admin import PartitionOffsets, TopicDescription
from retail_lakehouse.kafka.arrival import Place
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.job_runs import JobRun, JobState
from retail_lakehouse.resources.warehouse import Refreshed, StillFree
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.errors import WarehouseError
from retail_lakehouse.warehouse.refresh import RefreshOutcome, RefreshResult
from retail_lakehouse_tests.resources.empty_tables import open_with_event_tables

TOPIC_ID = "4lHcSyD1TcqhRbz6DyQn1A"


def now_ms() -> int:
    """The clock that the code under test reads."""
    return time.time_ns() // 1_000_000


@dataclass
class FakeKafka:
    """Topics with the end offsets that a test sets; or an outage."""

    ends: dict[str, int] = field(default_factory=dict)
    outage: str = ""
    partitions: int = 3
    waiting_seconds: float | None = None
    """How long ago every first record that waits came; None: nobody tells."""

    def arrived(self, offsets: Mapping[Place, int], at_ms: int) -> dict[Place, int]:
        """As KafkaResource answers; nothing where a test sets no age."""
        assert offsets
        if self.waiting_seconds is None:
            return {}
        return dict.fromkeys(offsets, at_ms - round(self.waiting_seconds * 1000))

    def describe(self) -> dict[str, TopicDescription | str]:
        """As KafkaResource answers."""
        if self.outage:
            return {event.topic: self.outage for event in EVENTS}
        return {
            event.topic: TopicDescription(
                event.topic,
                TOPIC_ID,
                tuple(
                    PartitionOffsets(p, 0, self.ends.get(event.name, 0) if p == 0 else 0)
                    for p in range(self.partitions)
                ),
            )
            for event in EVENTS
        }


@dataclass
class FakeJobs:
    """Jobs in the state that a test sets; remembers what it was asked."""

    state: JobState = JobState.RUNNING
    sentence: str = "The job is running as process 7."
    started_at_ms: int = field(default_factory=now_ms)
    asked: list[tuple[str, str]] = field(default_factory=list)
    told: JobEvent | None = None
    yielded_at_ms: int | None = None
    run_id: str = "7"

    def runs(self) -> dict[str, JobRun]:
        """As StreamingJobsResource answers."""
        return {
            event.name: JobRun(
                event.name,
                self.state,
                self.sentence,
                self.started_at_ms,
                self.run_id,
                told=self.told,
                yielded_at_ms=self.yielded_at_ms,
            )
            for event in EVENTS
        }

    def request(self, verb: str, event: str) -> str:
        """As StreamingJobsResource answers."""
        self.asked.append((verb, event))
        return f"The {event} job is running."


@dataclass
class FakeWarehouse:
    """Refreshes that succeed, or an outage; counts sessions, and what was counted in each."""

    outage: str = ""
    incremental: bool = True
    plain_rows: int | None = 7
    sessions: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    counted: list[set[str]] = field(default_factory=list)

    def refresh(
        self,
        views: Sequence[ViewContract],
        label: str,
        patience_seconds: float = 0.0,
        plain_views: Sequence[ViewContract] = (),
        still_free: StillFree = list,
    ) -> Refreshed:
        """As WarehouseResource answers."""
        self.sessions.append((label, tuple(view.name for view in views)))
        if self.outage:
            raise WarehouseError(self.outage)
        views = still_free(views)
        self.counted.append({view.name for view in plain_views})
        results = [
            RefreshResult(
                view=view.name,
                outcome=RefreshOutcome.REFRESHED,
                started_at=datetime.now(UTC),
                duration_seconds=0.25,
                status="Refresh successfully updated MV incrementally",
                incremental=self.incremental,
                state=1,
                rows=42,
                newest_event_ms=now_ms() - 3_000,
                lag_seconds=3.0,
                latency_seconds=0.01,
            )
            for view in views
        ]
        return Refreshed(results, {view.name: self.plain_rows for view in plain_views})


@dataclass
class Lakehouse:
    """The tables of the contract in a real SQLite catalog, and commits as a job makes them."""

    settings: Settings

    def __post_init__(self) -> None:
        self.catalog = open_with_event_tables(self.settings)
        self.marks: dict[str, Mark] = {}

    def resource(self) -> IcebergCatalogResource:
        """The resource over this catalog."""
        return IcebergCatalogResource.of(self.settings)

    def commit(
        self,
        event: str,
        rows: int,
        *,
        quarantined: int = 0,
        duplicates: int = 0,
        age_seconds: float = 1.0,
        ahead_seconds: float = 0.0,
        contract: TableContract | None = None,
    ) -> int:
        """One marked append of `rows` rows; returns the snapshot's id.

        `age_seconds` is that of the newest record's broker time; `ahead_seconds` how far its
        producer's clock is ahead of the broker's.
        """
        from retail_lakehouse.tables.append import append_marked

        contract = contract or event_table(event)
        table = self.catalog.load_table(contract.identifier)
        mark = self._mark(contract, rows, quarantined, duplicates, age_seconds, ahead_seconds)
        append_marked(table, self.rows(contract, rows), mark)
        self.marks[contract.name] = mark
        snapshot = self.catalog.load_table(contract.identifier).current_snapshot()
        assert snapshot is not None
        return int(snapshot.snapshot_id)

    def unreadable_mark(self, event: str) -> None:
        """A commit whose mark is of a version that this program does not know."""
        table = self.table(event)
        mark = {SUMMARY_KEY: '{"version": 99}'}
        table.append(self.rows(event_table(event), 1), snapshot_properties=mark)

    def quarantine(self, event: str, bodies: Sequence[bytes]) -> None:
        """Puts records into quarantine as the job does, with reason `json`."""
        import pyarrow as pa

        from retail_lakehouse.tables.append import append_marked
        from retail_lakehouse.tables.schema import arrow_schema

        contract, now = quarantine_table(event), datetime.now(UTC).replace(tzinfo=None)
        rows = [
            {
                "kafka_topic": event_named(event).topic,
                "kafka_topic_id": TOPIC_ID,
                "kafka_partition": 0,
                "kafka_offset": offset,
                "kafka_timestamp": now,
                "raw": body,
                "reason": "json",
                "detail": "Not one JSON text.",
                "contract_version": 1,
                "quarantine_date": now.date(),
                "judged_at": now,
                "outcome": "quarantined",
            }
            for offset, body in enumerate(bodies)
        ]
        schema = arrow_schema(contract)
        columns = {name: [row.get(name) for row in rows] for name in schema.names}
        mark = self._mark(contract, 0, len(rows), 0, 1.0, 0.0)
        self.marks[contract.name] = mark
        table = self.catalog.load_table(contract.identifier)
        append_marked(table, pa.table(columns, schema=schema), mark)

    def replace(self, event: str) -> None:
        """A `replace` snapshot, as compaction leaves it: other files, the same rows, no mark."""
        from pyiceberg.table.refs import SnapshotRefType
        from pyiceberg.table.snapshots import Operation, Summary
        from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate

        table = self.table(event)
        current = table.current_snapshot()
        totals = {k: v for k, v in current.summary.additional_properties.items() if "total" in k}
        snapshot = current.model_copy(
            update={
                "snapshot_id": current.snapshot_id ^ 1,
                "parent_snapshot_id": current.snapshot_id,
                "sequence_number": current.sequence_number + 1,
                "timestamp_ms": max(now_ms(), current.timestamp_ms + 1),
                "summary": Summary(Operation.REPLACE, **totals),
            }
        )
        with table.transaction() as transaction:
            transaction._apply(
                (
                    AddSnapshotUpdate(snapshot=snapshot),
                    SetSnapshotRefUpdate.model_validate(
                        {
                            "ref-name": "main",
                            "type": SnapshotRefType.BRANCH,
                            "snapshot-id": snapshot.snapshot_id,
                        }
                    ),
                ),
                (),
            )

    def table(self, event: str) -> Any:
        """The event's table as it is now."""
        return self.catalog.load_table(event_table(event).identifier)

    def lose(self, event: str, records: int) -> None:
        """Makes the next commit begin so many offsets past where the last one ended."""
        name = event_table(event).name
        mark = self.marks[name]
        until = {**mark.until, 0: mark.until[0] + records}
        self.marks[name] = replace(mark, until=until)

    def rows(self, contract: TableContract, count: int) -> Any:
        """`count` good rows; a test may give others in their place."""
        return good_rows(contract, count)

    def _mark(
        self,
        contract: TableContract,
        rows: int,
        quarantined: int,
        duplicates: int,
        age_seconds: float,
        ahead_seconds: float,
    ) -> Mark:
        before, event = self.marks.get(contract.name), contract.event or ""
        batch = Counts(rows + quarantined + duplicates, rows, quarantined, duplicates)
        start = before.until[0] if before else 0
        newest = now_ms() - int(age_seconds * 1000)
        return Mark(
            kind=MarkKind.STREAM,
            cluster_id="cluster",
            topic=event_named(event).topic,
            topic_id=TOPIC_ID,
            ranges={0: (start, start + batch.read)},
            until={0: start + batch.read, 1: 0, 2: 0},
            event_time=TimeRange(newest - 500, newest + int(ahead_seconds * 1000)),
            broker_time=TimeRange(newest - 400, newest),
            batch=batch,
            total=(before.total if before else Counts()) + batch,
            batch_started_ms=newest,
            previous_commit_ms=120,
            contract_version=1,
            run_id="run-1",
            engine="spark",
        )


def backdated(mark: Mark, seconds: float) -> Mark:
    """The mark as if its newest record had come `seconds` earlier."""
    shift = int(seconds * 1000)
    times = TimeRange(
        (mark.broker_time.oldest_ms or 0) - shift, (mark.broker_time.newest_ms or 0) - shift
    )
    return replace(mark, broker_time=times, event_time=times)


def good_rows(contract: TableContract, count: int) -> Any:
    """`count` rows in the table's schema: events as their contract allows, else zeros."""
    import pyarrow as pa

    from retail_lakehouse.tables.schema import arrow_schema

    schema = arrow_schema(contract)
    own = _event_values(contract, count) if contract.kind == "events" else {}
    return pa.table(
        {
            f.name: pa.array(own[f.name], type=f.type)
            if f.name in own
            else pa.array([_zero(f.type)] * count, type=f.type)
            if not f.nullable
            else pa.nulls(count, type=f.type)
            for f in schema
        },
        schema=schema,
    )


def _event_values(contract: TableContract, count: int) -> dict[str, list[object]]:
    """What makes rows good events that happened now, each with an id of its own."""
    event = event_named(contract.event or "")
    at = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    values: dict[str, object] = {
        field.name: field.allowed[0]
        if field.allowed
        else 1
        if field.kind is not Kind.STRING
        else "x"
        for field in event.fields
        if field.required
    }
    values |= {
        EVENT_TIME_FIELD: int(at.replace(tzinfo=UTC).timestamp() * 1000),
        "event_ts": at,
        "event_date": at.date(),
        "event_hour": at.hour,
        "kafka_timestamp": at,
    }
    told = {name: [value] * count for name, value in values.items()}
    return told | {EVENT_ID_FIELD: [uuid.uuid4().hex for _ in range(count)]}


def _zero(kind: Any) -> object:
    import pyarrow as pa

    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "x"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return b"x"
    if pa.types.is_timestamp(kind):
        return datetime.now(UTC).replace(tzinfo=None)
    if pa.types.is_date(kind):
        return datetime.now(UTC).date()
    if pa.types.is_boolean(kind):
        return False
    return 0


def settings_in(folder: Path) -> Settings:
    """Settings whose state folder is the test's own; what is new is reported at every tick."""
    return Settings.load({"state_dir": folder / "state", "report_interval_seconds": 0})
