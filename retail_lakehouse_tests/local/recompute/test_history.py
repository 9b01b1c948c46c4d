"""The history of a run: equal after every refresh, and one wrong digit or row is found.

Here: real commits with marks, real refreshes through the wire, digests captured after them. Not
here: when a long run captures (`test_view_digests.py`).
"""

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.view_digests import check_run
from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.contracts.tables import TableContract, event_table
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.local.recompute.captured import (
    CapturedDigest,
    CapturedError,
    CaptureEnd,
    append_lines,
    capture,
    digests_file,
    read_lines,
)
from retail_lakehouse.local.recompute.history import ViewHistory, check_history
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.warehouse.ddl import ensure_schemas, ensure_views
from retail_lakehouse.warehouse.refresh import refresh_views
from retail_lakehouse_tests.warehouse.conftest import Lakehouse, make_lakehouse
from retail_lakehouse_tests.warehouse.raw_rows import RawRows, Row, arrow

pytestmark = pytest.mark.stack

COMMITS = 24
EVENTS = ("inventory", "transactions", "clickstream")
Until = dict[str, dict[int, int]]


def mark(event: str, topic: str, until: dict[int, int]) -> Mark:
    return Mark(
        kind=MarkKind.STREAM,
        cluster_id="cluster",
        topic=topic,
        topic_id=f"id-of-{event}",
        ranges={},
        until=dict(until),
        event_time=TimeRange(),
        broker_time=TimeRange(),
        batch=Counts(),
        total=Counts(),
        batch_started_ms=0,
        previous_commit_ms=None,
        contract_version=1,
        run_id="test",
        engine="test",
    )


def land(lakehouse: Lakehouse, event: str, rows: list[Row], until: dict[int, int]) -> None:
    """One batch as a job commits it: its rows, and a mark up to where it has read."""
    for row in rows:
        offset = row["kafka_offset"] + 1
        until[row["kafka_partition"]] = max(offset, until.get(row["kafka_partition"], 0))
    contract = event_table(event)
    table = lakehouse.catalog.load_table(contract.identifier)
    append_marked(table, arrow(contract, rows), mark(event, f"retail.{event}.events", until))


def batches(raw: RawRows) -> Iterator[tuple[str, list[Row]]]:
    """Batches of any size in the order of their offsets, late rows and old hours among them."""
    makers = dict(zip(EVENTS, (raw.inventory, raw.transaction, raw.click), strict=True))
    for _ in range(COMMITS):
        event = raw.random.choice(EVENTS)
        made = [makers[event]() for _ in range(raw.random.randrange(1, 60))]
        # A backfilled row has no offset, by which the history places it.
        yield event, [row for row in made if row["kafka_offset"] is not None]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """A lakehouse after a run whose refreshes were all captured."""
    lakehouse = make_lakehouse(tmp_path_factory.mktemp("history") / "state")
    raw = RawRows(3, datetime.now(UTC).replace(tzinfo=None))
    until: Until = {event: {} for event in EVENTS}
    pick = random.Random(3)
    path = digests_file(lakehouse.settings.root)
    try:
        with lakehouse.client.session("tests") as session:
            ensure_schemas(session)
            ensure_views(session)
            append_lines(path, capture(session, 0, {}))
            for event, rows in batches(raw):
                land(lakehouse, event, rows, until[event])
                if pick.random() < 0.6:
                    due = [v for v in MATERIALIZED_VIEWS if pick.random() < 0.8]
                    assert all(result.ok for result in refresh_views(session, due))
                    append_lines(path, capture(session, 0, {}))
            last = {each.view: each.refresh for each in capture(session, 0, {})}
            append_lines(path, [CaptureEnd(0, last)])
        land(lakehouse, "inventory", [raw.inventory(broker_time=raw.now)], until["inventory"])
    finally:
        lakehouse.stop()
    return lakehouse


@pytest.fixture
def rewritten(recorded: Lakehouse) -> Iterator[Path]:
    """The run's file of digests, put back afterwards."""
    path = digests_file(recorded.settings.root)
    text = path.read_text()
    yield path
    path.write_text(text)


@pytest.fixture
def own(recorded: Lakehouse, tmp_path: Path) -> Lakehouse:
    """The run with a catalog of one's own: what is committed there changes no other test's tables.

    Files of a table are never changed, and only the catalog says which of them are the newest.
    """
    settings = Settings.load({"state_dir": tmp_path / "state"})
    for folder in ("catalog", "run"):
        shutil.copytree(recorded.settings.root / folder, settings.root / folder)
    return Lakehouse(settings, open_catalog(settings))


def different(histories: list[ViewHistory]) -> dict[str, tuple[int, str]]:
    """(digests that differ, the first in words) of the views that were not always right."""
    return {
        each.view: (each.digests - each.equal, each.difference)
        for each in histories
        if not each.is_equal
    }


