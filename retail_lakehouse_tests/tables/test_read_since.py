"""Rules of since when what is unread has waited: by the newest mark that advanced a partition."""

from dataclasses import replace

import pytest

from retail_lakehouse.contracts.mark import MarkKind, TimeRange
from retail_lakehouse.tables.landing import read_since_ms
from retail_lakehouse_tests.contracts.test_mark import example_mark

STREAM = replace(example_mark(), kind=MarkKind.STREAM)
NEWER = replace(STREAM, ranges={0: (5, 9)}, broker_time=TimeRange(300, 400), batch_started_ms=450)
OLDER = replace(
    STREAM, ranges={0: (3, 5), 1: (0, 2)}, broker_time=TimeRange(100, 200), batch_started_ms=250
)


def test_each_partition_is_as_of_the_newest_mark_that_advanced_it() -> None:
    assert read_since_ms([NEWER, OLDER]) == {0: 300, 1: 100}


def test_a_mark_that_advanced_nothing_says_nothing() -> None:
    still = replace(NEWER, ranges={0: (9, 9)}, broker_time=TimeRange(500, 600))
    assert read_since_ms([still, NEWER, OLDER]) == {0: 300, 1: 100}


@pytest.mark.parametrize("kind", [MarkKind.BACKFILL, MarkKind.REPLAY])
def test_only_the_streams_own_commits_say_when_it_read(kind: MarkKind) -> None:
    assert read_since_ms([replace(NEWER, kind=kind), OLDER]) == {0: 100, 1: 100}


def test_without_broker_times_it_is_the_batchs_start() -> None:
    assert read_since_ms([replace(NEWER, broker_time=TimeRange())]) == {0: 450}
