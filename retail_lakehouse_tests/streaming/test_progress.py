"""Rules of the writer's progress: what a batch's marks say, of every record once."""

from dataclasses import replace

import numpy as np
import pytest

from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.mark import Counts, MarkKind, TimeRange
from retail_lakehouse.dedupe.decide import Decision, Verdict
from retail_lakehouse.dedupe.records import Records
from retail_lakehouse.streaming.progress import (
    BatchFacts,
    Progress,
    after_quarantine,
    after_rows,
    counts,
    declared_mark,
    quarantine_mark,
    rows_mark,
)
from retail_lakehouse_tests.contracts.test_mark import example_mark

_LANDS, _DUPLICATE, _CONFLICT = Verdict.LANDS, Verdict.DUPLICATE, Verdict.CONFLICT
# (event ms, broker ms, good, verdict, past the horizon, with unknown fields); not in time's order.
_RECORDS = (
    (500, 1_003, True, _LANDS, False, True),
    (100, 1_001, True, _LANDS, True, False),
    (900, 1_005, True, _DUPLICATE, False, True),
    (950, 1_000, True, _CONFLICT, False, True),
    (300, 1_002, True, _LANDS, False, False),
    # Not good: what stands beside it is to be ignored.
    (990, 1_006, False, _LANDS, True, True),
    (980, 1_004, False, _DUPLICATE, False, False),
)
PROGRESS = Progress(
    cluster_id="c",
    topic_id="i",
    until={0: 10, 1: 7, 3: 2},
    total=Counts(read=100, landed=90, quarantined=6, duplicates=4),
    quarantine_until={0: 4},
    quarantine_total=Counts(read=6, quarantined=6),
    previous_commit_ms=70,
)


def _facts(planned_end: dict[int, int], taken: int = len(_RECORDS)) -> BatchFacts:
    event_ms, broker_ms, good, verdict, unsearched, extra = zip(*_RECORDS, strict=True)

    def longs(values: tuple[int, ...]) -> "np.typing.NDArray[np.int64]":
        return np.array(values[:taken], dtype=np.int64)

    records = Records(
        partition=longs((0,) * len(_RECORDS)),
        offset=longs(tuple(range(10, 10 + len(_RECORDS)))),
        broker_ms=longs(broker_ms),
        event_ms=longs(event_ms),
        key_high=longs(tuple(range(len(_RECORDS)))),
        key_low=longs(tuple(range(len(_RECORDS)))),
        content=longs(tuple(range(len(_RECORDS)))),
        good=np.array(good[:taken], dtype=np.bool_),
        with_extra=np.array(extra[:taken], dtype=np.bool_),
    )
    decision = Decision(
        np.array(verdict[:taken], dtype=np.int8), np.array(unsearched[:taken], dtype=np.bool_)
    )
    held = np.zeros(taken, dtype=np.bool_)
    return BatchFacts(records, decision, planned_end, started_ms=5, held=held)


def test_every_record_is_counted_once_as_landed_quarantined_or_duplicate() -> None:
    batch = counts(_facts({0: 17}))
    assert batch == Counts(
        read=7, landed=3, quarantined=3, duplicates=1, unsearched=1, with_extra=1
    )
    assert batch.read == batch.landed + batch.quarantined + batch.duplicates


def test_a_mark_has_the_times_of_what_landed_and_of_all_that_was_read() -> None:
    mark = rows_mark(PROGRESS, _facts({0: 17}), INVENTORY, "r")
    assert mark.event_time == TimeRange(100, 500)
    assert mark.broker_time == TimeRange(1_000, 1_006)
    empty = rows_mark(PROGRESS, _facts({0: 10}, taken=0), INVENTORY, "r")
    assert (empty.event_time, empty.broker_time) == (TimeRange(), TimeRange())


