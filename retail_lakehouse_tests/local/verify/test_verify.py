"""Rules of `verify`: it agrees with faithful tables, and each single fault makes it fail."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from retail_lakehouse.contracts.events import CLICKSTREAM, EVENTS, INVENTORY, TRANSACTIONS
from retail_lakehouse.contracts.mark import MarkKind
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.local.ledger import Ledger
from retail_lakehouse.local.ledger_state import BackfillDay
from retail_lakehouse.local.ledger_totals import content_sum
from retail_lakehouse.local.simulator.backfill import typed_rows
from retail_lakehouse.local.simulator.options import NO_FAULTS
from retail_lakehouse.local.verify import verifier
from retail_lakehouse.local.verify.report import Check, VerifyReport
from retail_lakehouse.local.verify.verifier import compare
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse.tables.schema import arrow_schema
from retail_lakehouse_tests.local.simulator.made import NOW_MS, maker, new_ledger
from retail_lakehouse_tests.local.verify.lake import BATCHES, Lake, Rows, new_lake


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """A lake whose every check holds."""
    made = new_lake(tmp_path)
    yield made
    made.ledger.close()
    shutil.rmtree(tmp_path)


def _without_one(rows: Rows) -> Rows:
    return rows[1:]


def _with_one_doubled(rows: Rows) -> Rows:
    return [*rows, rows[0]]


def _with_one_digit_changed(rows: Rows) -> Rows:
    return [{**rows[0], "unit_cost": rows[0]["unit_cost"] + Decimal("0.0001")}, *rows[1:]]


def _swapped(*names: str) -> Callable[[Rows], Rows]:
    def swap(rows: Rows) -> Rows:
        one, other = rows[0], next(row for row in rows if row[names[0]] != rows[0][names[0]])
        rest = [row for row in rows if row is not one and row is not other]
        return [
            {**one, **{name: other[name] for name in names}},
            {**other, **{name: one[name] for name in names}},
            *rest,
        ]

    return swap


def test_every_check_holds_for_what_a_faithful_job_has_landed(lake: Lake) -> None:
    checks = lake.checks()
    assert [str(check) for check in checks if not check.holds] == []
    assert {check.topic for check in checks} == {event.topic for event in EVENTS}
    assert lake.ledger.totals(INVENTORY.topic).quarantined > 0
    assert lake.ledger.totals(INVENTORY.topic).duplicates > 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(_without_one, "past the horizon, and rows: ", id="one removed row"),
        pytest.param(_with_one_doubled, "rows after the first of a key", id="one doubled row"),
        pytest.param(_with_one_digit_changed, "content hash", id="one changed digit"),
        pytest.param(_swapped("quantity_on_hand"), "content hash", id="one swapped value"),
        pytest.param(
            _swapped("kafka_offset"), "content at its coordinates", id="two rows' offsets swapped"
        ),
    ],
)
def test_one_fault_in_a_table_makes_verify_fail(
    lake: Lake, fault: Callable[[Rows], Rows], said: str
) -> None:
    lake.rewrite(INVENTORY, fault)
    failed = lake.failed()
    assert any(said in line for line in failed), failed
    assert all(line.startswith(f"FAIL {INVENTORY.topic}") for line in failed)


def _copied(rows: Rows) -> list[Rows]:
    """The rows of each key that has several, in the order of their arrival."""
    by_id: dict[str, Rows] = {}
    for row in sorted(rows, key=lambda row: (row["kafka_partition"], row["kafka_offset"])):
        by_id.setdefault(row["event_id"], []).append(row)
    return [found for found in by_id.values() if len(found) > 1]


def test_copies_past_the_horizon_are_proved_to_have_landed(lake: Lake) -> None:
    totals = lake.ledger.totals(INVENTORY.topic)
    assert totals.copies_past_horizon > 0
    table = lake.catalog.load_table(event_table(INVENTORY).identifier)
    copied = _copied(table.scan().to_arrow().to_pylist())
    assert [len(found) for found in copied] == [2] * totals.copies_past_horizon
    mark = last_mark(table)
    assert mark is not None
    told = [c for c in lake.checks() if c.topic == INVENTORY.topic and "copies past" in c.name]
    assert [(c.ledger, c.found) for c in told] == [
        (str(totals.rows), str(totals.distinct + len(copied))),
        (str(len(copied)), str(len(copied))),
        (f"{len(copied)} of them", f"{mark.total.unsearched} unsearched"),
    ]


def _without_a_copy(rows: Rows) -> Rows:
    gone = _copied(rows)[0][1]
    return [row for row in rows if row is not gone]


def _with_another_copied_instead(rows: Rows) -> Rows:
    gone = _copied(rows)[0][1]
    single = next(row for row in rows if not any(row in found for found in _copied(rows)))
    place = {name: gone[name] for name in ("kafka_partition", "kafka_offset")}
    return [{**single, **place} if row is gone else row for row in rows]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(_without_a_copy, "rows after the first of a key", id="a dropped copy"),
        pytest.param(_with_another_copied_instead, "content hash", id="a copy of another event"),
    ],
)
def test_a_copy_past_the_horizon_that_is_not_as_sent_makes_verify_fail(
    lake: Lake, fault: Callable[[Rows], Rows], said: str
) -> None:
    lake.rewrite(INVENTORY, fault)
    failed = lake.failed()
    assert any(said in line for line in failed), failed


def test_copies_past_the_horizon_that_no_mark_counts_make_verify_fail(lake: Lake) -> None:
    table = lake.catalog.load_table(event_table(INVENTORY).identifier)
    mark = last_mark(table)
    assert mark is not None
    nothing = pa.Table.from_pylist([], schema=arrow_schema(event_table(INVENTORY)))
    append_marked(table, nothing, replace(mark, total=replace(mark.total, unsearched=0)))
    (failed,) = lake.failed()
    assert "counted in the marks" in failed
    assert failed.endswith("of them not within 0 unsearched")


def test_two_rows_whose_values_were_exchanged_make_verify_fail(lake: Lake) -> None:
    names = [field.name for field in TRANSACTIONS.fields]
    lake.rewrite(TRANSACTIONS, _swapped(*names))
    assert any("content at its coordinates" in line for line in lake.failed())
    lake.rewrite(TRANSACTIONS, _swapped(*names[1:]))
    assert any("content hash" in line for line in lake.failed())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(_without_one, "coordinates missing in quarantine", id="one removed record"),
        pytest.param(_with_one_doubled, "once each", id="one doubled record"),
        pytest.param(_swapped("reason"), "for another reason", id="two reasons swapped"),
        pytest.param(
            lambda rows: [{**rows[0], "kafka_offset": 10**9}, *rows[1:]],
            "that were good",
            id="a record that was good",
        ),
    ],
)
def test_one_fault_in_a_quarantine_makes_verify_fail(
    lake: Lake, fault: Callable[[Rows], Rows], said: str
) -> None:
    lake.rewrite(CLICKSTREAM, fault, quarantine=True)
    assert any(said in line for line in lake.failed())


def test_a_replay_of_the_quarantine_disturbs_no_check(lake: Lake) -> None:
    def replayed(rows: Rows) -> Rows:
        return [*rows, {**rows[0], "replay_id": "run", "outcome": "kept"}]

    lake.rewrite(INVENTORY, replayed, quarantine=True)
    assert lake.failed() == []


def _replay_one(lake: Lake, rows_landed: int = 1, outcomes: int = 1, moved: int = 0) -> None:
    """Lands one quarantined record by a replay, faithfully unless told otherwise."""
    chosen: Rows = []

    def outcome(rows: Rows) -> Rows:
        chosen.append(rows[0])
        place = {"kafka_offset": rows[0]["kafka_offset"] + moved}
        return [*rows, *[{**rows[0], **place, "replay_id": "run", "outcome": "landed"}] * outcomes]

    def landing(rows: Rows) -> Rows:
        (bad,) = chosen
        offset = bad["kafka_offset"] + moved
        of_record = ("kafka_topic_id", "kafka_partition", "kafka_timestamp")
        place = {name: bad[name] for name in of_record} | {"kafka_offset": offset}
        return [
            *rows,
            *[{**rows[0], **place, "event_id": f"replayed-{n}"} for n in range(rows_landed)],
        ]

    lake.rewrite(INVENTORY, outcome, quarantine=True)
    lake.rewrite(INVENTORY, landing)


def test_rows_that_a_replay_landed_are_compared_with_its_outcomes(lake: Lake) -> None:
    _replay_one(lake)
    assert lake.failed() == []
    assert [c.found for c in lake.checks() if c.name == "landed by replay, rows once each"] == ["1"]


def test_a_row_that_took_a_lost_records_offset_is_not_taken_for_the_replayed_one(
    lake: Lake,
) -> None:
    # The broker lost a record in quarantine, gave its offset away, and a replay landed the record.
    def landing(rows: Rows) -> Rows:
        return [*rows, {**rows[0], **lost, "event_id": "lost"}]

    def outcome(rows: Rows) -> Rows:
        original = {**rows[0], **lost}
        return [*rows, original, {**original, "replay_id": "run", "outcome": "landed"}]

    rows = lake.catalog.load_table(event_table(INVENTORY).identifier).scan().to_arrow().to_pylist()
    lost = {name: rows[0][name] for name in ("kafka_topic_id", "kafka_partition", "kafka_offset")}
    lost["kafka_timestamp"] = rows[0]["kafka_timestamp"] - dt.timedelta(milliseconds=1)
    lake.rewrite(INVENTORY, landing)
    lake.rewrite(INVENTORY, outcome, quarantine=True)
    # The ledger does not know that the broker lost it; rows and outcomes agree all the same.
    assert all("quarantine" in line for line in lake.failed()), lake.failed()
    assert [c.found for c in lake.checks() if c.name == "landed by replay, rows once each"] == ["1"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param({"rows_landed": 2}, "rows once each", id="a row landed twice"),
        pytest.param({"rows_landed": 0}, "without a row", id="no row was landed"),
        pytest.param({"outcomes": 2}, "outcomes once each", id="an outcome written twice"),
        pytest.param({"moved": 10**9}, "never quarantined", id="never quarantined"),
    ],
)
def test_one_fault_of_a_replay_makes_verify_fail(
    lake: Lake, fault: dict[str, int], said: str
) -> None:
    _replay_one(lake, **fault)
    failed = lake.failed()
    assert any("landed by replay" in line and said in line for line in failed), failed


def test_a_delivery_that_stays_unresolved_makes_verify_fail(lake: Lake) -> None:
    lake.ledger.intend(BATCHES + 1, maker().batch(BATCHES + 1, 30, NOW_MS, NOW_MS + 250).rows)
    assert any("deliveries still unresolved: 0 is not" in line for line in lake.failed())


def test_unresolved_and_undelivered_records_are_counted_before_they_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = new_lake(tmp_path)
    batch = maker().batch(BATCHES + 1, 30, NOW_MS, NOW_MS + 250)
    made.ledger.intend(BATCHES + 1, batch.rows)
    made.ledger.close()
    described = [SimpleNamespace(name=n, end_offsets=e) for n, e in made.kafka.by_topic().items()]
    monkeypatch.setattr(verifier, "bind_to_kafka", lambda *_: None)
    monkeypatch.setattr(verifier, "describe_topics", lambda *_: described)
    # Nothing of the batch is in the topics: looking it up closes it as never delivered.
    monkeypatch.setattr(verifier, "resolve_open", lambda ledger, _: ledger.resolve([]))
    report = verifier.verify(Settings.load({"state_dir": tmp_path / "state"}))
    assert report.ok, "\n".join(report.lines())
    assert sum(told.unresolved for told in report.deliveries) == 30
    assert sum(told.undelivered for told in report.deliveries) == 30
    inventory = int((batch.rows["topic"] == 0).sum())
    said = f"{INVENTORY.topic}: deliveries: {inventory} were unresolved, of which 0 had arrived"
    assert any(said in line for line in report.lines())
    (kinds,) = (told for told in report.kinds if told.topic == INVENTORY.topic)
    assert kinds.counts == made.ledger.totals(INVENTORY.topic).kinds
    assert sum(kinds.counts.values()) == made.ledger.totals(INVENTORY.topic).acknowledged
    assert f", duplicate_same_batch {kinds.counts['DUPLICATE_SAME_BATCH']}" in str(kinds)


def test_an_empty_account_fails_unless_asked_otherwise(tmp_path: Path) -> None:
    settings = Settings.load({"state_dir": tmp_path / "state"})
    prepare_catalog(settings)
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings)
    nothing = {event.topic: dict.fromkeys(range(3), 0) for event in EVENTS}
    with new_ledger(settings.root / "ledger") as ledger:
        failed = [str(c) for c in compare(ledger, catalog, nothing) if not c.holds]
        assert len(failed) == len(EVENTS)
        assert all("no record was ever acknowledged" in line for line in failed)
        assert all(c.holds for c in compare(ledger, catalog, nothing, allow_empty=True))


def test_records_that_no_table_has_consumed_make_verify_fail(lake: Lake) -> None:
    lake.kafka.ends[0, 0] += 1
    failed = lake.failed()
    assert any("consumed until" in line for line in failed)
    assert any("acknowledged, and in the topic" in line for line in failed)


def test_backfilled_rows_have_checks_of_their_own(lake: Lake) -> None:
    batch = maker(NO_FAULTS, ledger_id="0000beef").batch(0, 200, NOW_MS - 250, NOW_MS)
    chosen = batch.rows["topic"] == 0
    bodies = [body for body, is_it in zip(batch.bodies, chosen, strict=True) if is_it]
    rows = typed_rows(INVENTORY, bodies, NOW_MS)
    table = lake.catalog.load_table(event_table(INVENTORY).identifier)
    mark = last_mark(table)
    assert mark is not None
    append_marked(
        table, rows, mark.carried(MarkKind.BACKFILL, "run", NOW_MS, engine="x", contract_version=1)
    )
    assert any("backfilled rows" in line for line in lake.failed())
    day = BackfillDay(
        INVENTORY.topic,
        "2026-11-17",
        len(rows),
        content_sum(batch.rows["high"][chosen], batch.rows["low"][chosen]),
        rows["event_id"][0].as_py(),
    )
    lake.ledger.intend_backfill(day, 1_000)
    lake.ledger.settle_backfill(day, committed=True)
    assert lake.failed() == []


def test_the_report_has_a_line_for_each_check_and_a_verdict() -> None:
    good = Check("topic", "rows", "3", "3", holds=True)
    bad = Check("topic", "rows", "3", "4", holds=False)
    assert list(VerifyReport((good,), 1.0).lines()) == [
        "ok   topic: rows: 3 = 3",
        "All 1 checks hold (1.0 s).",
    ]
    report = VerifyReport((good, bad), 1.0)
    assert not report.ok
    assert report.failed == (bad,)
    assert "FAIL topic: rows: 3 is not 4" in list(report.lines())


def test_verify_never_asks_the_judge_nor_what_lands_rows() -> None:
    # What judges and lands rows must not be loaded by any way round, so a new process looks.
    look = (
        "import sys, retail_lakehouse.local.verify\n"
        "print(*[name for name in sys.modules if name.startswith('retail_lakehouse.')])"
    )
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())
    assert "retail_lakehouse.local.verify.tables" in loaded
    forbidden = (
        "contracts.judge",
        "contracts.strict_json",
        "dedupe",
        "streaming.transform",
        "streaming.writer",
    )
    prefixes = tuple(f"retail_lakehouse.{name}" for name in forbidden)
    assert [name for name in loaded if name.startswith(prefixes)] == []


def test_a_ledger_without_a_row_in_the_tables_fails(tmp_path: Path) -> None:
    lake = new_lake(tmp_path)
    for event in EVENTS:
        lake.rewrite(event, lambda _: [])
    assert len([line for line in lake.failed() if "past the horizon, and rows: " in line]) == len(
        EVENTS
    )
    assert isinstance(lake.ledger, Ledger)
    lake.ledger.close()
