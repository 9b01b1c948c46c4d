"""Rules of backlog and age: one definition, by partition, of this topic id only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.tables.landing import (
    landed_until,
    newest_landed_ms,
    read_since_ms,
    waiting_records,
)

MARK = Mark(
    kind=MarkKind.STREAM,
    cluster_id="c",
    topic="t",
    topic_id="id",
    ranges={0: (0, 10)},
    until={0: 10, 1: 5},
    event_time=TimeRange(100, 900),
    broker_time=TimeRange(200, 300),
    batch=Counts(),
    total=Counts(),
    batch_started_ms=350,
    previous_commit_ms=None,
    contract_version=1,
    run_id="r",
    engine="e",
)


def test_a_mark_of_another_topic_id_covers_nothing() -> None:
    assert landed_until(MARK, "id") == {0: 10, 1: 5}
    assert landed_until(MARK, "another") is None
    assert landed_until(None, "id") is None


def test_what_retention_took_does_not_wait() -> None:
    until = {0: 10, 1: 5}
    assert waiting_records({0: 0, 1: 8, 2: 3}, {0: 12, 1: 9, 2: 7}, until) == {0: 2, 1: 1, 2: 4}
    assert waiting_records({0: 4}, {0: 6}, None) == {0: 2}
    assert waiting_records({0: 0}, {0: 6}, {0: 9}) == {0: 0}


NEWER = replace(MARK, ranges={0: (5, 9)}, broker_time=TimeRange(300, 400), batch_started_ms=450)
OLDER = replace(
    MARK, ranges={0: (3, 5), 1: (0, 2)}, broker_time=TimeRange(100, 200), batch_started_ms=250
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


def test_the_newest_that_landed_is_no_newer_than_the_broker_and_none_without_a_row() -> None:
    assert newest_landed_ms(MARK) == 300
    assert newest_landed_ms(replace(MARK, newest_ms=250)) == 250
    assert newest_landed_ms(replace(MARK, broker_time=TimeRange())) == 900
    assert newest_landed_ms(replace(MARK, event_time=TimeRange())) is None