def test_every_digest_is_what_the_raw_rows_give(recorded: Lakehouse) -> None:
    # By the folder alone: the stack of a run that is over has left no settings.
    histories = check_run(recorded.settings.root)
    assert different(histories) == {}
    assert [each.view for each in histories] == [view.name for view in MATERIALIZED_VIEWS]
    assert all(each.refreshes >= 3 and not each.missed and each.has_end for each in histories)
    digests = {each.digests for each in histories}
    assert len(digests) == 1
    assert digests.pop() > COMMITS / 3


@pytest.mark.parametrize("view", [view.name for view in MATERIALIZED_VIEWS])
def test_one_changed_digit_of_one_digest_is_found(
    recorded: Lakehouse, rewritten: Path, view: str
) -> None:
    lines = [line for line in read_lines(rewritten) if isinstance(line, CapturedDigest)]
    of_view = [number for number, line in enumerate(lines) if line.view == view]
    wrong = of_view[len(of_view) // 2]
    lines[wrong] = replace(lines[wrong], digest=lines[wrong].digest + 10)
    rewritten.unlink()
    append_lines(rewritten, lines)
    ((name, (count, words)),) = different(check_history(recorded.settings)).items()
    assert (name, count) == (view, 1)
    assert f"After refresh {lines[wrong].refresh} " in words
    assert "rows went away" not in words


def test_a_refresh_without_a_digest_is_numbered(recorded: Lakehouse, rewritten: Path) -> None:
    view = MATERIALIZED_VIEWS[0].name
    texts = [json.loads(text) for text in rewritten.read_text().splitlines()]
    kept = [raw for raw in texts if (raw.get("view"), raw.get("refresh")) != (view, 2)]
    rewritten.write_text("".join(json.dumps(raw) + "\n" for raw in kept))
    first, *others = check_history(recorded.settings)
    assert first.missed == (2,)
    assert first.is_equal
    assert not any(each.missed for each in others)


def test_refreshes_after_the_last_digest_are_numbered(recorded: Lakehouse, rewritten: Path) -> None:
    view = MATERIALIZED_VIEWS[0].name
    *lines, end = read_lines(rewritten)
    assert isinstance(end, CaptureEnd)
    last = end.last_refreshes[view]
    later = CaptureEnd(0, end.last_refreshes | {view: last + 2})
    rewritten.unlink()
    append_lines(rewritten, [*lines, later])
    first, *others = check_history(recorded.settings)
    assert first.missed == (last + 1, last + 2)
    assert not any(each.missed for each in others)


def test_a_view_that_was_made_anew_is_refused(recorded: Lakehouse, rewritten: Path) -> None:
    lines = read_lines(rewritten)
    append_lines(rewritten, lines[:1])
    with pytest.raises(CapturedError, match="was made anew"):
        check_history(recorded.settings)


def test_a_run_without_digests_is_refused(recorded: Lakehouse, rewritten: Path) -> None:
    rewritten.write_text("")
    with pytest.raises(CapturedError, match="no digests"):
        check_history(recorded.settings)


def alter(own: Lakehouse, contract: TableContract, column: str, value: object) -> None:
    """Changes one column of the table's oldest row."""
    row = remove(own, contract)
    own.land(contract, [row | {column: value}])


def remove(own: Lakehouse, contract: TableContract) -> Row:
    """Deletes the table's oldest row and returns it."""
    table = own.catalog.load_table(contract.identifier)
    rows: list[Row] = table.scan().to_arrow().to_pylist()
    oldest = min(rows, key=lambda row: (row["kafka_offset"], row["kafka_partition"]))
    table.delete(f"event_id = '{oldest['event_id']}'")
    return oldest


def test_one_altered_row_is_found_from_its_refresh_on(own: Lakehouse) -> None:
    alter(own, event_table("transactions"), "quantity", 1_000_003)
    found = different(check_history(own.settings))
    assert list(found) == ["mv_sales_quarter_hour"]
    assert found["mv_sales_quarter_hour"][0] > 3


def test_a_row_that_went_away_is_found_and_told(own: Lakehouse) -> None:
    remove(own, event_table("clickstream"))
    found = different(check_history(own.settings))
    assert {"mv_web_sessions", "mv_clickstream_arrivals"} <= set(found)
    assert "rows went away" in found["mv_web_sessions"][1]


def test_rows_without_offsets_are_refused(own: Lakehouse) -> None:
    raw = RawRows(5, datetime.now(UTC).replace(tzinfo=None))
    own.land(event_table("inventory"), [raw.inventory(broker_time=None)])
    with pytest.raises(CapturedError, match="1 rows without offsets"):
        check_history(own.settings)


def test_what_one_test_has_broken_no_other_test_sees(recorded: Lakehouse, own: Lakehouse) -> None:
    remove(own, event_table("transactions"))
    assert different(check_history(own.settings))
    assert different(check_history(recorded.settings)) == {}
