"""Rules of history: written once, through the judge, in the ledger, and without offsets."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from retail_lakehouse.contracts.events import EVENTS, INVENTORY
from retail_lakehouse.contracts.mark import MarkKind
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.local.broker import Broker
from retail_lakehouse.local.ledger import Ledger
from retail_lakehouse.local.ledger_state import BackfillDay
from retail_lakehouse.local.simulator import SimulatorOptions, run_simulator
from retail_lakehouse.local.simulator.backfill import (
    MOST_EVENTS_A_DAY,
    BackfillError,
    backfill,
    typed_rows,
)
from retail_lakehouse.local.simulator.options import LEDGER_FOLDER, NO_FAULTS
from retail_lakehouse.local.simulator.resolution import resolve_open_backfills
from retail_lakehouse.local.verify import verify
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse_tests.local.simulator.conftest import client_of
from retail_lakehouse_tests.local.simulator.made import NOW_MS, maker, new_ledger

TODAY = dt.date(2026, 11, 20)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A state folder with empty tables."""
    made = Settings.load({"state_dir": tmp_path / "state"})
    prepare_catalog(made)
    ensure_tables(open_catalog(made), made)
    return made


def _rows(catalog: Catalog) -> list[dict[str, object]]:
    table = catalog.load_table(event_table(INVENTORY).identifier)
    return list(table.scan().to_arrow().to_pylist())


@pytest.mark.stack
def test_days_are_written_once_and_verify_agrees(own_broker: Broker, settings: Settings) -> None:
    kafka = client_of(own_broker)
    report = backfill(settings, days=2, events_a_day=2_000, kafka=kafka, today=TODAY)
    assert [(day.topic, day.day) for day in report.written] == [
        (event.topic, day) for day in ("2026-11-18", "2026-11-19") for event in EVENTS
    ]
    again = backfill(settings, days=3, events_a_day=2_000, kafka=kafka, today=TODAY)
    assert {day.day for day in again.written} == {"2026-11-17"}
    checks = verify(settings, kafka=kafka, allow_empty=True)
    assert checks.ok, "\n".join(checks.lines())
    catalog = open_catalog(settings)
    for event in EVENTS:
        mark = last_mark(catalog.load_table(event_table(event).identifier))
        assert mark is not None
        assert mark.kind is MarkKind.BACKFILL
        assert mark.until == {}
    rows = _rows(catalog)
    assert {row["kafka_offset"] for row in rows} == {None}
    assert {row["event_date"] for row in rows} == {TODAY - dt.timedelta(days=n) for n in (1, 2, 3)}
    assert {row["event_hour"] for row in rows} == set(range(24))


@pytest.mark.stack
def test_history_and_stream_share_one_ledger(own_broker: Broker, settings: Settings) -> None:
    kafka = client_of(own_broker)
    options = SimulatorOptions(settings.root / LEDGER_FOLDER, kafka, max_events=400)
    run_simulator(options)
    backfill(settings, days=1, events_a_day=1_000, kafka=kafka, today=TODAY)
    run_simulator(options)
    with Ledger(settings.root / LEDGER_FOLDER) as ledger:
        assert len(ledger.backfilled(INVENTORY.topic)) == 1
        assert sum(ledger.totals(event.topic).acknowledged for event in EVENTS) >= 790
    # Nothing has consumed the stream, so verify says so of it and of nothing else.
    failed = {check.name for check in verify(settings, kafka=kafka).failed}
    assert "end offsets, and consumed until" in failed
    assert not {name for name in failed if "backfill" in name}


def test_a_batch_of_the_largest_day_has_an_id_for_each_event() -> None:
    batch = maker(NO_FAULTS).batch(0, MOST_EVENTS_A_DAY // 96, NOW_MS - 900_000, NOW_MS)
    assert len(batch.rows) == pytest.approx(MOST_EVENTS_A_DAY / 96, rel=0.01)


def test_a_day_killed_around_its_commit_is_booked_by_what_the_table_has(
    settings: Settings,
) -> None:
    catalog = open_catalog(settings)
    batch = maker(NO_FAULTS).batch(0, 100, NOW_MS - 250, NOW_MS)
    bodies = [
        body
        for body, topic in zip(batch.bodies, batch.rows["topic"].tolist(), strict=True)
        if topic == 0
    ]
    rows = typed_rows(INVENTORY, bodies, NOW_MS)
    day = str(rows["event_date"][0].as_py())
    there = BackfillDay(INVENTORY.topic, day, len(rows), 1, rows["event_id"][0].as_py())
    gone = BackfillDay(INVENTORY.topic, day, len(rows), 1, "i-never")
    with new_ledger(settings.root / LEDGER_FOLDER) as ledger:
        ledger.intend_backfill(there, 96)
        ledger.intend_backfill(gone, 192)
        append_marked(catalog.load_table(event_table(INVENTORY).identifier), rows, None)
    with Ledger(settings.root / LEDGER_FOLDER) as ledger:
        resolve_open_backfills(ledger, catalog)
        assert ledger.backfilled(INVENTORY.topic) == [there]
        assert not ledger.open_backfills()


def test_a_body_that_the_contract_refuses_stops_the_day_with_the_reason() -> None:
    with pytest.raises(BackfillError, match=r"refuses \(type: event_id is absent"):
        typed_rows(INVENTORY, [b"{}"], NOW_MS)
