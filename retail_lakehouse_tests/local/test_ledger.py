"""Rules of the ledger: exact, whatever the moment at which its process is killed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retail_lakehouse.contracts.canonical import HASH_MODULUS, content_hash
from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.judge import Good, judge
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.local.journal import JournalWriter, read_journal
from retail_lakehouse.local.ledger import (
    Landing,
    Ledger,
    LedgerBusyError,
    marker,
    read_marker,
)
from retail_lakehouse.local.ledger_state import BackfillDay, LedgerError, LedgerTopic
from retail_lakehouse.local.ledger_totals import ROW, RecordKind, coordinate_sum
from retail_lakehouse.local.simulator.disturbance import Batch
from retail_lakehouse_tests.local.simulator.made import (
    NOW_MS,
    FakeTopics,
    maker,
    new_ledger,
    topics,
)

INVENTORY_TOPIC = TOPICS[0].name


def _batches(count: int, size: int = 400) -> list[Batch]:
    making = maker()
    return [making.batch(n, size, NOW_MS + n * 250, NOW_MS + n * 250 + 250) for n in range(count)]


def _says(ledger: Ledger) -> list[Any]:
    says: list[Any] = [ledger.totals(topic.name).to_json() for topic in TOPICS]
    for topic in TOPICS:
        says.append(sorted(ledger.coordinates(topic.name).tolist()))
    return says


def _landings(number: int, partitions: Any, offsets: Any) -> list[Landing]:
    return [
        Landing(int(p), int(o), number, i)
        for i, (p, o) in enumerate(zip(partitions, offsets, strict=True))
    ]


def test_totals_are_those_of_the_judged_bytes(tmp_path: Path) -> None:
    kafka = FakeTopics()
    with new_ledger(tmp_path) as ledger:
        for number, batch in enumerate(_batches(5)):
            ledger.intend(number, batch.rows)
            ledger.settle(number, *kafka.append(batch))
        for number, topic in enumerate(TOPICS):
            totals = ledger.totals(topic.name)
            seen: dict[str, str] = {}
            bad, lows, places = set(), [], []
            for _, partition, offset, body in (r for r in kafka.records if r[0] == number):
                verdict = judge(body, NOW_MS, EVENTS[number])
                if not isinstance(verdict, Good):
                    bad.add((partition, offset))
                elif (event_id := str(verdict.values["event_id"])) not in seen:
                    seen[event_id] = verdict.canonical
                    lows.append(content_hash(verdict.canonical) % (1 << 64))
                    places.append((partition, offset))
            assert totals.acknowledged == sum(r[0] == number for r in kafka.records)
            assert totals.distinct == len(seen)
            assert totals.content_hash == sum(map(content_hash, seen.values())) % HASH_MODULUS
            where = np.array(places, dtype=np.int64)
            assert totals.coordinate_hash == coordinate_sum(
                np.array(lows, dtype=np.uint64), where[:, 0], where[:, 1]
            )
            found = ledger.coordinates(topic.name)
            assert {(int(c["partition"]), int(c["offset"])) for c in found} == bad
            assert totals.until == kafka.by_topic()[topic.name]


def test_a_ledger_killed_at_any_byte_says_the_same_once_resolved(tmp_path: Path) -> None:
    kafka = FakeTopics()
    landings: list[Landing] = []
    waiting: list[tuple[int, Any, Any]] = []
    with new_ledger(tmp_path / "whole") as ledger:
        for number, batch in enumerate(_batches(4, size=60)):
            ledger.intend(number, batch.rows)
            partitions, offsets = kafka.append(batch)
            landings += _landings(number, partitions, offsets)
            waiting.append((number, partitions, offsets))
            if number % 2:
                for each in waiting:
                    ledger.settle(*each)
                waiting.clear()
        whole = _says(ledger)
    journal = next((tmp_path / "whole").glob("journal-*.bin"))
    content = journal.read_bytes()
    intents = [i for i, (kind, _) in enumerate(read_journal(journal)) if kind == 2]
    assert len(intents) == 4
    # What follows the last intent may be torn anywhere: the intents themselves were synced.
    position = 0
    for kind, payload in read_journal(journal):
        position += 9 + len(payload)
        if kind == 2:
            after_last_intent = position
    for cut in {*range(after_last_intent, len(content), 97), len(content)}:
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        (folder / journal.name).write_bytes(content[:cut])
        with Ledger(folder) as ledger:
            ledger.resolve(landings)
            assert _says(ledger) == whole
        with Ledger(folder) as ledger:
            assert _says(ledger) == whole
            assert not ledger.open_batches()
        shutil.rmtree(folder)


def test_records_that_never_arrived_are_counted_apart(tmp_path: Path) -> None:
    batch = _batches(1)[0]
    with new_ledger(tmp_path) as ledger:
        ledger.intend(0, batch.rows)
        assert sum(ledger.unresolved(topic.name) for topic in TOPICS) == len(batch.rows)
    with Ledger(tmp_path) as ledger:
        assert sum(ledger.unresolved(topic.name) for topic in TOPICS) == len(batch.rows)
        assert ledger.resolve([]) == 0
        assert ledger.totals(INVENTORY_TOPIC).acknowledged == 0
        assert sum(ledger.totals(topic.name).undelivered for topic in TOPICS) == len(batch.rows)
        assert ledger.next_batch() == 1


def test_a_double_counts_as_the_original_when_only_the_double_arrived(tmp_path: Path) -> None:
    rows = np.zeros(2, dtype=ROW)
    rows["kind"] = [RecordKind.ON_TIME, RecordKind.DUPLICATE_SAME_BATCH]
    rows["low"] = 5
    with new_ledger(tmp_path) as ledger:
        ledger.intend(0, rows)
        ledger.settle(0, np.array([-1, 1]), np.array([-1, 7]))
        assert ledger.unresolved(INVENTORY_TOPIC) == 2
        ledger.resolve([Landing(1, 7, 0, 1)])
        totals = ledger.totals(INVENTORY_TOPIC)
        assert totals.kinds == {"ON_TIME": 1}
        assert totals.content_hash == 5
        assert totals.undelivered == 1


def test_a_refused_record_is_looked_for_from_before_its_batch(tmp_path: Path) -> None:
    kafka = FakeTopics()
    first, second, third = _batches(3)
    with new_ledger(tmp_path) as ledger:
        ledger.intend(0, first.rows)
        ledger.settle(0, *kafka.append(first))
        floors = [dict(ledger.totals(topic.name).until) for topic in TOPICS]
        ledger.intend(1, second.rows)
        partitions, offsets = kafka.append(second)
        reported = offsets.copy()
        reported[3] = -1
        ledger.settle(1, partitions, reported)
        ledger.intend(2, third.rows)
        ledger.settle(2, *kafka.append(third))
    with Ledger(tmp_path) as ledger:
        (opened,) = ledger.open_batches()
        assert opened.floors == floors
        assert ledger.resolve(_landings(1, partitions, offsets)) >= 1
        assert sum(ledger.totals(topic.name).acknowledged for topic in TOPICS) == len(kafka.records)


def test_a_long_run_leaves_a_short_journal(tmp_path: Path) -> None:
    kafka = FakeTopics()
    with new_ledger(tmp_path) as ledger:
        ledger._rotate_bytes = 50_000
        for number, batch in enumerate(_batches(30)):
            ledger.intend(number, batch.rows)
            ledger.settle(number, *kafka.append(batch))
        before = _says(ledger)
        assert len(list(tmp_path.glob("journal-*.bin"))) == 1
        size = sum(path.stat().st_size for path in tmp_path.glob("journal-*.bin"))
        assert size < 100_000
    with Ledger(tmp_path) as ledger:
        assert _says(ledger) == before


def test_a_kill_between_the_new_journal_and_the_end_of_the_old_harms_nothing(
    tmp_path: Path,
) -> None:
    kafka = FakeTopics()
    with new_ledger(tmp_path) as ledger:
        batch = _batches(1)[0]
        ledger.intend(0, batch.rows)
        ledger.settle(0, *kafka.append(batch))
        before = _says(ledger)
        old = next(tmp_path.glob("journal-*.bin"))
        kept = old.read_bytes()
    with Ledger(tmp_path) as ledger:
        assert not old.exists()
    old.write_bytes(kept)
    with Ledger(tmp_path) as ledger:
        assert _says(ledger) == before
        assert len(list(tmp_path.glob("journal-*.bin"))) == 1


def test_a_second_process_is_told_who_holds_the_ledger(tmp_path: Path) -> None:
    with (
        new_ledger(tmp_path),
        pytest.raises(LedgerBusyError, match=f"in use by process {os.getpid()} .*Stop the simul"),
    ):
        Ledger(tmp_path, lock_timeout_seconds=0.1)


def test_topics_that_were_made_anew_are_refused(tmp_path: Path) -> None:
    with new_ledger(tmp_path) as ledger:
        other = [LedgerTopic(topic.name, "another", topic.begin) for topic in topics()]
        with pytest.raises(LedgerError, match="made anew"):
            ledger.begin("cluster", other)
        with pytest.raises(LedgerError, match="made anew"):
            ledger.begin("another cluster", topics())
        ledger.begin("cluster", topics())


def test_a_topic_that_is_added_is_taken_up_and_nothing_known_changes(tmp_path: Path) -> None:
    kafka = FakeTopics()
    added = LedgerTopic("retail.returns", "id-of-returns", {0: 7, 1: 0})
    with new_ledger(tmp_path) as ledger:
        first, second = _batches(2)
        ledger.intend(0, first.rows)
        ledger.settle(0, *kafka.append(first))
        ledger.intend(1, second.rows)
        partitions, offsets = kafka.append(second)
        offsets[-1] = -1
        ledger.settle(1, partitions, offsets)
        before = _says(ledger)
        ledger.begin("cluster", [*topics(), added])
    with Ledger(tmp_path) as ledger:
        assert _says(ledger) == before
        assert ledger.topics == [*topics(), added]
        assert ledger.totals(added.name).until == added.begin
        assert ledger.totals(added.name).acknowledged == 0
        assert [batch.floors[-1] for batch in ledger.open_batches()] == [added.begin]
        ledger.begin("cluster", [*topics(), added])


def test_a_topic_that_is_added_among_the_known_ones_is_refused(tmp_path: Path) -> None:
    added = LedgerTopic("retail.returns", "id-of-returns", {0: 0})
    with new_ledger(tmp_path) as ledger:
        with pytest.raises(LedgerError, match="at the end of EVENTS"):
            ledger.begin("cluster", [added, *topics()])
        assert ledger.topics == topics()


def test_a_folder_without_a_ledger_says_how_to_get_one(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger, pytest.raises(LedgerError, match="simulate"):
        ledger.totals(INVENTORY_TOPIC)


def test_a_marker_is_read_by_its_own_ledger_only() -> None:
    value = marker("abcdef01", 3, 70_000)
    assert read_marker("abcdef01", value) == (3, 70_000)
    assert read_marker("abcdef02", value) is None
    assert read_marker("abcdef01", b"other") is None
    assert read_marker("abcdef01", None) is None


def test_a_backfilled_day_is_booked_only_when_its_commit_is_there(tmp_path: Path) -> None:
    there = BackfillDay(INVENTORY_TOPIC, "2026-11-20", 10, 99, "i-1")
    gone = BackfillDay(INVENTORY_TOPIC, "2026-11-21", 10, 98, "i-2")
    with new_ledger(tmp_path) as ledger:
        ledger.intend_backfill(there, 96)
        ledger.settle_backfill(there, committed=True)
        ledger.intend_backfill(gone, 192)
    with Ledger(tmp_path) as ledger:
        assert ledger.open_backfills() == [gone]
        ledger.settle_backfill(gone, committed=False)
        assert ledger.backfilled(INVENTORY_TOPIC) == [there]
        assert ledger.next_batch() == 192
    with Ledger(tmp_path) as ledger:
        assert ledger.backfilled(INVENTORY_TOPIC) == [there]
        assert not ledger.open_backfills()


def test_a_journal_is_read_up_to_its_torn_end(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with JournalWriter(path) as writer:
        writer.append(1, b"one")
        writer.append(2, b"two")
        writer.sync()
    os.truncate(path, path.stat().st_size - 1)
    assert list(read_journal(path)) == [(1, b"one")]
