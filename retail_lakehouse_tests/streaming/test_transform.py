"""Rules of the pass over a batch: one verdict a record, and files that prune."""

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from retail_lakehouse.contracts.cases import BROKER_TIME_MS, CASES
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming import coordinates, transform
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse_tests.conformance.engines import StartEngine, land, spark_engine
from retail_lakehouse_tests.conformance.records import HOUR_MS, NOW_MS, Record, event

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.stack


def kafka_rows(spark: "SparkSession", records: list[Record]) -> "DataFrame":
    from pyspark.sql import functions as f

    rows = [(r.key, r.value, r.partition, r.offset, r.timestamp_ms) for r in records]
    frame = spark.createDataFrame(
        rows, "key binary, value binary, partition int, offset long, ms long"
    )
    return frame.withColumn("timestamp", f.timestamp_millis("ms"))


def test_every_case_gets_its_verdict_in_one_pass(spark: "SparkSession") -> None:
    records = [Record(n % 3, n, BROKER_TIME_MS, None, case.body) for n, case in enumerate(CASES)]
    judged = transform.judged(kafka_rows(spark, records), INVENTORY, {})
    rows = {row["kafka_offset"]: row for row in judged.where("packed IS NULL").collect()}
    told = [(case.name, rows[n]["reason"]) for n, case in enumerate(CASES)]
    assert told == [(case.name, case.reason and case.reason.value) for case in CASES]
    for n, case in enumerate(CASES):
        assert rows[n]["raw"] == case.body
        assert (rows[n]["detail"] is None) == (case.reason is None)

    numbers = coordinates.collected(judged)
    assert sorted(numbers.offset.tolist()) == list(range(len(CASES)))
    good = {int(o) for o in numbers.offset[numbers.good]}
    assert good == {n for n, case in enumerate(CASES) if case.reason is None}


def test_what_until_covers_is_not_judged_again(spark: "SparkSession") -> None:
    records = [Record(p, n, NOW_MS, None, b"{}") for p in range(3) for n in range(5)]
    judged = transform.judged(kafka_rows(spark, records), INVENTORY, {0: 3, 1: 9})
    numbers = coordinates.collected(judged)
    found = sorted(zip(numbers.partition.tolist(), numbers.offset.tolist(), strict=True))
    assert found == [(0, 3), (0, 4), *((2, n) for n in range(5))]
    nothing = transform.judged(kafka_rows(spark, records), INVENTORY, {0: 9, 1: 9, 2: 9})
    assert len(coordinates.collected(nothing)) == 0


@pytest.mark.parametrize("literals", [10_000, 1])
def test_rows_are_picked_by_coordinates_whichever_way(
    spark: "SparkSession", monkeypatch: pytest.MonkeyPatch, literals: int
) -> None:
    import numpy as np

    monkeypatch.setattr(coordinates, "_LITERALS_AT_MOST", literals)
    rows = spark.createDataFrame(
        [(p, o) for p in range(2) for o in range(4)], "kafka_partition int, kafka_offset long"
    )
    partition, offset = np.array([0, 0, 1]), np.array([1, 2**40, 3])

    def found(frame: "DataFrame") -> set[tuple[int, int]]:
        return {(row[0], row[1]) for row in frame.collect()}

    assert found(coordinates.only(rows, partition, offset)) == {(0, 1), (1, 3)}
    assert len(found(coordinates.without(rows, partition, offset))) == 6
    none = np.empty(0, np.int64)
    assert found(coordinates.only(rows, none, none)) == set()
    assert len(found(coordinates.without(rows, none, none))) == 8


@pytest.fixture
def start(spark: "SparkSession", tmp_path: "Path") -> StartEngine:
    return spark_engine(spark, tmp_path)


def test_late_rows_never_share_a_file_with_those_of_the_running_hour(
    start: StartEngine, lakehouse: Settings
) -> None:
    now = NOW_MS + 30 * 60_000
    times = [now - n * 1000 for n in range(5)] + [now - 3 * HOUR_MS, now - 50 * HOUR_MS]
    records = [Record(0, n, now, None, event(f"e{n}", ms)) for n, ms in enumerate(times)]
    land(start, lakehouse, INVENTORY, [records])
    table = open_catalog(lakehouse).load_table(event_table(INVENTORY).identifier)
    files = table.inspect.files().to_pylist()
    spans = sorted(
        (
            f["readable_metrics"]["event_ts"]["lower_bound"],
            f["readable_metrics"]["event_ts"]["upper_bound"],
        )
        for f in files
    )
    assert len(files) <= 3
    hour = dt.datetime.fromtimestamp(NOW_MS / 1000, dt.UTC).replace(tzinfo=None)
    running = [span for span in spans if span[1] >= hour]
    assert len(running) == 1
    assert running[0][1] - running[0][0] <= dt.timedelta(seconds=5)


def test_times_are_utc_whatever_the_zone_of_the_process(
    start: StartEngine, lakehouse: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        before = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        land(start, lakehouse, INVENTORY, [[Record(0, 0, NOW_MS, None, event("e", NOW_MS))]])
    finally:
        monkeypatch.undo()
        time.tzset()
    table = open_catalog(lakehouse).load_table(event_table(INVENTORY).identifier)
    (row,) = table.scan().to_arrow().to_pylist()
    utc = dt.datetime.fromtimestamp(NOW_MS / 1000, dt.UTC).replace(tzinfo=None)
    assert row["event_ts"] == row["kafka_timestamp"] == utc
    assert (row["event_date"], row["event_hour"]) == (utc.date(), utc.hour)
    assert dt.timedelta(0) <= row["ingested_at"] - before < dt.timedelta(minutes=5)
