"""Rules of what a kill leaves open: it is on disk before it is sent, and is closed once."""

import json
from pathlib import Path

import numpy as np
import pytest

from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.local import ledger_state
from retail_lakehouse.local.journal import JournalWriter, read_journal
from retail_lakehouse.local.ledger import Landing, Ledger
from retail_lakehouse.local.ledger_state import BackfillDay, LedgerError, Record, dump
from retail_lakehouse.local.ledger_totals import ROW, Rows
from retail_lakehouse_tests.local.simulator.made import new_ledger


def _rows(count: int) -> Rows:
    rows = np.zeros(count, dtype=ROW)
    rows["low"] = np.arange(count)
    return rows


def _kinds_on_disk(folder: Path) -> list[int]:
    (journal,) = folder.glob("journal-*.bin")
    return [kind for kind, _ in read_journal(journal)]


def _undelivered(ledger: Ledger) -> int:
    return sum(ledger.totals(topic.name).undelivered for topic in TOPICS)


def test_an_intent_is_on_disk_before_its_first_record_is_sent(tmp_path: Path) -> None:
    day = BackfillDay(TOPICS[0].name, "2026-11-01", 3, 7, "e")
    with new_ledger(tmp_path) as ledger:
        ledger.intend(0, _rows(2))
        assert _kinds_on_disk(tmp_path)[-1] == Record.INTENT
        ledger.intend_backfill(day, 5)
        assert _kinds_on_disk(tmp_path)[-1] == Record.BACKFILL_INTENT
        assert ledger.next_batch() == 5
        ledger.settle_backfill(day, committed=True)
        assert _kinds_on_disk(tmp_path)[-1] == Record.BACKFILL_DONE
        assert [ledger.backfilled(topic.name) for topic in TOPICS] == [[day], [], []]


def test_the_number_of_a_batch_is_never_given_twice(tmp_path: Path) -> None:
    with new_ledger(tmp_path) as ledger:
        assert ledger.next_batch() == 0
        ledger.intend(0, _rows(1))
        assert ledger.next_batch() == 1
    with Ledger(tmp_path) as ledger:
        assert ledger.next_batch() == 1


def test_what_is_open_is_resolved_once_and_what_was_settled_is_left_alone(tmp_path: Path) -> None:
    with new_ledger(tmp_path) as ledger:
        ledger.intend(0, _rows(4))
        # Two arrived, and of two nobody knows.
        ledger.settle(0, np.array([0, 0, 0, 0]), np.array([5, 6, -1, -1]))
        topic = TOPICS[0].name
        assert ledger.unresolved(topic) == 2
        landings = [Landing(0, 5, 0, 0), Landing(0, 0, 0, 2)]
        assert ledger.resolve(landings) == 1
        for _ in range(2):
            assert ledger.totals(topic).acknowledged == 3
            assert _undelivered(ledger) == 1
            assert ledger.unresolved(topic) == 0
            assert ledger.open_batches() == []
            assert ledger.resolve(landings) == 0
    with Ledger(tmp_path) as ledger:
        assert ledger.totals(topic).acknowledged == 3
        assert _undelivered(ledger) == 1


def test_a_ledger_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    with JournalWriter(tmp_path / "journal-00000001.bin") as writer:
        writer.append(Record.CHECKPOINT, dump({"version": 3}))
    with pytest.raises(LedgerError, match="version 3, newer than this program's 2: update"):
        Ledger(tmp_path)


def test_a_ledger_from_before_copies_past_the_horizon_is_read_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_state, "_VERSION", 1)
    with new_ledger(tmp_path) as ledger:
        ledger.intend(0, _rows(4))
        ledger.settle(0, np.array([0, 0, 0, 0]), np.array([5, 6, 7, -1]))
        before = [ledger.totals(topic.name).to_json() for topic in TOPICS]
    monkeypatch.undo()
    with Ledger(tmp_path) as ledger:
        assert [ledger.totals(topic.name).to_json() for topic in TOPICS] == before
        assert ledger.totals(TOPICS[0].name).rows == 3
        assert ledger.unresolved(TOPICS[0].name) == 1
    (journal,) = tmp_path.glob("journal-*.bin")
    (_, checkpoint), *_ = read_journal(journal)
    # A program that does not know the kind leaves it alone from now on.
    assert json.loads(checkpoint)["version"] == 2


def test_a_journal_that_lost_its_beginning_is_damaged_and_not_empty(tmp_path: Path) -> None:
    with JournalWriter(tmp_path / "journal-00000001.bin") as writer:
        writer.append(Record.BACKFILL_INTENT, dump({"version": 1}))
    with pytest.raises(LedgerError, match="does not begin with a checkpoint"):
        Ledger(tmp_path)
