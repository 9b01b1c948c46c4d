"""Rules of what a history tells, and of which digests are of one run: without a warehouse."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.local.recompute.captured import (
    CapturedDigest,
    CapturedError,
    Line,
    NotCaptured,
)
from retail_lakehouse.local.recompute.history import ViewHistory, _captured, history_lines

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
    told = ViewHistory("mv", 7, (), digests=5, equal=5, difference="", seconds=1.25)
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
