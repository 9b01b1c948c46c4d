"""Hours are counted whole or not at all, whatever the pace of looks and commits."""

from pathlib import Path

import pytest

from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.tables.hourly_volume import (
    HOUR_MS,
    PAUSE_MS,
    WEEK_HOURS,
    WEEKS_KEPT,
    Counting,
    Hours,
    add_hours,
    counted,
    hours_file,
    read_hours,
)

H = 500_000
"""An hour's number."""


def at(hour: float) -> int:
    return int(hour * HOUR_MS)


def mark(hour: float, read: int, total: int, *, topic_id: str = "a", span: int = 4_000) -> Mark:
    newest = at(hour)
    return Mark(
        kind=MarkKind.STREAM,
        cluster_id="c",
        topic="t",
        topic_id=topic_id,
        ranges={},
        until={},
        event_time=TimeRange(),
        broker_time=TimeRange(newest - span, newest),
        batch=Counts(read=read),
        total=Counts(read=total),
        batch_started_ms=newest,
        previous_commit_ms=None,
        contract_version=1,
        run_id="r",
        engine="spark",
    )


def looked(
    *looks: tuple[float, list[Mark]], landed: bool = False
) -> tuple[Counting | None, dict[int, int]]:
    """Looks at instants (hours) and the marks that are retained then."""
    counting, over = None, {}
    for hour, marks in looks:
        counting, new = counted(counting, marks, at(hour), all_has_landed=landed)
        over.update(new)
    return counting, over


def every(minutes: int, hours: float, per_look: int) -> list[tuple[float, list[Mark]]]:
    """A look with one new batch every so many minutes, from the middle of hour `H` on."""
    looks, total = [], 1_000
    for number in range(int(hours * 60 / minutes)):
        when = H + 0.5 + number * minutes / 60
        total += per_look
        looks.append((when, [mark(when, per_look, total)]))
    return looks


def test_the_hour_in_which_counting_begins_is_not_known_and_those_after_it_are() -> None:
    _, over = looked(*every(5, 3, 10))
    assert over == {H + 1: 120, H + 2: 120}


def test_marks_that_are_seen_again_are_counted_once() -> None:
    looks = every(5, 2, 10)
    twice = [(when, [*looks[max(0, i - 1)][1], *marks]) for i, (when, marks) in enumerate(looks)]
    assert looked(*twice)[1] == looked(*looks)[1]


def test_a_mark_that_expired_unseen_makes_its_hours_unknown() -> None:
    looks = every(5, 3, 10)
    del looks[8]
    assert looked(*looks)[1] == {H + 2: 120}


def test_hours_without_a_record_are_none_once_everything_has_landed() -> None:
    begin = [(H + 0.9, [mark(H + 0.9, 5, 5)])]
    quiet: list[tuple[float, list[Mark]]] = [(H + 1 + n / 12, []) for n in range(25)]
    assert looked(*begin, *quiet, landed=False)[1] == {}
    assert looked(*begin, *quiet, landed=True)[1] == {H + 1: 0, H + 2: 0}


def test_a_pause_of_the_platform_is_no_hour_without_records() -> None:
    looks = every(5, 1, 10)
    after = looks[-1][0] + 5
    total = looks[-1][1][0].total.read
    _, over = looked(*looks, (after, [mark(after, 10, total + 10)]), landed=True)
    assert not over.keys() & set(range(H + 1, int(after)))
    assert PAUSE_MS < 5 * HOUR_MS


def test_a_batch_that_is_long_against_an_hour_counts_to_none() -> None:
    looks = every(5, 3, 10)
    when = looks[8][0]
    total = looks[8][1][0].total.read
    looks[8] = (when, [mark(when, 10, total, span=HOUR_MS)])
    assert looked(*looks)[1] == {H + 2: 120}


def test_a_topic_that_was_made_again_is_counted_anew() -> None:
    looks = every(5, 2, 10)
    when = looks[-1][0] + 0.01
    counting, _ = looked(*looks, (when, [mark(when, 3, 3, topic_id="b")]))
    assert counting is not None
    assert (counting.topic_id, counting.base, counting.total) == ("b", None, 3)


def test_counting_goes_through_a_cursor() -> None:
    counting, _ = looked(*every(5, 1, 10))
    assert counting is not None
    assert Counting.from_json(counting.to_json()) == counting
    assert Counting.from_json(None) is None


def test_the_file_keeps_what_is_compared_and_no_more(tmp_path: Path) -> None:
    add_hours(tmp_path, {"inventory": {H: 1, H + 1: 2}})
    add_hours(tmp_path, {"inventory": {H + WEEKS_KEPT * WEEK_HOURS + 1: 3}, "other": {H: 4}})
    told = read_hours(tmp_path)
    assert told["inventory"].records == {H + 1: 2, H + WEEKS_KEPT * WEEK_HOURS + 1: 3}
    assert told["other"].records == {H: 4}


@pytest.mark.parametrize("text", ["", "[]", '{"inventory": 3}'])
def test_a_damaged_file_knows_no_hour(tmp_path: Path, text: str) -> None:
    hours_file(tmp_path).parent.mkdir()
    hours_file(tmp_path).write_text(text)
    assert read_hours(tmp_path) == {}


def test_former_weeks_are_the_same_hour_of_the_four_before() -> None:
    known = {H - weeks * WEEK_HOURS: weeks for weeks in range(1, 7)} | {H - 1: 99}
    assert sorted(Hours(known).former_weeks(H).values()) == [1, 2, 3, 4]
