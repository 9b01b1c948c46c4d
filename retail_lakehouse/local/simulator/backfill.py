"""Past days written straight into the tables, through the same judge as the stream.

Here: history for views that look days back, in commits marked as backfill, without offsets. Not
here: the live stream (`run.py`). What a row has beside its event is worked out here, without Spark;
that both come to the same row is locked by `streaming/test_history_rows.py` of the tests.
"""

import datetime as dt
import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from retail_lakehouse.contracts.events import (
    EVENT_ID_FIELD,
    EVENT_TIME_FIELD,
    EVENTS,
    EventContract,
)
from retail_lakehouse.contracts.judge import Bad, judge
from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.contracts.tables import TableContract, event_table
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.local.ledger import Ledger
from retail_lakehouse.local.ledger_state import BackfillDay
from retail_lakehouse.local.ledger_totals import content_sum
from retail_lakehouse.local.simulator.disturbance import Batch, Disturbance
from retail_lakehouse.local.simulator.options import LEDGER_FOLDER, NO_FAULTS
from retail_lakehouse.local.simulator.resolution import bind_to_kafka, resolve_open_backfills
from retail_lakehouse.local.simulator.run import BatchMaker
from retail_lakehouse.local.simulator.spelling import INDEX_TEXT
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.lock import leasable, topic_lease
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse.tables.schema import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

logger = logging.getLogger(__name__)

DEFAULT_EVENTS_A_DAY = 100_000
_STEPS_A_DAY = 96
MOST_EVENTS_A_DAY = _STEPS_A_DAY * len(INDEX_TEXT)
"""An event's id has room for so many places in a batch."""
_DAY_MS = 86_400_000
_ENGINE = "backfill"


