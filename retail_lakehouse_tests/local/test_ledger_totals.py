"""Rules of counting: what was not delivered counts nowhere, and no end of a topic moves back."""

import numpy as np
import pytest

from retail_lakehouse.local.ledger_totals import (
    ROW,
    Integers,
    RecordKind,
    Rows,
    TopicTotals,
    coordinate_sum,
    fold,
)


def _rows(*kinds: RecordKind) -> Rows:
    rows = np.zeros(len(kinds), dtype=ROW)
    rows["kind"] = kinds
    rows["low"] = 1
    return rows


def _longs(*numbers: int) -> Integers:
    return np.array(numbers, dtype=np.int64)


def _folded(totals: TopicTotals, kinds: list[RecordKind], offsets: list[int]) -> list[int]:
    """Folds records of partition 0; the offsets of those that belong into quarantine."""
    count = len(kinds)
    every = np.ones(count, dtype=np.bool_)
    found = fold([totals], _rows(*kinds), _longs(*[0] * count), _longs(*offsets), every)
    told: list[int] = found["offset"].tolist()
    return told


def test_the_end_of_a_partition_never_moves_back() -> None:
    totals = TopicTotals()
    _folded(totals, [RecordKind.ON_TIME], [9])
    assert totals.until == {0: 10}
    # An earlier batch that was looked up later.
    _folded(totals, [RecordKind.ON_TIME], [4])
    assert totals.until == {0: 10}


def test_a_record_for_quarantine_that_was_not_delivered_lies_nowhere() -> None:
    totals = TopicTotals()
    assert _folded(totals, [RecordKind.MALFORMED, RecordKind.CONFLICT], [-1, 3]) == [3]
    assert totals.quarantined == 1
    assert sum(totals.reasons.values()) == 1


def test_a_copy_past_the_horizon_is_a_row_and_no_duplicate_that_is_dropped() -> None:
    totals, without = TopicTotals(), TopicTotals()
    late, copy = RecordKind.LATE, RecordKind.DUPLICATE_PAST_HORIZON
    _folded(totals, [late, copy, RecordKind.DUPLICATE_HALF_HOUR], [3, 5, 7])
    _folded(without, [late], [3])
    assert (totals.acknowledged, totals.distinct, totals.duplicates) == (3, 1, 1)
    assert (totals.copies_past_horizon, totals.rows) == (1, 2)
    assert totals.content_hash == 2 * without.content_hash
    assert totals.coordinate_hash == without.coordinate_hash + 5 * 1024


@pytest.mark.parametrize("partition, offset", [(0, 1), (1, 0), (3, 7), (1023, 2**20)])
def test_a_place_is_weighed_by_its_offset_and_its_partition(partition: int, offset: int) -> None:
    low = np.array([5], dtype=np.uint64)
    place = coordinate_sum(low, _longs(partition), _longs(offset))
    assert place == 5 * ((offset * 1024 + partition) % 2**31)


def test_two_rows_that_exchanged_their_places_are_told_apart() -> None:
    low = np.array([5, 6], dtype=np.uint64)
    partitions, offsets = _longs(0, 1), _longs(1, 0)
    there = coordinate_sum(low, partitions, offsets)
    assert there != coordinate_sum(low, partitions[::-1], offsets[::-1])
