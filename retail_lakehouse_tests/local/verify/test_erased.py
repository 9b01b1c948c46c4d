"""Rules of verify after an erasure: what was erased is accounted for, anything else still fails."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest

from retail_lakehouse.contracts.events import CLICKSTREAM
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.local.duckdb_extensions import iceberg_reader
from retail_lakehouse.local.erasures import ErasedRows, ErasedSums, Erasure, ErasureJournal
from retail_lakehouse.local.verify.erased import Erased, erased_from
from retail_lakehouse.local.verify.tables import TableSide, prepare
from retail_lakehouse.maintenance.erasure import mention
from retail_lakehouse.maintenance.places import Place
from retail_lakehouse_tests.local.verify.lake import Lake, Rows, new_lake

ROWS, BAD = event_table(CLICKSTREAM), quarantine_table(CLICKSTREAM)
TOPIC_ID = f"id-of-{CLICKSTREAM.name}"


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """A lake whose every check holds."""
    made = new_lake(tmp_path)
    yield made
    made.ledger.close()
    shutil.rmtree(tmp_path)


def _rows(lake: Lake) -> Rows:
    return list(lake.catalog.load_table(ROWS.identifier).scan().to_arrow().to_pylist())


def _customer(lake: Lake) -> str:
    counted = Counter(row["customer_id"] for row in _rows(lake) if row["customer_id"])
    return str(counted.most_common(1)[0][0])


def _place(row: Mapping[str, Any]) -> Place:
    broker_ms = round(row["kafka_timestamp"].replace(tzinfo=UTC).timestamp() * 1000)
    return Place(row["kafka_topic_id"], row["kafka_partition"], row["kafka_offset"], broker_ms)


@contextmanager
def _side(lake: Lake) -> Iterator[TableSide]:
    with iceberg_reader(500, lake.ledger.folder / "spill") as connection:
        prepare(connection)
        yield TableSide(
            connection,
            CLICKSTREAM,
            lake.catalog.load_table(ROWS.identifier),
            lake.catalog.load_table(BAD.identifier),
        )


def _erased(lake: Lake) -> Erased:
    """What `verify` counts as erased."""
    with _side(lake) as side:
        return erased_from(CLICKSTREAM, side, ErasureJournal(lake.ledger.folder.parent), TOPIC_ID)


def _summed(side: TableSide, customer: str, topic_id: str) -> ErasedRows:
    sums = side.customer_sums(customer, mention(customer), topic_id)
    told = {o: ErasedSums(s.rows, s.content_hash, s.coordinate_hash) for o, s in sums.items()}
    return ErasedRows(topic_id, told, side.customer_rows_after_first())


def _intend(lake: Lake, customer: str, *topic_ids: str) -> ErasureJournal:
    """Writes the account as an erasure does, without its delete."""
    with _side(lake) as side:
        rows = tuple(_summed(side, customer, each) for each in topic_ids or (TOPIC_ID,))
    places = tuple(_place(row) for row in _rows(lake) if row["customer_id"] == customer)
    journal = ErasureJournal(lake.ledger.folder.parent)
    journal.intend(Erasure("e", CLICKSTREAM.topic, ROWS.name, 1, places, rows))
    return journal


def _without(lake: Lake, customer: str) -> None:
    lake.rewrite(CLICKSTREAM, lambda rows: [r for r in rows if r["customer_id"] != customer])


def test_erased_rows_are_accounted_for_and_said(lake: Lake) -> None:
    customer = _customer(lake)
    _intend(lake, customer).settle("e", ROWS.name)
    _without(lake, customer)
    assert lake.failed() == []
    (note,) = lake.notes
    assert note.rows > 0
    assert f"{note.rows} rows and 0 quarantined records" in str(note)
    assert "nothing else knows them any more" in str(note)
    told = [check.name for check in lake.checks()]
    assert f"events and copies past the horizon, and rows with the {note.rows} erased" in told


def test_erased_copies_past_the_horizon_are_accounted_for(lake: Lake) -> None:
    keys = Counter((row["event_id"], row["customer_id"]) for row in _rows(lake))
    twice = [customer for (_, customer), rows in keys.items() if rows > 1 and customer]
    customer = str(twice[0])
    journal = _intend(lake, customer)
    journal.settle("e", ROWS.name)
    (entry,) = journal.entries(ROWS.name)
    (of_topic,) = entry.rows
    assert of_topic.after_first == sum(
        rows - 1 for (_, its), rows in keys.items() if its == customer
    )
    _without(lake, customer)
    assert lake.failed() == []


def test_erased_rows_of_an_earlier_topic_are_not_taken_for_rows_of_the_ledgers_own(
    lake: Lake,
) -> None:
    customer = _customer(lake)

    def before_it_was_made_again(rows: Rows) -> Rows:
        theirs = [row for row in rows if row["customer_id"] == customer]
        return [*rows, *(row | {"kafka_topic_id": "earlier"} for row in theirs)]

    lake.rewrite(CLICKSTREAM, before_it_was_made_again)
    journal = _intend(lake, customer, "earlier", TOPIC_ID)
    journal.settle("e", ROWS.name)
    (entry,) = journal.entries(ROWS.name)
    earlier, own = entry.rows
    assert earlier.sums == own.sums
    # An erasure that only the earlier topic had is none of this one.
    places = tuple(each for each in entry.places if each.topic_id == "earlier")
    journal.intend(Erasure("earlier", CLICKSTREAM.topic, ROWS.name, 1, places, (earlier,)))
    journal.settle("earlier", ROWS.name)
    _without(lake, customer)
    assert lake.failed() == []
    (note,) = lake.notes
    assert (note.erasures, note.rows) == (1, own.sums["stream"].rows)


def test_an_erasure_that_was_killed_behind_its_delete_is_accounted_for_too(lake: Lake) -> None:
    customer = _customer(lake)
    _intend(lake, customer)
    _without(lake, customer)
    assert lake.failed() == []


def test_an_erasure_that_was_killed_before_its_delete_did_not_happen(lake: Lake) -> None:
    _intend(lake, _customer(lake))
    assert lake.failed() == []
    assert lake.notes == []


def test_a_row_that_went_with_the_erased_and_was_nobodys_fails(lake: Lake) -> None:
    customer = _customer(lake)
    _intend(lake, customer).settle("e", ROWS.name)
    _without(lake, customer)
    lake.rewrite(CLICKSTREAM, lambda rows: rows[1:])
    assert any("with the" in line and "erased" in line for line in lake.failed())
    assert any("content hash" in line for line in lake.failed())


def test_without_an_account_erased_rows_are_lost_rows(lake: Lake) -> None:
    _without(lake, _customer(lake))
    assert any("events and copies past the horizon, and rows" in line for line in lake.failed())


def test_erased_rows_that_are_there_again_fail(lake: Lake) -> None:
    journal = _intend(lake, _customer(lake))
    journal.settle("e", ROWS.name)
    assert any("erased on request, and there again" in line for line in lake.failed())


def test_erased_quarantined_records_are_not_missed_and_others_are(lake: Lake) -> None:
    rows = lake.catalog.load_table(BAD.identifier).scan().to_arrow().to_pylist()
    places = sorted({_place(row) for row in rows})
    journal = ErasureJournal(lake.ledger.folder.parent)
    journal.intend(Erasure("e", CLICKSTREAM.topic, BAD.name, 1, tuple(places[:2])))
    # Of an earlier topic of the name, whose offsets the ledger's own topic has given out again.
    earlier = tuple(place._replace(topic_id="earlier") for place in places[1:4])
    journal.intend(Erasure("earlier", CLICKSTREAM.topic, BAD.name, 1, earlier))
    journal.settle("earlier", BAD.name)

    def without(count: int) -> None:
        kept = set(places[count:])
        lake.rewrite(
            CLICKSTREAM, lambda found: [r for r in found if _place(r) in kept], quarantine=True
        )

    without(2)
    assert lake.failed() == []
    (note,) = lake.notes
    assert (note.erasures, note.quarantined) == (1, 2)
    without(3)
    assert any("missing in quarantine" in line for line in lake.failed())


def test_another_record_at_an_erased_offset_is_not_the_erased_one(lake: Lake) -> None:
    customer = _customer(lake)
    # Killed behind its delete: whether it came to be is asked of the table alone.
    _intend(lake, customer)

    def given_out_again(rows: Rows) -> Rows:
        theirs = [row for row in rows if row["customer_id"] == customer]
        others = [row for row in rows if row["customer_id"] != customer]
        half = len(theirs) // 2
        assert half
        later = timedelta(milliseconds=1)
        made_again = [row | {"kafka_topic_id": "made again"} for row in theirs[:half]]
        lost = [row | {"kafka_timestamp": row["kafka_timestamp"] + later} for row in theirs[half:]]
        return [*others, *made_again, *lost]

    lake.rewrite(CLICKSTREAM, given_out_again)
    erased = _erased(lake)
    assert (erased.erasures, erased.came_back) == (1, 0)