def test_a_mark_has_the_newest_of_event_and_broker_time_of_any_one_row_that_landed() -> None:
    # The newest of each, 2,000 and 1,006, are of different records: no row is that new.
    ahead = _facts({0: 17})
    ahead.records.event_ms[0] = 2_000
    assert rows_mark(PROGRESS, ahead, INVENTORY, "r").newest_ms == 1_003
    assert rows_mark(PROGRESS, _facts({0: 17}), INVENTORY, "r").newest_ms == 500
    assert rows_mark(PROGRESS, _facts({0: 10}, taken=0), INVENTORY, "r").newest_ms is None
    assert quarantine_mark(PROGRESS, ahead, 3, INVENTORY, "r").newest_ms is None


def test_a_mark_advances_what_the_batch_read_and_keeps_the_other_partitions() -> None:
    # 1 has nothing new, 2 is new, 3 was not asked for, and 0 is never taken back.
    mark = rows_mark(PROGRESS, _facts({0: 17, 1: 7, 2: 4}), INVENTORY, "r")
    assert mark.until == {0: 17, 1: 7, 2: 4, 3: 2}
    assert mark.ranges == {0: (10, 17), 2: (0, 4)}
    behind = rows_mark(PROGRESS, _facts({0: 9}), INVENTORY, "r")
    assert (behind.until[0], behind.ranges) == (10, {})


def test_a_marks_total_is_the_one_before_and_its_batch() -> None:
    facts = _facts({0: 17})
    mark = rows_mark(PROGRESS, facts, INVENTORY, "r")
    assert mark.batch == counts(facts)
    assert mark.total == PROGRESS.total + counts(facts)
    assert (mark.kind, mark.previous_commit_ms) == (MarkKind.STREAM, 70)


def test_a_quarantines_mark_goes_on_from_its_own_and_counts_its_own_records() -> None:
    facts = _facts({0: 17, 1: 7})
    mark = quarantine_mark(PROGRESS, facts, 3, INVENTORY, "r")
    assert mark.until == {0: 17, 1: 7}
    assert mark.ranges == {0: (4, 17), 1: (0, 7)}
    assert mark.batch == Counts(read=3, quarantined=3)
    assert mark.total == Counts(read=9, quarantined=9)
    # No row of it has an event time that a view may rely on.
    assert (mark.event_time, mark.broker_time) == (TimeRange(), TimeRange(1_000, 1_006))


def test_each_tables_commit_moves_its_own_progress_only() -> None:
    facts = _facts({0: 17})
    bad = quarantine_mark(PROGRESS, facts, 3, INVENTORY, "r")
    between = after_quarantine(PROGRESS, bad)
    assert between == replace(PROGRESS, quarantine_until=bad.until, quarantine_total=bad.total)
    rows = rows_mark(between, facts, INVENTORY, "r")
    done = after_rows(between, rows, 80)
    assert done == replace(between, until=rows.until, total=rows.total, previous_commit_ms=80)


def test_a_declared_mark_moves_nothing() -> None:
    mark = declared_mark(PROGRESS, INVENTORY, "r", 9)
    assert (mark.until, mark.total) == (PROGRESS.until, PROGRESS.total)
    assert (mark.ranges, mark.batch, mark.batch_started_ms) == ({}, Counts(), 9)
    assert (mark.event_time, mark.broker_time) == (TimeRange(), TimeRange())


@pytest.mark.parametrize("rows_id, quarantine_id", [("i", "i"), ("i", "old"), ("old", "i")])
def test_a_mark_of_another_topic_id_says_nothing_of_this_one(
    rows_id: str, quarantine_id: str
) -> None:
    rows = replace(example_mark(), topic_id=rows_id)
    bad = replace(example_mark(), topic_id=quarantine_id, until={0: 3}, total=Counts(read=1))
    progress = Progress.of_marks("c", "i", rows, bad)
    known = (rows.until, rows.total) if rows_id == "i" else ({}, Counts())
    known_bad = (bad.until, bad.total) if quarantine_id == "i" else ({}, Counts())
    assert (progress.until, progress.total) == known
    assert (progress.quarantine_until, progress.quarantine_total) == known_bad
    assert progress.previous_commit_ms is None


def test_without_a_mark_progress_begins_at_nothing() -> None:
    assert Progress.of_marks("c", "i", None, None) == Progress("c", "i", {}, Counts(), {}, Counts())
