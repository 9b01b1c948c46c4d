"""A hold survives restarts, is let go by name, and comes back for something new only."""

from pathlib import Path

import pytest

from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.contracts.views import materialized_over, view_named
from retail_lakehouse.warehouse.holds import (
    FINDINGS_MOST,
    RELEASES_MOST,
    Finding,
    HoldBook,
    HoldsError,
    Release,
    add_findings,
    holds_file,
    read_holds,
    release,
)

TABLE = "inventory_events"
OVER = tuple(view.name for view in materialized_over(TABLE))
AT = 1_800_000_000_000


def gap(snapshot_id: int = 7, at_ms: int = AT, table: str = TABLE) -> Finding:
    measure = Measure.OFFSETS_CONTIGUOUS
    return Finding.of(table, measure, snapshot_id, f"A gap before {snapshot_id}.", at_ms)


def held(root: Path) -> set[str]:
    return {view for view in OVER if read_holds(root).hold_of(view) is not None}


def test_a_finding_holds_every_materialized_view_over_its_table_and_no_other(
    tmp_path: Path,
) -> None:
    add_findings(tmp_path, [gap()])
    assert len(OVER) > 1
    assert held(tmp_path) == set(OVER)
    assert read_holds(tmp_path).hold_of("mv_web_sessions") is None


def test_a_hold_says_since_when_and_why_and_how_to_let_it_go(tmp_path: Path) -> None:
    book = add_findings(tmp_path, [gap(8, AT + 5_000), gap(7)])
    hold = book.hold_of("mv_stock_newest")
    assert hold is not None
    assert hold.since_ms == AT
    told = hold.sentence("mv_stock_newest")
    assert "is held since 2027-01-15 08:00:00 UTC" in told
    assert "inventory_events, offsets_contiguous: A gap before 8. And 1 more." in told
    assert "`retail-lakehouse views release mv_stock_newest`" in told


def test_one_that_was_let_go_holds_nothing_again_and_another_does(tmp_path: Path) -> None:
    add_findings(tmp_path, [gap(7)])
    (gone,) = release(tmp_path, TABLE, (), "ana", AT + 1)
    assert (gone.by, gone.at_ms, gone.code, gone.views) == ("ana", AT + 1, gap(7).code, OVER)
    assert held(tmp_path) == set()
    add_findings(tmp_path, [gap(7, AT + 2)])
    assert held(tmp_path) == set()
    add_findings(tmp_path, [gap(8, AT + 3)])
    assert held(tmp_path) == set(OVER)


def test_a_view_is_let_go_alone(tmp_path: Path) -> None:
    add_findings(tmp_path, [gap(7)])
    release(tmp_path, "mv_stock_newest", (), "ana", AT)
    assert held(tmp_path) == set(OVER) - {"mv_stock_newest"}
    add_findings(tmp_path, [gap(7)])
    assert held(tmp_path) == set(OVER) - {"mv_stock_newest"}
    assert read_holds(tmp_path).open_of(TABLE, Measure.OFFSETS_CONTIGUOUS)
    release(tmp_path, TABLE, (), "ben", AT)
    assert not read_holds(tmp_path).open_of(TABLE, Measure.OFFSETS_CONTIGUOUS)
    add_findings(tmp_path, [gap(7)])
    assert held(tmp_path) == set()


def test_one_finding_is_let_go_by_its_code(tmp_path: Path) -> None:
    add_findings(tmp_path, [gap(7), gap(8)])
    release(tmp_path, TABLE, [gap(7).code], "ana", AT)
    assert held(tmp_path) == set(OVER)
    release(tmp_path, TABLE, [gap(8).code], "ana", AT)
    assert held(tmp_path) == set()


def test_a_finding_of_a_table_without_views_stays_open_until_it_is_let_go(tmp_path: Path) -> None:
    quarantine = "inventory_events_quarantine"
    add_findings(tmp_path, [gap(table=quarantine)])
    assert held(tmp_path) == set()
    assert read_holds(tmp_path).open_of(quarantine, Measure.OFFSETS_CONTIGUOUS)
    release(tmp_path, quarantine, (), "ana", AT)
    book = add_findings(tmp_path, [gap(table=quarantine)])
    assert book.findings == ()


def test_a_finding_keeps_its_time_however_often_it_is_found(tmp_path: Path) -> None:
    add_findings(tmp_path, [gap(7)])
    book = add_findings(tmp_path, [gap(7, AT + 60_000)])
    assert [each.found_at_ms for each in book.findings] == [AT]


def test_a_flood_of_findings_is_bounded() -> None:
    book = HoldBook().with_found(gap(number) for number in range(10 * FINDINGS_MOST))
    assert len(book.findings) == FINDINGS_MOST


def test_a_view_that_was_let_go_of_a_flood_is_held_by_what_is_found_next(tmp_path: Path) -> None:
    add_findings(tmp_path, [gap(number) for number in range(FINDINGS_MOST)])
    release(tmp_path, "mv_stock_newest", (), "ana", AT)
    assert held(tmp_path) == set(OVER) - {"mv_stock_newest"}
    add_findings(tmp_path, [gap(FINDINGS_MOST)])
    assert held(tmp_path) == set(OVER)


def test_nothing_to_let_go_is_said_with_what_is_open(tmp_path: Path) -> None:
    with pytest.raises(HoldsError, match=r"mv_web_sessions is not held\. Nothing is held"):
        release(tmp_path, "mv_web_sessions", (), "ana", AT)
    add_findings(tmp_path, [gap()])
    with pytest.raises(HoldsError, match="What is open is of inventory_events"):
        release(tmp_path, "mv_web_sessions", (), "ana", AT)


def test_a_damaged_file_is_no_permission(tmp_path: Path) -> None:
    add_findings(tmp_path, [gap()])
    holds_file(tmp_path).write_text('{"findings": [{}]}')
    with pytest.raises(HoldsError, match="so no view is refreshed"):
        read_holds(tmp_path)
    with pytest.raises(HoldsError):
        add_findings(tmp_path, [gap(8)])


def test_a_hold_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(HoldsError, match="cannot be"):
        add_findings(tmp_path, [gap()])


def test_the_names_of_views_are_those_of_the_contract() -> None:
    assert all(view_named(name).is_materialized for name in OVER)


def test_of_many_releases_the_oldest_is_forgotten_and_never_the_last() -> None:
    measure = Measure.OFFSETS_CONTIGUOUS
    old = tuple(
        Release(f"old-{number}", TABLE, measure, "A gap.", OVER, "ana", AT)
        for number in range(RELEASES_MOST)
    )
    book, _ = HoldBook((gap(7),), old).without(TABLE, (), "ben", AT + 1)
    assert len(book.releases) == RELEASES_MOST
    assert book.with_found([gap(7)]).findings == ()
