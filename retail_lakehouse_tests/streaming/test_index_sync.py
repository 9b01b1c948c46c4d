"""Rules of catching up: the index says what the table holds, by the cheapest way that is sure."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from retail_lakehouse.contracts.canonical import content_form
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.fields import Field, Kind
from retail_lakehouse.contracts.judge import Good, judge
from retail_lakehouse.contracts.mark import MarkKind
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.dedupe.key_index import KeyIndex, Stamp
from retail_lakehouse.dedupe.records import content_key, key_hash
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.iceberg import JobTable
from retail_lakehouse.streaming.index_sync import keys_of, sync_index
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse_tests.conformance.engines import StartEngine, land, spark_engine
from retail_lakehouse_tests.conformance.records import HOUR_MS, NOW_MS, Record, event

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.stack
FLOOR = NOW_MS // HOUR_MS - 30


class Synced:
    """An index beside the session's inventory table."""

    def __init__(
        self,
        spark: "SparkSession",
        settings: Settings,
        folder: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self.spark = spark
        self._caplog = caplog
        self.settings = settings
        self.table = JobTable(spark, settings.catalog_name, event_table(INVENTORY))
        self.start: StartEngine = spark_engine(spark, folder / "engine")
        self.index = KeyIndex(folder / "index")
        self.index.open()

    def sync(
        self,
        form: str = content_form(INVENTORY.fields),
        meanwhile: Callable[[], None] = lambda: None,
    ) -> bool:
        """Syncs as a job does; whether that meant to build the index anew."""
        mark = self.table.last_mark()
        now = Stamp(
            self.table.uuid(),
            self.table.current_snapshot_id(),
            "topic",
            dict(mark.until) if mark else {},
            form,
        )
        self._caplog.clear()
        sync_index(self.spark, self.index, self.table, INVENTORY, now, FLOOR, meanwhile)
        assert self.index.stamp == now
        return "Building the dedupe index" in self._caplog.text

    def land(self, first: int, last: int) -> None:
        records = [Record(0, n, NOW_MS, None, event(f"e{n}", NOW_MS)) for n in range(first, last)]
        land(self.start, self.settings, INVENTORY, [records])

    def sql(self, text: str) -> None:
        self.spark.sql(text.format(catalog=self.settings.catalog_name, table=self.table.name))

    def assert_has(self, numbers: range) -> None:
        keys = np.array([key_hash(f"e{n}") for n in numbers])
        known, content = self.index.find(NOW_MS // HOUR_MS, keys[:, 0], keys[:, 1])
        assert known.all()
        for n, found in zip(numbers, content.tolist(), strict=True):
            verdict = judge(event(f"e{n}", NOW_MS), NOW_MS, INVENTORY)
            assert isinstance(verdict, Good)
            assert found == content_key(verdict.canonical, verdict.extra)


@pytest.fixture
def synced(
    spark: "SparkSession",
    lakehouse: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> Synced:
    caplog.set_level(logging.INFO, logger="retail_lakehouse.streaming.index_sync")
    return Synced(spark, lakehouse, tmp_path, caplog)


def test_appends_and_compactions_are_caught_up_with_and_anything_else_is_rebuilt(
    synced: Synced,
) -> None:
    assert not synced.sync()
    synced.land(0, 5)
    synced.land(5, 9)
    assert not synced.sync()
    synced.assert_has(range(9))
    assert len(synced.index) == 9

    # Compaction adds nothing; an append after it is found among the replaced files.
    synced.sql(
        "CALL {catalog}.system.rewrite_data_files(table => '{table}', "
        "options => map('rewrite-all', 'true'))"
    )
    synced.sync()
    synced.land(9, 12)
    assert not synced.sync()
    synced.assert_has(range(12))
    assert len(synced.index) == 12

    # A backfill carries offsets over that say nothing of its rows.
    _backfill(synced.settings)
    assert not synced.sync()
    assert len(synced.index) == 13

    # What somebody deleted by hand must not keep its event from landing again.
    synced.sql("DELETE FROM {table} WHERE event_id = 'e3'")
    assert synced.sync()
    synced.assert_has(range(4, 12))
    assert len(synced.index) == 12

    # An erasure says so in its mark: a copy of what it took must not bring the customer back.
    synced.sql("DELETE FROM {table} WHERE event_id = 'e4'")
    _close_erasure(synced)
    synced.land(12, 13)
    assert not synced.sync()
    synced.assert_has(range(4, 13))
    assert len(synced.index) == 13

    synced.index.close()
    synced.index.open()
    assert not synced.sync()
    assert synced.sync(form="other fields")


def test_an_index_of_a_table_that_was_made_again_is_rebuilt(
    synced: Synced,
) -> None:
    synced.land(0, 3)
    synced.sync()
    stamp = synced.index.stamp
    assert stamp is not None
    synced.index.seal(Stamp("another", stamp.snapshot_id, "t", {}, stamp.content_form), FLOOR)
    assert synced.sync()
    synced.assert_has(range(3))


def test_an_index_whose_snapshot_has_expired_is_rebuilt(
    synced: Synced,
) -> None:
    synced.land(0, 3)
    synced.sync()
    for n in range(3, 6):
        synced.land(n, n + 1)
    synced.table.expire(2**62, keep_at_least=1)
    assert synced.sync()
    synced.assert_has(range(6))


def test_an_index_whose_build_was_given_up_is_built_anew(synced: Synced) -> None:
    def stop() -> None:
        raise InterruptedError

    synced.land(0, 3)
    with pytest.raises(InterruptedError):
        synced.sync(meanwhile=stop)
    assert synced.index.stamp is None
    assert synced.sync()
    synced.assert_has(range(3))
    synced.land(3, 5)
    with pytest.raises(InterruptedError):
        synced.sync(meanwhile=stop)
    synced.index.open()
    assert not synced.sync()
    synced.assert_has(range(5))
    assert len(synced.index) == 5


def test_a_field_that_the_contract_has_learnt_since_is_no_other_content(synced: Synced) -> None:
    from pyspark.sql import functions as f

    value = event("before", NOW_MS, colour='"red"', size="4")
    land(synced.start, synced.settings, INVENTORY, [[Record(0, 0, NOW_MS, None, value)]])
    colour = Field("colour", Kind.STRING, "Known since.", required=False)
    today = replace(INVENTORY, fields=(*INVENTORY.fields, colour))
    verdict = judge(value, NOW_MS, today)
    assert isinstance(verdict, Good)
    rows = synced.spark.table(synced.table.name)
    (keys,) = keys_of(rows.withColumn("colour", f.lit(None).cast("string")), today)
    assert keys[:, 3].tolist() == [content_key(verdict.canonical, verdict.extra)]


def test_expiry_never_takes_the_last_mark_whatever_was_compacted_after_it(synced: Synced) -> None:
    synced.land(0, 2)
    synced.land(2, 4)
    mark = synced.table.last_mark()
    for _ in range(7):
        synced.sql(
            "CALL {catalog}.system.rewrite_data_files(table => '{table}', "
            "options => map('rewrite-all', 'true'))"
        )
    synced.table.expire(2**62, keep_at_least=1)
    assert mark is not None
    assert synced.table.last_mark() == mark
    table = open_catalog(synced.settings).load_table(event_table(INVENTORY).identifier)
    assert last_mark(table) == mark
    assert len(table.metadata.snapshots) == 8


def _backfill(settings: Settings) -> None:
    import pyarrow as pa

    from retail_lakehouse.tables.schema import arrow_schema

    contract = event_table(INVENTORY)
    table = open_catalog(settings).load_table(contract.identifier)
    mark = last_mark(table)
    assert mark is not None
    row = table.scan(limit=1).to_arrow().to_pylist()[0]
    row |= {"event_id": "backfilled", "kafka_offset": None, "kafka_partition": None}
    rows = pa.Table.from_pylist([row], arrow_schema(contract))
    append_marked(
        table, rows, mark.carried(MarkKind.BACKFILL, "b", 0, engine="x", contract_version=1)
    )


def _close_erasure(synced: Synced) -> None:
    mark = synced.table.last_mark()
    assert mark is not None
    synced.table.append(
        synced.spark.table(synced.table.name).where("false"),
        mark.carried(MarkKind.ERASURE, "e", 0, engine="x", contract_version=1),
        synced.table.landing_spec_id(),
    )
