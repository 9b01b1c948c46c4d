"""Tables for tests of `verify`: what a faithful job would have landed from the fake topics.

Here: a job of twenty lines over the judge, with marks. Not here: tests.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog

from retail_lakehouse.contracts.events import EVENTS, EventContract
from retail_lakehouse.contracts.judge import Bad, Good, judge
from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.contracts.reasons import Reason
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.local.erasures import ErasureJournal
from retail_lakehouse.local.ledger import Ledger
from retail_lakehouse.local.simulator.backfill import typed_rows
from retail_lakehouse.local.simulator.disturbance import Disturbance
from retail_lakehouse.local.simulator.options import Shares
from retail_lakehouse.local.verify.report import Check, ErasedNote
from retail_lakehouse.local.verify.verifier import compare
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse.tables.schema import arrow_schema
from retail_lakehouse_tests.local.simulator.made import NOW_MS, FakeTopics, maker, new_ledger

Rows = list[dict[str, Any]]
BATCHES, SIZE = 3, 300
SHARES = Shares(malformed=0.05, late=0.3, duplicate=0.2, conflict_of_malformed=0.2)
"""So many late events and duplicates that a few late ones come again past the horizon."""
_HOUR_MS = 3_600_000
_COPIES_AT_MS = NOW_MS + 10 * 60_000


@dataclass
class Lake:
    """A ledger, the topics it accounts for, and tables that agree with both."""

    ledger: Ledger
    kafka: FakeTopics
    catalog: Catalog
    notes: list[ErasedNote] = field(default_factory=list)
    """What `verify` remarked on erasures."""

    def checks(self) -> tuple[Check, ...]:
        """What `verify` compares."""
        return compare(
            self.ledger,
            self.catalog,
            self.kafka.by_topic(),
            journal=ErasureJournal(self.ledger.folder.parent),
            note=self.notes.append,
        )

    def failed(self) -> list[str]:
        """The checks that do not hold."""
        return [str(check) for check in self.checks() if not check.holds]

    def rewrite(
        self, event: EventContract, change: Callable[[Rows], Rows], quarantine: bool = False
    ) -> None:
        """Replaces the rows of a table, leaving its last mark in force."""
        contract = quarantine_table(event) if quarantine else event_table(event)
        table = self.catalog.load_table(contract.identifier)
        rows = change(table.scan().to_arrow().to_pylist())
        table.overwrite(pa.Table.from_pylist(rows, schema=arrow_schema(contract)))


def new_lake(folder: Path) -> Lake:
    """A lake whose every check holds."""
    settings = Settings.load({"state_dir": folder / "state"})
    prepare_catalog(settings)
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings)
    disturbance = Disturbance(SHARES, settings.dedupe_horizon_hours)
    kafka, making = FakeTopics(), maker(disturbance=disturbance)
    ledger = new_ledger(settings.root / "ledger")
    for number in range(BATCHES + 1):
        batch = (
            making.batch(number, SIZE, NOW_MS + number * 250, NOW_MS + number * 250 + 250)
            if number < BATCHES
            else disturbance.due(_COPIES_AT_MS, BATCHES - 1, at_most=SIZE)
        )
        ledger.intend(number, batch.rows)
        ledger.settle(number, *kafka.append(batch))
    for number, event in enumerate(EVENTS):
        _land(catalog, event, number, kafka, settings.dedupe_horizon_hours * _HOUR_MS)
    return Lake(ledger, kafka, catalog)


def _land(
    catalog: Catalog, event: EventContract, number: int, kafka: FakeTopics, horizon_ms: int
) -> None:
    bodies: list[bytes | None] = []
    places: list[tuple[int, int]] = []
    seen: dict[str, str] = {}
    bad: Rows = []
    duplicates = unsearched = 0
    moment = dt.datetime(2026, 11, 18)  # noqa: DTZ001
    for _, partition, offset, body in (each for each in kafka.records if each[0] == number):
        verdict = judge(body, NOW_MS + 1_000, event)
        if isinstance(verdict, Good):
            event_id = str(verdict.values["event_id"])
            hour_ms = int(str(verdict.values["event_timestamp"])) // _HOUR_MS * _HOUR_MS
            past = hour_ms < NOW_MS + 1_000 - horizon_ms
            content = seen.setdefault(event_id, "") if not past else ""
            if content == verdict.canonical:
                duplicates += 1
                continue
            if not content:
                seen[event_id] = verdict.canonical
                unsearched += past
                bodies.append(body)
                places.append((partition, offset))
                continue
            verdict = Bad(Reason.CONFLICT, "other content", event_id)
        bad.append(
            {
                "kafka_topic": event.topic,
                "kafka_topic_id": f"id-of-{event.name}",
                "kafka_partition": partition,
                "kafka_offset": offset,
                "kafka_timestamp": moment,
                "kafka_key": b"",
                "raw": body,
                "reason": verdict.reason.value,
                "detail": verdict.detail,
                "event_id": verdict.event_id,
                "contract_version": 1,
                "quarantine_date": moment.date(),
                "judged_at": moment,
                "outcome": "quarantined",
                "replay_id": None,
            }
        )
    end = kafka.by_topic()[event.topic]
    total = Counts(
        read=len(bodies) + len(bad) + duplicates,
        landed=len(bodies),
        quarantined=len(bad),
        duplicates=duplicates,
        unsearched=unsearched,
    )
    mark = Mark(
        kind=MarkKind.STREAM,
        cluster_id="cluster",
        topic=event.topic,
        topic_id=f"id-of-{event.name}",
        ranges={partition: (0, offset) for partition, offset in end.items()},
        until=dict(end),
        event_time=TimeRange(),
        broker_time=TimeRange(),
        batch=total,
        total=total,
        batch_started_ms=NOW_MS,
        previous_commit_ms=None,
        contract_version=1,
        run_id="test",
        engine="test",
    )
    rows = typed_rows(event, bodies, NOW_MS)
    for name, values in (
        ("kafka_partition", [partition for partition, _ in places]),
        ("kafka_offset", [offset for _, offset in places]),
        ("kafka_topic_id", [f"id-of-{event.name}"] * len(places)),
        ("kafka_timestamp", [moment] * len(places)),
    ):
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pa.array(values, rows.schema.types[at]))
    append_marked(catalog.load_table(event_table(event).identifier), rows, mark)
    contract = quarantine_table(event)
    quarantined = pa.Table.from_pylist(bad, schema=arrow_schema(contract))
    append_marked(catalog.load_table(contract.identifier), quarantined, mark)
