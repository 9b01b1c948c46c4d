"""A gap between two marks is a loss; an accepted loss, a replay or a new topic is none."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.tables.marks import MarkedSnapshot
from retail_lakehouse.tables.offsets import Covered, follow

Ranges = Mapping[int, tuple[int, int]]


def mark(
    ranges: Ranges,
    until: Mapping[int, int] | None = None,
    *,
    kind: MarkKind = MarkKind.STREAM,
    topic_id: str = "a",
) -> Mark:
    ends = {partition: end for partition, (_, end) in ranges.items()}
    return Mark(
        kind=kind,
        cluster_id="c",
        topic="retail.inventory.events",
        topic_id=topic_id,
        ranges=dict(ranges),
        until=dict(until) if until is not None else ends,
        event_time=TimeRange(),
        broker_time=TimeRange(),
        batch=Counts(),
        total=Counts(),
        batch_started_ms=0,
        previous_commit_ms=None,
        contract_version=1,
        run_id="r",
        engine="spark",
    )


def chain(*marks: Mark | None) -> list[MarkedSnapshot]:
    return [
        MarkedSnapshot(number, number - 1 or None, number, "append", 1, 1, each)
        for number, each in enumerate(marks, start=1)
    ]


def told(*marks: Mark | None, before: Covered | None = None, first: bool = True) -> list[str]:
    found, _ = follow(chain(*marks), before, from_the_first=first)
    return [each.sentence for each in found]


def test_marks_that_go_on_where_the_last_ended_are_contiguous() -> None:
    assert told(mark({0: (0, 5), 1: (0, 2)}), None, mark({0: (5, 9)}, {0: 9, 1: 2})) == []


def test_a_gap_is_told_with_its_offsets_and_blamed_on_the_commit_after_it() -> None:
    found, covered = follow(chain(mark({0: (0, 5)}), mark({0: (8, 9)})), None, from_the_first=True)
    assert [each.snapshot_id for each in found] == [2]
    assert "offsets 5 to 7 of partition 0 are in no commit (3 records at the most)" in (
        found[0].sentence
    )
    assert covered == Covered("a", {0: 9})


def test_a_gap_is_told_once_and_what_follows_it_is_contiguous() -> None:
    assert len(told(mark({0: (0, 5)}), mark({0: (8, 9)}), mark({0: (9, 12)}))) == 1


def test_offsets_in_two_commits_are_told() -> None:
    (sentence,) = told(mark({0: (0, 5)}), mark({0: (3, 9)}))
    assert "offsets 3 to 4 of partition 0 are in two commits" in sentence


def test_a_partition_that_was_never_read_is_owed_from_its_first_offset() -> None:
    assert told(mark({0: (0, 5)}), mark({1: (0, 4)}, {0: 5, 1: 4})) == []
    (sentence,) = told(mark({0: (0, 5)}), mark({1: (2, 4)}, {0: 5, 1: 4}))
    assert "offsets 0 to 1 of partition 1" in sentence


def test_offsets_that_move_without_a_range_are_told() -> None:
    (sentence,) = told(mark({0: (0, 5), 1: (0, 3)}), mark({0: (5, 6)}, {0: 6, 1: 9}))
    assert "the commit ends at offset 3 of partition 1" in sentence
    (sentence,) = told(mark({0: (0, 5), 1: (0, 3)}), mark({0: (5, 6)}, {0: 6}))
    assert "says that it covers up to 0" in sentence


@pytest.mark.parametrize("until", [{0: 50}, {0: 2}])
def test_a_loss_that_somebody_accepted_is_no_break(until: dict[int, int]) -> None:
    accepted = mark({}, until)
    assert told(mark({0: (0, 5)}), accepted, mark({0: (until[0], until[0] + 4)})) == []


def test_a_topic_that_was_made_again_begins_at_its_first_offset() -> None:
    accepted = mark({}, {}, topic_id="b")
    assert told(mark({0: (0, 5)}), accepted, mark({0: (0, 4)}, topic_id="b")) == []
    (sentence,) = told(mark({0: (0, 5)}), accepted, mark({0: (2, 4)}, topic_id="b"))
    assert "offsets 0 to 1" in sentence


@pytest.mark.parametrize("kind", [kind for kind in MarkKind if kind is not MarkKind.STREAM])
def test_a_carried_mark_moves_no_offset(kind: MarkKind) -> None:
    first = mark({0: (0, 5)})
    carried = first.carried(kind, "other", 1, engine="e", contract_version=1)
    assert told(first, carried, mark({0: (5, 6)})) == []
    (sentence,) = told(first, replace(carried, until={0: 7}))
    assert f"a {kind.value} has moved the offsets" in sentence


def test_history_backfilled_before_the_first_batch_is_no_break_and_covers_nothing() -> None:
    backfill = mark({}, {}, kind=MarkKind.BACKFILL)
    assert told(backfill, backfill, mark({0: (0, 5)})) == []
    (sentence,) = told(backfill, mark({0: (2, 5)}))
    assert "offsets 0 to 1 of partition 0 are in no commit" in sentence
    (sentence,) = told(backfill, mark({}, {0: 5}, kind=MarkKind.BACKFILL))
    assert "a backfill has moved the offsets" in sentence


def test_a_chain_whose_beginning_has_expired_is_counted_from_its_first_mark() -> None:
    assert told(mark({0: (40, 50)}), mark({0: (50, 51)}), first=False) == []
    assert len(told(mark({0: (40, 50)}), mark({0: (52, 53)}), first=False)) == 1


def test_a_chain_goes_on_from_what_was_covered_before_it() -> None:
    assert told(mark({0: (5, 6)}), before=Covered("a", {0: 5}), first=False) == []
    assert len(told(mark({0: (6, 7)}), before=Covered("a", {0: 5}), first=False)) == 1


def test_what_a_tables_first_commit_left_out_is_told() -> None:
    (sentence,) = told(mark({0: (40, 50)}))
    assert "offsets 0 to 39 of partition 0 are in no commit" in sentence