class BackfillError(RuntimeError):
    """History cannot be written."""


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What was written: table and day, with its rows. Days that were there are left out."""

    written: tuple[BackfillDay, ...]
    seconds: float


def backfill(
    settings: Settings,
    days: int,
    events_a_day: int = DEFAULT_EVENTS_A_DAY,
    kafka: Mapping[str, Any] | None = None,
    today: dt.date | None = None,
) -> BackfillReport:
    """Writes the `days` UTC days before today, oldest first; a day that is there is left alone.

    A streaming job that runs yields its topic between two batches, for one commit at a time.
    `events_a_day` are at most MOST_EVENTS_A_DAY.

    Raises:
        LedgerBusyError: the simulator runs.
        LedgerError: the ledger belongs to other topics.
        BackfillError: the judge refuses an event that the simulator made.
        NoLeaseError: the profile is aws, where the streaming jobs alone write.
        LockHeldError: a job did not yield in time.
        CatalogError: there is no catalog.
    """
    leasable(settings.topic_locks)
    began = time.monotonic()
    kafka = kafka or {"bootstrap.servers": settings.kafka_bootstrap}
    today = today or dt.datetime.now(dt.UTC).date()
    catalog = open_catalog(settings)
    written: list[BackfillDay] = []
    with Ledger(settings.root / LEDGER_FOLDER) as ledger:
        bind_to_kafka(ledger, kafka, [topic.name for topic in TOPICS])
        resolve_open_backfills(ledger, catalog)
        disturbance = Disturbance(NO_FAULTS, settings.dedupe_horizon_hours)
        maker = BatchMaker(settings.simulator_seed, ledger.ledger_id, disturbance)
        for back in range(days, 0, -1):
            day = today - dt.timedelta(days=back)
            wanted = [
                event
                for event in EVENTS
                if day.isoformat() not in {each.day for each in ledger.backfilled(event.topic)}
            ]
            if not wanted:
                continue
            next_batch, batches = _day_of_batches(maker, ledger.next_batch(), day, events_a_day)
            for event in wanted:
                written.append(
                    _write_day(settings, catalog, ledger, event, day, batches, next_batch)
                )
    return BackfillReport(tuple(written), time.monotonic() - began)


def typed_rows(
    event: EventContract, bodies: Sequence[bytes | None], ingested_ms: int
) -> "pa.Table":
    """The bodies as rows of the event's table, without Kafka coordinates.

    An event's own time stands for the broker's: the past is not implausible in itself.

    Raises:
        BackfillError: the judge refuses a body.
    """
    import pyarrow as pa

    contract = event_table(event)
    rows = [_row(event, contract, body, ingested_ms) for body in bodies]
    return pa.Table.from_pylist(rows, schema=arrow_schema(contract))


def _row(
    event: EventContract, contract: TableContract, body: bytes | None, ingested_ms: int
) -> dict[str, object]:
    verdict = judge(body, _time_of(body), event)
    if isinstance(verdict, Bad):
        raise BackfillError(
            f"The simulator made a {event.name} event that the contract refuses "
            f"({verdict.reason.value}: {verdict.detail}). Nothing of its day was written; the "
            "simulator and the contract must be brought together."
        )
    time_ms = verdict.values[EVENT_TIME_FIELD]
    assert isinstance(time_ms, int)  # noqa: S101
    moment = _utc(time_ms)
    return {
        **dict.fromkeys(column.name for column in contract.columns),
        **verdict.values,
        "event_ts": moment,
        "event_date": moment.date(),
        "event_hour": moment.hour,
        "ingested_at": _utc(ingested_ms),
        "extra": verdict.extra,
    }


def _time_of(body: bytes | None) -> int:
    """The event time in a body that the simulator spelt."""
    text = (body or b"").decode()
    after = text.partition(f'"{EVENT_TIME_FIELD}"')[2].lstrip(" :")
    digits = after[: len(after) - len(after.lstrip("0123456789"))]
    return int(digits or 0)


def _utc(epoch_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC).replace(tzinfo=None)


def _day_of_batches(
    maker: BatchMaker, first_batch: int, day: dt.date, events_a_day: int
) -> tuple[int, list[Batch]]:
    """The day's batches, and the number after their last."""
    start_ms = int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp() * 1000)
    step_ms = _DAY_MS // _STEPS_A_DAY
    count = max(4, events_a_day // _STEPS_A_DAY)
    batches = []
    for step in range(_STEPS_A_DAY):
        # A span excludes its start and includes its end: the end is the next day's first moment.
        begin, end = start_ms + step * step_ms - 1, start_ms + (step + 1) * step_ms - 1
        batches.append(maker.batch(first_batch + step, count, begin, end))
    return first_batch + _STEPS_A_DAY, batches


def _write_day(
    settings: Settings,
    catalog: "Catalog",
    ledger: Ledger,
    event: EventContract,
    day: dt.date,
    batches: Sequence[Batch],
    next_batch: int,
) -> BackfillDay:
    number = EVENTS.index(event)
    bodies = list(_bodies(batches, number))
    now_ms = int(time.time() * 1000)
    rows = typed_rows(event, bodies, now_ms)
    chosen = np.concatenate([batch.rows[batch.rows["topic"] == number] for batch in batches])
    written = BackfillDay(
        topic=event.topic,
        day=day.isoformat(),
        rows=len(rows),
        content_hash=content_sum(chosen["high"], chosen["low"]),
        first_event_id=rows[EVENT_ID_FIELD][0].as_py(),
    )
    with topic_lease(settings.topic_locks, event.topic):
        table = catalog.load_table(event_table(event).identifier)
        mark = _mark(table, ledger, event, now_ms)
        ledger.intend_backfill(written, next_batch)
        append_marked(table, rows, mark)
        ledger.settle_backfill(written, committed=True)
    logger.info("%s: wrote %d rows of %s.", event_table(event).name, len(rows), day)
    return written


def _bodies(batches: Sequence[Batch], topic: int) -> Iterator[bytes | None]:
    for batch in batches:
        for number, body in zip(batch.rows["topic"].tolist(), batch.bodies, strict=True):
            if number == topic:
                yield body


def _mark(table: "Table", ledger: Ledger, event: EventContract, now_ms: int) -> Mark:
    run_id = f"{_ENGINE}-{uuid.uuid4().hex[:12]}"
    before = last_mark(table)
    if before is not None:
        return before.carried(
            MarkKind.BACKFILL, run_id, now_ms, engine=_ENGINE, contract_version=event.version
        )
    topic = next(topic for topic in ledger.topics if topic.name == event.topic)
    return Mark(
        kind=MarkKind.BACKFILL,
        cluster_id=ledger.state.cluster_id,
        topic=topic.name,
        topic_id=topic.topic_id,
        ranges={},
        until={},
        event_time=TimeRange(),
        broker_time=TimeRange(),
        batch=Counts(),
        total=Counts(),
        batch_started_ms=now_ms,
        previous_commit_ms=None,
        contract_version=event.version,
        run_id=run_id,
        engine=_ENGINE,
    )
