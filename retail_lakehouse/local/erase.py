"""Erasing one customer on one machine: the lease, the account, the deletes, the grace.

Here: their order. Not here: the deletes (`maintenance/erasure.py`), the question and the words
(`commands/erase.py`), views.
"""

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.tables import TableContract, event_table, quarantine_table
from retail_lakehouse.local.duckdb_extensions import iceberg_reader
from retail_lakehouse.local.erasures import ErasedRows, ErasedSums, Erasure, ErasureJournal
from retail_lakehouse.local.verify.tables import TableSide, prepare
from retail_lakehouse.maintenance.cleanup import expire_snapshots
from retail_lakehouse.maintenance.erasure import (
    Eraser,
    Found,
    TableErasure,
    erasable_events,
    mention,
)
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.lock import topic_lease
from retail_lakehouse.tables.catalog import load_contract_table, open_catalog

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_MEMORY_LIMIT_MB = 1_000


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What was done, table by table, and when the last file that held it may go."""

    tables: tuple[TableErasure, ...]
    gone_after_ms: int
    """Epoch ms: an expiry after this removes the last of them."""


def find_customer(spark: "SparkSession", settings: Settings, customer: str) -> list[Found]:
    """Where the customer is, table by table; empty tables included.

    Raises:
        ErasureError: the id cannot be one.
    """
    return [
        found
        for event in erasable_events()
        for found in Eraser(spark, settings.catalog_name, event, customer).find()
    ]


def erase_customer(spark: "SparkSession", settings: Settings, customer: str) -> ErasureReport:
    """Deletes the customer's rows, cleans their files, and expires what may go already.

    Holds the topic's lease meanwhile: the streaming job yields between two batches.

    Raises:
        ErasureError: the id cannot be one, other commits came before each attempt, or a batch has
            landed by half.
        LockHeldError: the job did not yield in time.
        ErasureJournalError: the account of earlier erasures is damaged.
    """
    done: list[TableErasure] = []
    for event in erasable_events():
        eraser = Eraser(spark, settings.catalog_name, event, customer)
        with topic_lease(settings.topic_locks, event.topic):
            done += _erase(spark, settings, event, eraser, customer)
        for table in (eraser.rows, eraser.quarantine):
            expire_snapshots(
                spark, settings.catalog_name, table.contract, settings.retention_minutes
            )
    cleaned = max(each.cleaned_at_ms for each in done)
    return ErasureReport(tuple(done), cleaned + settings.retention_minutes * 60_000)


def _erase(
    spark: "SparkSession",
    settings: Settings,
    event: EventContract,
    eraser: Eraser,
    customer: str,
) -> list[TableErasure]:
    eraser.refuse_half_a_batch()
    journal, erasure_id = ErasureJournal(settings.root), uuid.uuid4().hex
    rows, quarantined = eraser.find()
    for entry in (
        _entry(settings, event, erasure_id, rows, customer),
        _entry(settings, event, erasure_id, quarantined, None),
    ):
        if entry is not None:
            journal.intend(entry)

    def settle(table: TableContract) -> None:
        # Before the cleaning, which may fail: of backfilled rows no place could tell afterwards.
        journal.settle(erasure_id, table.name)

    return list(eraser.erase(_now_ms, carry_mark=True, deleted=settle))


def _entry(
    settings: Settings, event: EventContract, erasure_id: str, found: Found, customer: str | None
) -> Erasure | None:
    if not found.places:
        return None
    places = {place for place in found.places if place is not None}
    topic_ids = {None if place is None else place.topic_id for place in found.places}
    return Erasure(
        erasure_id=erasure_id,
        topic=event.topic,
        table=found.contract.name,
        at_ms=_now_ms(),
        places=tuple(sorted(places)),
        rows=() if customer is None else _sums(settings, event, customer, topic_ids),
    )


def _sums(
    settings: Settings, event: EventContract, customer: str, topic_ids: Iterable[str | None]
) -> tuple[ErasedRows, ...]:
    """What `verify` will miss, summed up by the code that `verify` sums up with."""
    catalog = open_catalog(settings)
    with iceberg_reader(_MEMORY_LIMIT_MB, settings.root / "erasures" / "spill") as connection:
        prepare(connection)
        side = TableSide(
            connection,
            event,
            load_contract_table(catalog, settings, event_table(event)),
            load_contract_table(catalog, settings, quarantine_table(event)),
        )
        return tuple(_rows(side, customer, topic_id) for topic_id in sorted(topic_ids, key=str))


def _rows(side: TableSide, customer: str, topic_id: str | None) -> ErasedRows:
    found = side.customer_sums(customer, mention(customer), topic_id)
    sums = {
        origin: ErasedSums(each.rows, each.content_hash, each.coordinate_hash)
        for origin, each in found.items()
    }
    return ErasedRows(topic_id, sums, side.customer_rows_after_first())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
