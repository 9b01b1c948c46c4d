"""Rules of the account of erasures: an intent that came to nothing is forgotten, others stay."""

from pathlib import Path

import pytest

from retail_lakehouse.local.erasures import (
    ErasedSums,
    Erasure,
    ErasureJournal,
    ErasureJournalError,
)


def entry(erasure_id: str, *places: tuple[int, int], table: str = "clickstream_events") -> Erasure:
    sums = {"stream": ErasedSums(len(places), 2**127 + len(places), 7)}
    return Erasure(erasure_id, "retail.clickstream.events", table, 5, tuple(places), sums)


def test_entries_come_back_as_they_were_written(tmp_path: Path) -> None:
    journal = ErasureJournal(tmp_path)
    assert journal.entries("clickstream_events") == []
    journal.intend(entry("a", (0, 1), (2, 3)))
    journal.intend(entry("a", (0, 9), table="clickstream_events_quarantine"))
    (found,) = ErasureJournal(tmp_path).entries("clickstream_events")
    assert found == entry("a", (0, 1), (2, 3))


def test_an_intent_whose_rows_are_found_again_is_dropped_and_a_settled_one_is_not(
    tmp_path: Path,
) -> None:
    journal = ErasureJournal(tmp_path)
    journal.intend(entry("done", (0, 1)))
    journal.settle("done", "clickstream_events")
    journal.intend(entry("killed before its delete", (0, 2), (0, 3)))
    journal.intend(entry("killed behind its delete", (1, 1)))
    journal.intend(entry("again", (0, 2), (0, 3), (0, 4)))
    told = {each.erasure_id: each.done for each in journal.entries("clickstream_events")}
    assert told == {"done": True, "killed behind its delete": False, "again": False}


def test_a_damaged_account_is_told_and_never_taken_for_an_empty_one(tmp_path: Path) -> None:
    journal = ErasureJournal(tmp_path)
    journal.intend(entry("a", (0, 1)))
    (path,) = tmp_path.rglob("journal.json")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ErasureJournalError, match="cannot be read"):
        journal.entries("clickstream_events")
