"""What one look at a table's marks takes in, and what it leaves out."""

from dataclasses import replace

import pytest

from retail_lakehouse.assets.keys import table_key
from retail_lakehouse.assets.stream import HOUR_MS, StreamLook, TableLook, look_at_stream, now_ms
from retail_lakehouse.checks.judges import Verdict
from retail_lakehouse.checks.stream import QUARANTINE_SHARE, judge_stream
from retail_lakehouse.contracts.mark import Counts
from retail_lakehouse.contracts.tables import quarantine_table
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse_tests.contracts.test_mark import example_mark
from retail_lakehouse_tests.resources.fakes import FakeJobs, FakeKafka, Lakehouse

OLD_TOPIC = replace(
    example_mark(),
    topic_id="9nKcTyD1TcqhRbz6DyQn2B",
    ranges={1: (999_000, 1_000_000)},
    until={1: 1_000_000},
    batch=Counts(read=1_000, landed=1_000),
    total=Counts(read=1_000_000, landed=1_000_000),
)
"""Of a topic that was deleted: a million good records, the last thousand within the hour."""


@pytest.fixture
def made_again(lakehouse: Lakehouse) -> Lakehouse:
    """What is committed from here on is of a topic that was made anew: its totals begin again."""
    table = lakehouse.table("inventory")
    append_marked(table, table.schema().as_arrow().empty_table(), OLD_TOPIC)
    return lakehouse


def look(lakehouse: Lakehouse) -> StreamLook:
    return look_at_stream(FakeKafka(), lakehouse.resource(), FakeJobs())  # type: ignore[arg-type]


def quarantine_share(stream: StreamLook, settings: Settings) -> Verdict:
    (verdict,) = (
        judged.verdict
        for judged in judge_stream(stream, settings)
        if judged.key.name == QUARANTINE_SHARE
        and judged.key.asset_key == table_key(quarantine_table("inventory"))
    )
    return verdict


def test_a_topic_made_again_is_judged_by_its_own_records_from_its_first_batch_on(
    settings: Settings, made_again: Lakehouse
) -> None:
    made_again.commit("inventory", 10, quarantined=90)
    verdict = quarantine_share(look(made_again), settings)
    assert (verdict.figures["read"], verdict.figures["quarantined"]) == (100, 90)
    assert not verdict.passed


def test_every_batch_of_the_topic_made_again_counts(
    settings: Settings, made_again: Lakehouse
) -> None:
    made_again.commit("inventory", 10, quarantined=1)
    made_again.commit("inventory", 10, quarantined=1)
    verdict = quarantine_share(look(made_again), settings)
    assert (verdict.figures["read"], verdict.figures["quarantined"]) == (22, 2)


def test_what_waits_in_a_topic_made_again_is_not_as_old_as_the_old_one(
    made_again: Lakehouse,
) -> None:
    made_again.commit("inventory", 1, age_seconds=2)
    table = look(made_again).tables["inventory"]
    assert isinstance(table, TableLook)
    assert table.mark is not None
    assert table.read_since_ms == {0: table.mark.broker_time.oldest_ms}
    assert table.first == table.last


def test_a_look_has_no_first_batch_where_the_last_hour_has_none(
    settings: Settings, lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse.commit("inventory", 5, quarantined=5)
    assert not quarantine_share(look(lakehouse), settings).passed
    later = now_ms() + HOUR_MS + 1_000
    monkeypatch.setattr("retail_lakehouse.assets.stream.now_ms", lambda: later)
    stream = look(lakehouse)
    table = stream.tables["inventory"]
    assert isinstance(table, TableLook)
    assert (table.first, table.mark) == (None, lakehouse.marks["inventory_events"])
    assert table.read_since_ms
    assert quarantine_share(stream, settings).passed
