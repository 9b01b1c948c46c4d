"""Rules of the account of erasures: an intent that came to nothing is forgotten, others stay."""

from pathlib import Path

import pytest

from retail_lakehouse.local.erasures import (
    ErasedRows,
    ErasedSums,
    Erasure,
    ErasureJournal,
    ErasureJournalError,
)
from retail_lakehouse.maintenance.places import Place

TABLE = "clickstream_events"


def entry(
    erasure_id: str,
    *places: tuple[int, int],
    table: str = TABLE,
    topic_id: str = "first",
    broker_ms: int = 1_795_000_000_000,
) -> Erasure:
    sums = {"stream": ErasedSums(len(places), 2**127 + len(places), 7)}
    named = tuple(Place(topic_id, partition, offset, broker_ms) for partition, offset in places)
    rows = (ErasedRows(topic_id, sums, 1), ErasedRows(None, {"backfill": ErasedSums(3, 5)}))
    return Erasure(erasure_id, "retail.clickstream.events", table, 5, named, rows)


def told(journal: ErasureJournal) -> dict[str, bool]:
    """Whether each erasure of the journal is done."""
    return {each.erasure_id: each.done for each in journal.entries(TABLE)}


def test_entries_come_back_as_they_were_written(tmp_path: Path) -> None:
    journal = ErasureJournal(tmp_path)
    assert journal.entries(TABLE) == []
    journal.intend(entry("a", (0, 1), (2, 3)))
    journal.intend(entry("a", (0, 9), table="clickstream_events_quarantine"))
    (found,) = ErasureJournal(tmp_path).entries(TABLE)
    assert found == entry("a", (0, 1), (2, 3))
    assert found.places[1].offset == 3


def test_an_intent_whose_rows_are_found_again_is_dropped_and_a_settled_one_is_not(
    tmp_path: Path,
) -> None:
    journal = ErasureJournal(tmp_path)
    journal.intend(entry("done", (0, 1)))
    journal.settle("done", TABLE)
    journal.intend(entry("killed before its delete", (0, 2), (0, 3)))
    journal.intend(entry("killed behind its delete", (1, 1)))
    journal.intend(entry("again", (0, 2), (0, 3), (0, 4)))
    assert told(journal) == {"done": True, "killed behind its delete": False, "again": False}


def test_rows_at_the_same_offsets_of_another_time_are_not_those_of_an_earlier_intent(
    tmp_path: Path,
) -> None:
    journal = ErasureJournal(tmp_path)
    journal.intend(entry("before the topic was made again", (0, 2)))
    journal.intend(entry("before the broker lost records", (0, 2), topic_id="second"))
    journal.intend(entry("now", (0, 2), topic_id="second", broker_ms=1_795_000_000_001))
    assert list(told(journal)) == [
        "before the topic was made again",
        "before the broker lost records",
        "now",
    ]


def test_a_damaged_account_is_told_and_never_taken_for_an_empty_one(tmp_path: Path) -> None:
    journal = ErasureJournal(tmp_path)
    journal.intend(entry("a", (0, 1)))
    (path,) = tmp_path.rglob("journal.json")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ErasureJournalError, match="cannot be read"):
        journal.entries(TABLE)
