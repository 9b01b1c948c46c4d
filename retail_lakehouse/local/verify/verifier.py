"""The ledger against Kafka, the marks and the tables.

Here: which checks there are. Not here: how a side is read (`tables.py`, `local/ledger.py`).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retail_lakehouse.contracts.canonical import HASH_MODULUS
from retail_lakehouse.contracts.events import EVENTS, EventContract
from retail_lakehouse.contracts.mark import Counts, Mark
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.kafka.admin import describe_topics
from retail_lakehouse.local.duckdb_extensions import iceberg_reader
from retail_lakehouse.local.erasures import ErasureJournal
from retail_lakehouse.local.ledger import Ledger
from retail_lakehouse.local.ledger_totals import COORDINATE_MODULUS, RecordKind
from retail_lakehouse.local.simulator.options import LEDGER_FOLDER
from retail_lakehouse.local.simulator.resolution import (
    bind_to_kafka,
    resolve_open,
    resolve_open_backfills,
)
from retail_lakehouse.local.verify.erased import Erased, erased_from
from retail_lakehouse.local.verify.report import (
    Check,
    Deliveries,
    ErasedNote,
    Kinds,
    VerifyReport,
    equal,
)
from retail_lakehouse.local.verify.tables import RowSums, TableSide, prepare
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.marks import last_mark

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyiceberg.catalog import Catalog

logger = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_MEMORY_LIMIT_MB = 1_500


Ends = Mapping[str, Mapping[int, int]]
"""First offset past the end, by topic and partition."""


def verify(
    settings: Settings,
    wait_seconds: float = 0.0,
    kafka: Mapping[str, Any] | None = None,
    events: Sequence[EventContract] = EVENTS,
    allow_empty: bool = False,
) -> VerifyReport:
    """Compares the ledger with Kafka, the marks and the tables, check by check.

    The simulator must not run. `wait_seconds` is how long the tables may take to catch up with
    what is in the topics. Records with unknown delivery are looked up in the topics first; how many
    there were and what became of them is in the report. `allow_empty` as for `compare`.

    Raises:
        LedgerBusyError: the simulator runs.
        LedgerError: there is no ledger, or it belongs to other topics.
        ResolutionError, KafkaUnreachableError, KafkaRefusedError: Kafka cannot be asked.
        CatalogError: there is no catalog.
    """
    began = time.monotonic()
    kafka = kafka or {"bootstrap.servers": settings.kafka_bootstrap}
    catalog = open_catalog(settings)
    with Ledger(settings.root / LEDGER_FOLDER) as ledger:
        names = [topic.name for topic in ledger.topics]
        bind_to_kafka(ledger, kafka, names)
        unresolved = {name: ledger.unresolved(name) for name in names}
        lost = {name: ledger.totals(name).undelivered for name in names}
        resolve_open(ledger, kafka)
        deliveries = tuple(
            Deliveries(
                topic=name,
                unresolved=unresolved[name],
                resolved=unresolved[name] - ledger.unresolved(name),
                undelivered=ledger.totals(name).undelivered - lost[name],
                undelivered_ever=ledger.totals(name).undelivered,
            )
            for name in names
        )
        resolve_open_backfills(ledger, catalog)
        ends = {topic.name: topic.end_offsets for topic in describe_topics(kafka, names)}
        _await_tables(catalog, events, ends, wait_seconds)
        notes: list[ErasedNote] = []
        journal = ErasureJournal(settings.root)
        checks = compare(ledger, catalog, ends, events, allow_empty, journal, notes.append)
        kinds = tuple(_kinds(name, ledger) for name in names)
    return VerifyReport(checks, time.monotonic() - began, deliveries, kinds, tuple(notes))


def _kinds(topic: str, ledger: Ledger) -> Kinds:
    counted = ledger.totals(topic).kinds
    return Kinds(topic, {k.name: counted[k.name] for k in RecordKind if k.name in counted})


def compare(
    ledger: Ledger,
    catalog: "Catalog",
    ends: Ends,
    events: Sequence[EventContract] = EVENTS,
    allow_empty: bool = False,
    journal: ErasureJournal | None = None,
    note: Callable[[ErasedNote], None] = lambda _: None,
) -> tuple[Check, ...]:
    """Every check of the ledger against the topics' `ends`, the marks and the tables.

    A topic of which the ledger has no acknowledged record fails unless `allow_empty`: every other
    check would hold of it and prove nothing. `journal` accounts for what was erased on request,
    and `note` is told of each topic from which something was.

    Raises:
        ErasureJournalError: the journal is damaged.
    """
    checks: list[Check] = []
    if not allow_empty:
        checks += [_accounts_for_something(event.topic, ledger) for event in events]
    with iceberg_reader(_MEMORY_LIMIT_MB, ledger.folder / "spill") as connection:
        prepare(connection)
        for event in events:
            checks += _checks(event, ledger, ends[event.topic], catalog, connection, journal, note)
    return tuple(checks)


def _await_tables(
    catalog: "Catalog",
    events: Sequence[EventContract],
    ends: Ends,
    wait_seconds: float,
) -> None:
    """Returns when every record in the topics has been consumed, or when the time is up."""
    deadline = time.monotonic() + wait_seconds
    behind = list(events)
    while True:
        behind = [
            event
            for event in behind
            if not _consumed(
                last_mark(catalog.load_table(event_table(event).identifier)),
                ends[event.topic],
            )
        ]
        if not behind or time.monotonic() >= deadline:
            return
        time.sleep(_POLL_SECONDS)


def _consumed(mark: Mark | None, end: Mapping[int, int]) -> bool:
    until = mark.until if mark else {}
    return all(until.get(partition, 0) >= offset for partition, offset in end.items())


def _accounts_for_something(topic: str, ledger: Ledger) -> Check:
    acknowledged = ledger.totals(topic).acknowledged
    name = "the ledger accounts for records"
    if acknowledged:
        return Check(topic, name, f"{acknowledged} acknowledged", "more than none", holds=True)
    return Check(topic, name, "no record was ever acknowledged", "an account", holds=False)


def _checks(
    event: EventContract,
    ledger: Ledger,
    end: Mapping[int, int],
    catalog: "Catalog",
    connection: "DuckDBPyConnection",
    journal: ErasureJournal | None,
    note: Callable[[ErasedNote], None],
) -> Iterator[Check]:
    topic = event.topic
    totals = ledger.totals(topic)
    known = next(each for each in ledger.topics if each.name == topic)
    rows = catalog.load_table(event_table(event).identifier)
    mark = last_mark(rows)
    total = mark.total if mark else Counts()
    in_topic = sum(end.values()) - sum(known.begin.values())
    yield equal(topic, "records acknowledged, and in the topic", totals.acknowledged, in_topic)
    yield equal(topic, "deliveries still unresolved", 0, ledger.unresolved(topic))
    yield equal(
        topic,
        "end offsets, and consumed until",
        _offsets(end),
        _offsets({p: mark.until.get(p, 0) if mark else 0 for p in end}),
    )
    yield Check(
        topic,
        "records acknowledged = landed + quarantined + duplicates dropped",
        str(totals.acknowledged),
        f"{total.landed} + {total.quarantined} + {total.duplicates}",
        totals.acknowledged == total.landed + total.quarantined + total.duplicates,
    )
    yield equal(topic, "duplicates dropped", totals.duplicates, total.duplicates)
    yield equal(topic, "quarantined", totals.quarantined, total.quarantined)
    side = TableSide(
        connection, event, rows, catalog.load_table(quarantine_table(event).identifier)
    )
    erased = Erased() if journal is None else erased_from(event, side, journal, known.topic_id)
    if erased.erasures:
        note(ErasedNote(topic, erased.erasures, erased.rows, len(erased.quarantined)))
    if erased.erasures or erased.came_back:
        yield equal(topic, "erased on request, and there again", 0, erased.came_back)
    sums = side.row_sums()
    stream = _with_erased(sums.get("stream", RowSums()), erased, "stream")
    told = f"events and copies past the horizon, and rows{_including(erased)}"
    yield equal(topic, told, totals.rows, stream.rows)
    yield equal(topic, "content hash", f"{totals.content_hash:032x}", f"{stream.content_hash:032x}")
    yield equal(
        topic,
        "content at its coordinates",
        f"{totals.coordinate_hash:016x}",
        f"{stream.coordinate_hash:016x}",
    )
    backfilled = _with_erased(sums.get("backfill", RowSums()), erased, "backfill")
    yield from _backfill_checks(topic, ledger, backfilled)
    after_first = side.rows_after_first() + erased.after_first
    yield from _past_horizon_checks(topic, totals.copies_past_horizon, total, after_first)
    yield from _quarantine_checks(topic, ledger, side, erased)
    yield from _replay_checks(topic, side)


def _past_horizon_checks(
    topic: str, copies: int, total: Counts, after_first: int
) -> Iterator[Check]:
    """A copy past the horizon is a second row of its key; nothing else may be one."""
    yield equal(
        topic,
        "copies past the horizon, and rows after the first of a key",
        copies,
        after_first,
    )
    # Most late events land without a search too, and only their copies are known here.
    yield Check(
        topic,
        "copies past the horizon are counted in the marks as landed unsearched",
        f"{copies} of them",
        f"{total.unsearched} unsearched",
        copies <= total.unsearched,
        relation="within",
    )


def _backfill_checks(topic: str, ledger: Ledger, found: RowSums) -> Iterator[Check]:
    days = ledger.backfilled(topic)
    if not days and not found.rows:
        return
    expected_hash = sum(day.content_hash for day in days) % HASH_MODULUS
    yield equal(topic, "backfilled rows", sum(day.rows for day in days), found.rows)
    yield equal(
        topic, "backfilled content hash", f"{expected_hash:032x}", f"{found.content_hash:032x}"
    )


def _with_erased(found: RowSums, erased: Erased, origin: str) -> RowSums:
    """What the table would hold had nothing been erased on request."""
    gone = erased.of(origin)
    return RowSums(
        found.rows + gone.rows,
        (found.content_hash + gone.content_hash) % HASH_MODULUS,
        (found.coordinate_hash + gone.coordinate_hash) % COORDINATE_MODULUS,
    )


def _including(erased: Erased) -> str:
    return f" with the {erased.rows} erased" if erased.rows else ""


def _quarantine_checks(
    topic: str, ledger: Ledger, side: TableSide, erased: Erased
) -> Iterator[Check]:
    expected = ledger.coordinates(topic)
    gone = {(place.partition, place.offset) for place in erased.quarantined}
    if gone:
        is_erased = np.array(
            [
                place in gone
                for place in zip(
                    expected["partition"].tolist(), expected["offset"].tolist(), strict=True
                )
            ],
            dtype=np.bool_,
        )
        found_there = int(np.count_nonzero(is_erased))
        yield equal(topic, "erased from quarantine, and to be there", len(gone), found_there)
        expected = expected[~is_erased]
    found = side.quarantine(expected)
    yield equal(topic, "coordinates to quarantine, and in it", len(expected), found.coordinates)
    yield equal(topic, "coordinates in quarantine once each", found.coordinates, found.records)
    yield equal(topic, "coordinates missing in quarantine", 0, found.only_in_ledger)
    yield equal(topic, "coordinates in quarantine that were good", 0, found.only_in_quarantine)
    yield equal(topic, "quarantined for another reason", 0, found.other_reason)


def _replay_checks(topic: str, side: TableSide) -> Iterator[Check]:
    """The ledger knows nothing of replays: their outcomes must agree with their rows."""
    found = side.landed_by_replay()
    if not found.outcomes:
        return
    yield equal(topic, "landed by replay, outcomes once each", found.coordinates, found.outcomes)
    yield equal(topic, "landed by replay, rows once each", found.coordinates, found.rows)
    yield equal(topic, "landed by replay without a row", 0, found.without_row)
    yield equal(topic, "landed by replay but never quarantined", 0, found.without_original)


def _offsets(offsets: Mapping[int, int]) -> str:
    return " ".join(f"{partition}:{offsets[partition]}" for partition in sorted(offsets))
