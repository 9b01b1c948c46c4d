"""Rules of what a history tells, and of which digests are of one run: without a warehouse."""

from collections.abc import Sequence
from dataclasses import replace

import duckdb
import pytest

from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.local.recompute.captured import (
    CapturedDigest,
    CapturedError,
    CaptureEnd,
    Line,
    NotCaptured,
)
from retail_lakehouse.local.recompute.history import (
    ViewHistory,
    _captured,
    _last_refresh,
    _refuse_unplaced,
    history_lines,
)

VIEW, OTHER = MATERIALIZED_VIEWS[0], MATERIALIZED_VIEWS[1]
FIRST = CapturedDigest(
    view=VIEW.name,
    captured_at_ms=1,
    refreshed_at_ms=1,
    refresh=4,
    snapshot_id=9,
    topic_id="i",
    until={0: 10, 1: 5},
    records=15,
    columns=tuple((column.name, "BIGINT") for column in VIEW.columns),
    rows=3,
    digest=77,
)


def _history(**changes: object) -> ViewHistory:
    told = ViewHistory("mv", 7, (), digests=5, equal=5, difference="", seconds=1.25, has_end=True)
    return replace(told, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("digests, equal, is_equal", [(5, 5, True), (5, 4, False), (0, 0, False)])
def test_a_history_is_equal_only_where_something_was_compared(
    digests: int, equal: int, is_equal: bool
) -> None:
    assert _history(digests=digests, equal=equal).is_equal is is_equal


def test_a_history_tells_its_sums_and_each_view_with_what_differs() -> None:
    told = [_history(), _history(view="mw", equal=3, difference="It differs.", missed=(2, 6))]
    assert history_lines(told) == [
        "refreshes: 14, digests: 10, equal: 8; refreshes without a digest: 2",
        "mv: refreshes: 7, digests: 5, equal: 5 (1.2 s)",
        "mw: refreshes: 7, digests: 5, equal: 3, without a digest: number 2, number 6 (1.2 s)",
        "  It differs.",
    ]


@pytest.mark.parametrize("count, more", [(10, ""), (11, " and 1 more"), (30, " and 20 more")])
def test_of_many_refreshes_without_a_digest_ten_are_named(count: int, more: str) -> None:
    line = history_lines([_history(missed=tuple(range(1, count + 1)))])[1]
    assert f"number 10{more} (" in line
    assert "number 11" not in line


def test_a_history_whose_end_is_not_known_says_so() -> None:
    (_, line) = history_lines([_history(has_end=False)])
    assert line == (
        "mv: refreshes: 7, digests: 5, equal: 5, how capturing ended is not known (1.2 s)"
    )


def test_only_the_last_line_tells_how_capturing_ended() -> None:
    end = CaptureEnd(2, {VIEW.name: 8})
    assert _last_refresh([FIRST, end], VIEW) == 8
    assert _last_refresh([FIRST, end], OTHER) is None
    assert _last_refresh([FIRST], VIEW) is None
    assert _last_refresh([FIRST, end, replace(FIRST, refresh=9)], VIEW) is None


def _refusal(captured: Sequence[CapturedDigest], *rows: tuple[int | None, str]) -> str:
    """What is said of (offset, topic id) in the table; empty where nothing is refused."""
    values = ", ".join(f"(0, {'NULL' if at is None else at}, '{topic}')" for at, topic in rows)
    raw = f"(VALUES {values}) AS raw(kafka_partition, kafka_offset, kafka_topic_id)"
    with duckdb.connect() as connection:
        try:
            _refuse_unplaced(connection, VIEW, captured, raw)
        except CapturedError as error:
            return str(error)
    return ""


def test_rows_of_which_their_offset_tells_nothing_are_refused() -> None:
    assert _refusal([FIRST], (1, "i"), (2, "i")) == ""
    assert "1 rows without offsets (backfill) and 0 of" in _refusal([FIRST], (1, "i"), (None, "i"))
    assert "0 rows without offsets (backfill) and 2 of" in _refusal([FIRST], (1, "j"), (2, "k"))


def test_digests_of_two_topics_are_refused_by_a_sentence_of_their_own() -> None:
    said = _refusal([FIRST, replace(FIRST, topic_id="j")], (1, "i"))
    assert "are of 2 topics, i, j: the topic was made anew" in said
    assert "backfill" not in said


def test_digests_from_before_anything_was_folded_are_of_no_topic() -> None:
    assert _refusal([replace(FIRST, topic_id=None, until={})], (1, "i")) == ""


def test_the_digests_of_a_view_are_taken_from_among_all_lines() -> None:
    later = replace(FIRST, refresh=5, until={0: 12, 1: 5, 2: 1})
    again = replace(later, captured_at_ms=8)
    lines: list[Line] = [
        FIRST,
        replace(FIRST, view=OTHER.name),
        NotCaptured(1, (VIEW.name,), "x"),
        later,
        again,
    ]
    assert _captured(lines, VIEW) == [FIRST, later, again]
    assert _captured(lines[:1], OTHER) == []


@pytest.mark.parametrize(
    "after",
    [
        [replace(FIRST, refresh=3)],
        [replace(FIRST, until={0: 9, 1: 5})],
        [replace(FIRST, until={0: 11})],
        [replace(FIRST, columns=FIRST.columns[:-1])],
        [replace(FIRST, refresh=5), replace(FIRST, refresh=6, until={0: 10, 1: 4})],
    ],
)
def test_a_view_that_went_back_was_made_anew(after: Sequence[CapturedDigest]) -> None:
    with pytest.raises(CapturedError, match="was made anew between its refreshes"):
        _captured([FIRST, *after], VIEW)


def test_digests_of_other_columns_than_the_contracts_are_refused() -> None:
    other = replace(FIRST, columns=FIRST.columns[::-1])
    with pytest.raises(CapturedError, match="Compare with the program that made the run"):
        _captured([other, other], VIEW)
