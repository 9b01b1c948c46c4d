"""Rules of a replay: what is good by today's contract lands once, and nothing else changes."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from retail_lakehouse.contracts.events import INVENTORY, EventContract
from retail_lakehouse.contracts.mark import MarkKind
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming import replay
from retail_lakehouse.streaming.iceberg import JobTable
from retail_lakehouse.streaming.replay import (
    ReplayError,
    ReplayReport,
    ReplaySelection,
    replay_quarantine,
)
from retail_lakehouse_tests.conformance.engines import (
    TOPIC_ID,
    Kill,
    Killed,
    StartEngine,
    land,
    spark_engine,
)
from retail_lakehouse_tests.conformance.landed import Landed, read_tables
from retail_lakehouse_tests.conformance.records import HOUR_MS, NOW_MS, Record, event

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.stack

GIFT: dict[str, Any] = {"event_type": '"GIFT"'}
RECORDS = [
    Record(0, 0, NOW_MS, b"k", event("good", NOW_MS)),
    # Good once GIFT is allowed
    Record(0, 1, NOW_MS, b"k", event("gift", NOW_MS, **GIFT)),
    # A copy of it, spelt otherwise; a contradiction of it; and one of a row that has landed
    Record(0, 2, NOW_MS + 1, b"k", event("gift", NOW_MS, spaced=True, **GIFT)),
    Record(0, 3, NOW_MS + 2, b"k", event("gift", NOW_MS, on_hand=5, **GIFT)),
    Record(0, 4, NOW_MS + 3, b"k", event("good", NOW_MS, **GIFT)),
    # A conflict already when it came
    Record(0, 5, NOW_MS + 4, b"k", event("good", NOW_MS, on_hand=5)),
    # Good then, but past the horizon: a copy has landed without a search
    Record(0, 6, NOW_MS, b"k", event("old", NOW_MS - 40 * HOUR_MS)),
    Record(0, 7, NOW_MS + 5, None, b"{"),
    Record(1, 0, NOW_MS, b"k", event("other", NOW_MS, **GIFT)),
]


@pytest.fixture
def start(spark: "SparkSession", tmp_path: Path) -> StartEngine:
    return spark_engine(spark, tmp_path)


@pytest.fixture
def wider(monkeypatch: pytest.MonkeyPatch) -> EventContract:
    """The inventory contract of tomorrow, which knows GIFT."""
    fields = tuple(
        replace(field, allowed=(*field.allowed, "GIFT")) if field.name == "event_type" else field
        for field in INVENTORY.fields
    )
    contract = replace(INVENTORY, version=2, fields=fields)

    monkeypatch.setattr(replay, "event_named", lambda name: contract)
    return contract


def replayed(
    spark: "SparkSession", settings: Settings, run_id: str = "run-1", **selection: Any
) -> ReplayReport:
    return replay_quarantine(
        spark,
        INVENTORY.name,
        ReplaySelection(**selection),
        run_id,
        catalog_name=settings.catalog_name,
        topic_locks=settings.topic_locks,
    )


def rows_by_offset(landed: Landed) -> dict[tuple[int, int], str]:
    return {(r["kafka_partition"], r["kafka_offset"]): r["event_id"] for r in landed.rows}


def outcomes(landed: Landed, run_id: str) -> dict[tuple[int, int], tuple[str, str]]:
    return {
        (r["kafka_partition"], r["kafka_offset"]): (r["outcome"], r["reason"])
        for r in landed.quarantine
        if r["replay_id"] == run_id
    }


ORIGINALS = {(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 7), (1, 0)}


@pytest.mark.usefixtures("wider")
def test_records_that_are_good_today_land_once_and_conflicts_stay(
    spark: "SparkSession", lakehouse: Settings, start: StartEngine
) -> None:
    land(start, lakehouse, INVENTORY, [RECORDS])
    before = read_tables(lakehouse, INVENTORY)

    report = replayed(spark, lakehouse)
    assert report == ReplayReport(7, 2, 1, 4, {"conflict": 3, "json": 1})
    after = read_tables(lakehouse, INVENTORY)
    assert rows_by_offset(after) == rows_by_offset(before) | {(0, 1): "gift", (1, 0): "other"}
    assert outcomes(after, "run-1") == {
        # What is good now keeps the reason it was quarantined for; what stays has today's.
        (0, 1): ("landed", "range"),
        (0, 2): ("duplicate", "range"),
        (0, 3): ("kept", "conflict"),
        (0, 4): ("kept", "conflict"),
        (0, 5): ("kept", "conflict"),
        (0, 7): ("kept", "json"),
        (1, 0): ("landed", "range"),
    }
    originals = [row for row in after.quarantine if row["outcome"] == "quarantined"]
    assert originals == before.quarantine
    for landed, told in ((after.row_commits, 2), (after.quarantine_commits, 7)):
        mark = landed[-1].mark
        assert mark is not None
        assert (mark.kind, landed[-1].added_records) == (MarkKind.REPLAY, told)
        assert (mark.ranges, mark.run_id) == ({}, "run-1")
    assert after.last_mark.until == before.last_mark.until
    assert after.last_mark.total == before.last_mark.total

    again = replayed(spark, lakehouse, "run-2")
    assert again == ReplayReport(4, 0, 0, 4, {"conflict": 3, "json": 1})
    assert rows_by_offset(read_tables(lakehouse, INVENTORY)) == rows_by_offset(after)
    assert len(read_tables(lakehouse, INVENTORY).row_commits) == len(after.row_commits)

    # The stream goes on from the replay's marks, and knows what the replay has landed.
    more = [
        Record(0, 8, NOW_MS + 9, b"k", event("gift", NOW_MS)),
        Record(0, 9, NOW_MS + 9, b"k", event("new", NOW_MS)),
    ]
    land(start, lakehouse, INVENTORY, [more])
    last = read_tables(lakehouse, INVENTORY)
    assert rows_by_offset(last).keys() - rows_by_offset(after).keys() == {(0, 9)}
    assert last.last_mark.total.read == len(RECORDS) + 2


@pytest.mark.usefixtures("wider")
@pytest.mark.parametrize(
    "selection, chosen",
    [
        ({"reasons": ("range",)}, ORIGINALS - {(0, 5), (0, 7)}),
        ({"offsets": {0: (2, 4)}}, {(0, 2), (0, 3)}),
        ({"offsets": {1: (0, 9)}, "reasons": ("json",)}, set()),
        ({"limit": 2}, {(0, 1), (0, 2)}),
    ],
    ids=["by reason", "by offsets", "none", "limited"],
)
def test_only_what_was_chosen_is_judged_again(
    spark: "SparkSession",
    lakehouse: Settings,
    start: StartEngine,
    selection: dict[str, Any],
    chosen: set[tuple[int, int]],
) -> None:
    land(start, lakehouse, INVENTORY, [RECORDS])
    assert replayed(spark, lakehouse, **selection).chosen == len(chosen)
    assert outcomes(read_tables(lakehouse, INVENTORY), "run-1").keys() == chosen


@pytest.mark.usefixtures("wider")
def test_what_a_replay_has_kept_does_not_fill_the_limit_of_the_next(
    spark: "SparkSession", lakehouse: Settings, start: StartEngine
) -> None:
    land(start, lakehouse, INVENTORY, [RECORDS])
    for run_id, kept in (("run-1", (0, 5)), ("run-2", (0, 7)), ("run-3", (0, 5))):
        report = replayed(spark, lakehouse, run_id, offsets={0: (5, 8)}, limit=1)
        assert report.kept == 1
        assert outcomes(read_tables(lakehouse, INVENTORY), run_id).keys() == {kept}


@pytest.mark.usefixtures("wider")
def test_a_replay_killed_between_its_commits_is_mended_by_the_next(
    spark: "SparkSession", lakehouse: Settings, start: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(start, lakehouse, INVENTORY, [RECORDS])
    kill_a_replay_between_its_commits(spark, lakehouse, monkeypatch)
    landed = rows_by_offset(read_tables(lakehouse, INVENTORY))
    assert replayed(spark, lakehouse, "run-2") == ReplayReport(
        7, 2, 1, 4, {"conflict": 3, "json": 1}
    )
    after = read_tables(lakehouse, INVENTORY)
    assert rows_by_offset(after) == landed
    assert Counter(outcome for outcome, _ in outcomes(after, "run-2").values()) == {
        "landed": 2,
        "duplicate": 1,
        "kept": 4,
    }


@pytest.mark.usefixtures("wider")
def test_records_of_a_batch_that_has_not_landed_yet_are_left_to_it(
    spark: "SparkSession", lakehouse: Settings, start: StartEngine
) -> None:
    first, second = RECORDS[:1], RECORDS[1:]
    with pytest.raises(ReplayError, match="nothing to replay"):
        replayed(spark, lakehouse)
    engine = start(lakehouse, INVENTORY)
    engine.write(first)
    with pytest.raises(Killed):
        engine.write(second, Kill.BETWEEN_COMMITS)
    assert replayed(spark, lakehouse) == ReplayReport(0, 0, 0, 0, {}, waiting=len(ORIGINALS))
    land(start, lakehouse, INVENTORY, [second])
    assert replayed(spark, lakehouse).chosen == len(ORIGINALS)


# The broker lost these with its tail; they were in quarantine already.
LOST = [
    Record(0, 0, NOW_MS, b"k", event("lost under a row", NOW_MS, **GIFT)),
    Record(0, 1, NOW_MS, b"k", event("lost under a gift", NOW_MS, **GIFT)),
    Record(0, 2, NOW_MS, b"k", event("lost under no JSON", NOW_MS, **GIFT)),
    Record(0, 3, NOW_MS, None, b"{"),
]
# Their offsets went to these.
TAKEN = [
    Record(0, 0, NOW_MS + 1, b"k", event("row", NOW_MS)),
    Record(0, 1, NOW_MS + 1, b"k", event("gift", NOW_MS, **GIFT)),
    Record(0, 2, NOW_MS + 1, None, b"["),
    Record(0, 3, NOW_MS + 1, b"k", event("gift over no JSON", NOW_MS, **GIFT)),
]
OF_LOST_AND_TAKEN = {
    *[(0, "row"), (0, "lost under a row"), (1, "gift"), (1, "lost under a gift")],
    *[(2, "lost under no JSON"), (3, "gift over no JSON")],
}


def told(landed: Landed, run_id: str) -> Counter[tuple[int, bytes, str]]:
    return Counter(
        (row["kafka_offset"], row["raw"], row["outcome"])
        for row in landed.quarantine
        if row["replay_id"] == run_id
    )


@pytest.mark.usefixtures("wider")
@pytest.mark.parametrize("killed_first", [False, True], ids=["at once", "after a killed replay"])
def test_records_at_one_offset_are_each_judged_for_themselves(
    spark: "SparkSession",
    lakehouse: Settings,
    start: StartEngine,
    monkeypatch: pytest.MonkeyPatch,
    killed_first: bool,
) -> None:
    with pytest.raises(Killed):
        start(lakehouse, INVENTORY).write(LOST, Kill.BETWEEN_COMMITS)
    land(start, lakehouse, INVENTORY, [TAKEN])
    if killed_first:
        kill_a_replay_between_its_commits(spark, lakehouse, monkeypatch)

    assert replayed(spark, lakehouse, "run-2") == ReplayReport(7, 5, 0, 2, {"json": 2})
    after = read_tables(lakehouse, INVENTORY)
    assert {(row["kafka_offset"], row["event_id"]) for row in after.rows} == OF_LOST_AND_TAKEN
    assert len(after.rows) == len(OF_LOST_AND_TAKEN)
    assert told(after, "run-2") == Counter(
        (record.offset, record.value, "kept" if record.key is None else "landed")
        for record in [*LOST, *TAKEN[1:]]
    )
    # The bad ones may be judged again; the settled ones never are.
    assert replayed(spark, lakehouse, "run-3").chosen == 2


def kill_a_replay_between_its_commits(
    spark: "SparkSession", settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = JobTable.append

    def dying(table: JobTable, *arguments: Any) -> None:
        if table.contract.kind == "quarantine":
            raise Killed
        append(table, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(JobTable, "append", dying)
        with pytest.raises(Killed):
            replayed(spark, settings)


LATER_MS = NOW_MS + HOUR_MS
# Copies of what the old topic had at higher offsets, or at the same one; and one that is new.
OF_TOPIC_MADE_AGAIN = [
    Record(0, 0, LATER_MS, b"k", event("gift", NOW_MS, **GIFT)),
    Record(0, 1, LATER_MS, b"k", event("other", NOW_MS, on_hand=5, **GIFT)),
    Record(0, 2, LATER_MS, b"k", event("new", NOW_MS, **GIFT)),
]


def made_again(spark: "SparkSession", folder: Path) -> StartEngine:
    return spark_engine(spark, folder, "topic-made-again")


@pytest.mark.usefixtures("wider")
def test_a_limit_holds_for_all_topics_together(
    spark: "SparkSession", lakehouse: Settings, start: StartEngine, tmp_path: Path
) -> None:
    land(start, lakehouse, INVENTORY, [RECORDS])
    land(made_again(spark, tmp_path), lakehouse, INVENTORY, [OF_TOPIC_MADE_AGAIN])
    limit = len(ORIGINALS) + 1
    report = replayed(spark, lakehouse, limit=limit)
    assert (report.chosen, report.earlier_topics) == (limit, {TOPIC_ID: limit - 1})
    appended = [row for row in read_tables(lakehouse, INVENTORY).quarantine if row["replay_id"]]
    assert len(appended) == limit


@pytest.mark.usefixtures("wider")
def test_records_of_a_topic_that_was_made_again_are_judged_before_those_of_the_new_one(
    spark: "SparkSession", lakehouse: Settings, start: StartEngine, tmp_path: Path
) -> None:
    land(start, lakehouse, INVENTORY, [RECORDS])
    land(made_again(spark, tmp_path), lakehouse, INVENTORY, [OF_TOPIC_MADE_AGAIN])
    before = read_tables(lakehouse, INVENTORY)

    assert replayed(spark, lakehouse) == ReplayReport(
        *(10, 3, 2, 5),
        {"conflict": 4, "json": 1},
        earlier_topics={TOPIC_ID: len(ORIGINALS)},
    )
    after = read_tables(lakehouse, INVENTORY)
    assert Counter(
        (row["kafka_topic_id"], row["kafka_offset"], row["event_id"])
        for row in after.rows
        if row not in before.rows
    ) == Counter([(TOPIC_ID, 1, "gift"), (TOPIC_ID, 0, "other"), ("topic-made-again", 2, "new")])
    assert {
        (row["kafka_topic_id"], row["kafka_partition"], row["kafka_offset"]): row["outcome"]
        for row in after.quarantine
        if row["replay_id"] and row["kafka_topic_id"] == "topic-made-again"
    } == {
        ("topic-made-again", 0, 0): "duplicate",
        ("topic-made-again", 0, 1): "kept",
        ("topic-made-again", 0, 2): "landed",
    }
    # The marks are those of the new topic still, and count no record that was replayed.
    for mark in (after.last_mark, after.quarantine_commits[-1].mark):
        assert mark is not None
        assert (mark.kind, mark.topic_id, mark.until) == (
            MarkKind.REPLAY,
            "topic-made-again",
            {0: 3},
        )
    assert after.last_mark.total == before.last_mark.total


@pytest.mark.parametrize("limit", [0, 50_001])
def test_a_replay_of_too_many_is_refused(
    spark: "SparkSession", lakehouse: Settings, limit: int
) -> None:
    with pytest.raises(ReplayError, match="choose a limit in between"):
        replayed(spark, lakehouse, limit=limit)
