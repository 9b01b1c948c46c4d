"""Rules of a mark that moves no offset: nothing of the commit before it is told as its own."""

from dataclasses import replace

from retail_lakehouse.contracts.mark import Counts, MarkKind, TimeRange
from retail_lakehouse_tests.contracts.test_mark import example_mark


def test_what_moves_no_offset_has_neither_times_nor_a_duration_of_the_commit_before() -> None:
    before = replace(example_mark(), previous_commit_ms=70, newest_ms=8)
    carried = before.carried(MarkKind.BACKFILL, "r2", 99, engine="other", contract_version=2)
    assert (carried.event_time, carried.broker_time) == (TimeRange(), TimeRange())
    assert (carried.previous_commit_ms, carried.newest_ms) == (None, None)
    assert (carried.ranges, carried.batch) == ({}, Counts())
