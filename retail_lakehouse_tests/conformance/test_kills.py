"""A batch that is written again, by whomever and after whatever, doubles and loses nothing."""

import pytest

from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.conformance.engines import Kill, Killed, StartEngine, land
from retail_lakehouse_tests.conformance.landed import assert_is, assert_marks_hold, read_tables
from retail_lakehouse_tests.conformance.records import (
    HORIZON_HOURS,
    NOW_MS,
    Record,
    corpus,
    cut_evenly,
    event,
)
from retail_lakehouse_tests.conformance.reference import expected

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

RECORDS = corpus()
WANTED = expected(RECORDS, INVENTORY, HORIZON_HOURS)
FIRST, SECOND, THIRD = cut_evenly(RECORDS, 3)


@pytest.mark.parametrize("kill", Kill, ids=lambda kill: kill.name.lower())
@pytest.mark.parametrize("first_batch", [True, False], ids=["first batch", "later batch"])
def test_a_kill_at_any_point_of_a_batch_doubles_and_loses_nothing(
    start_engine: StartEngine, lakehouse: Settings, kill: Kill, first_batch: bool
) -> None:
    before, rest = ([], [FIRST, SECOND, THIRD]) if first_batch else ([FIRST], [SECOND, THIRD])
    engine = start_engine(lakehouse, INVENTORY)
    for batch in before:
        engine.write(batch)
    with pytest.raises(Killed):
        engine.write(rest[0], kill)
    land(start_engine, lakehouse, INVENTORY, rest)
    landed = read_tables(lakehouse, INVENTORY)
    assert_is(landed, WANTED, RECORDS)
    assert_marks_hold(landed)


@pytest.mark.parametrize("parts", [1, 5], ids=["all at once", "in smaller parts"])
def test_after_a_kill_between_the_commits_the_stream_may_be_cut_otherwise(
    start_engine: StartEngine, lakehouse: Settings, parts: int
) -> None:
    engine = start_engine(lakehouse, INVENTORY)
    engine.write(FIRST)
    with pytest.raises(Killed):
        engine.write(SECOND, Kill.BETWEEN_COMMITS)
    rest = [r for r in RECORDS if r not in FIRST]
    land(start_engine, lakehouse, INVENTORY, cut_evenly(rest, parts))
    landed = read_tables(lakehouse, INVENTORY)
    assert_is(landed, WANTED, RECORDS)
    assert_marks_hold(landed)


def test_records_that_took_lost_offsets_are_not_taken_for_the_quarantined_ones(
    start_engine: StartEngine, lakehouse: Settings
) -> None:
    # The broker lost what a killed batch had quarantined, and gave its offsets to others.
    lost = [Record(0, n, NOW_MS, None, b"{") for n in range(3)]
    with pytest.raises(Killed):
        start_engine(lakehouse, INVENTORY).write(lost, Kill.BETWEEN_COMMITS)
    taken = [event(f"e{n}", NOW_MS) for n in range(2)] + [b"[", b"{"]
    records = [Record(0, n, NOW_MS + 1, None, value) for n, value in enumerate(taken)]
    land(start_engine, lakehouse, INVENTORY, [records])
    landed = read_tables(lakehouse, INVENTORY)
    assert [row["event_id"] for row in landed.rows] == ["e0", "e1"]
    assert sorted((row["kafka_offset"], row["raw"]) for row in landed.quarantine) == [
        *[(0, b"{"), (1, b"{"), (2, b"["), (2, b"{"), (3, b"{")]
    ]
    assert (landed.last_mark.total.landed, landed.last_mark.total.quarantined) == (2, 2)

    start_engine(lakehouse, INVENTORY).replay("again")
    replayed = read_tables(lakehouse, INVENTORY)
    assert replayed.rows == landed.rows
    told = [row for row in replayed.quarantine if row["replay_id"] == "again"]
    assert sorted((row["kafka_offset"], row["raw"], row["outcome"]) for row in told) == [
        *[(0, b"{", "kept"), (1, b"{", "kept"), (2, b"[", "kept"), (2, b"{", "kept")],
        (3, b"{", "kept"),
    ]


def test_two_kills_in_the_same_batch_are_no_worse_than_one(
    start_engine: StartEngine, lakehouse: Settings
) -> None:
    for kill in (Kill.BETWEEN_COMMITS, Kill.BETWEEN_COMMITS, Kill.AFTER_ROWS):
        with pytest.raises(Killed):
            start_engine(lakehouse, INVENTORY).write(RECORDS, kill)
    land(start_engine, lakehouse, INVENTORY, [RECORDS])
    landed = read_tables(lakehouse, INVENTORY)
    assert_is(landed, WANTED, RECORDS)
    assert len(landed.row_commits) == len(landed.quarantine_commits) == 1


def test_a_batch_that_has_landed_is_not_written_again(
    start_engine: StartEngine, lakehouse: Settings
) -> None:
    engine = start_engine(lakehouse, INVENTORY)
    for batch in (FIRST, SECOND, THIRD):
        engine.write(batch)
    before = read_tables(lakehouse, INVENTORY)
    for batch in (FIRST, SECOND, THIRD, RECORDS):
        engine.write(batch)
        land(start_engine, lakehouse, INVENTORY, [batch])
    after = read_tables(lakehouse, INVENTORY)
    assert after.content == before.content
    assert after.row_commits == before.row_commits
    assert after.quarantine_commits == before.quarantine_commits


def test_of_a_batch_that_has_landed_in_part_only_the_rest_is_written(
    start_engine: StartEngine, lakehouse: Settings
) -> None:
    land(start_engine, lakehouse, INVENTORY, [FIRST, FIRST + SECOND, RECORDS])
    landed = read_tables(lakehouse, INVENTORY)
    assert_is(landed, WANTED, RECORDS)
    assert_marks_hold(landed)


def test_a_batch_without_a_row_still_moves_the_mark(
    start_engine: StartEngine, lakehouse: Settings
) -> None:
    good, bad = event("a", NOW_MS), b"{"
    values = [good, good, good, bad, bad, good]
    records = [Record(0, n, NOW_MS, None, value) for n, value in enumerate(values)]
    land(
        start_engine,
        lakehouse,
        INVENTORY,
        [records[:1], records[1:3], records[3:5], records[5:]],
    )
    landed = read_tables(lakehouse, INVENTORY)
    assert_is(landed, expected(records, INVENTORY, HORIZON_HOURS), records)
    assert_marks_hold(landed)
    assert [commit.added_records for commit in landed.row_commits] == [1, 0, 0, 0]
    assert {commit.operation for commit in landed.row_commits} == {"append"}
    assert len(landed.quarantine_commits) == 1
    times = [commit.mark.event_time.newest_ms for commit in landed.row_commits if commit.mark]
    assert times == [NOW_MS, None, None, None]


def test_an_old_run_that_is_still_there_does_not_write_beside_the_new_one(
    start_engine: StartEngine, lakehouse: Settings
) -> None:
    """No append conflicts with another: the marks have to tell, where no lock keeps runs apart."""
    old = start_engine(lakehouse, INVENTORY)
    old.write(FIRST)
    new = start_engine(lakehouse, INVENTORY)
    new.write(SECOND)
    with pytest.raises(RuntimeError, match="another run writes the same tables"):
        old.write(SECOND)
    new.write(THIRD)
    landed = read_tables(lakehouse, INVENTORY)
    assert_is(landed, WANTED, RECORDS)
    assert_marks_hold(landed)
