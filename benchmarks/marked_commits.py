"""Commit time and disk use of one table over 10,000 marked commits.

Two tables take the same commits. On one, as many snapshots are kept as 15 minutes of a trigger of
4 s leave (one machine); on the other, as many as 24 hours of one of 60 s (AWS). Each commit appends
one data file to the metadata and carries a mark of the size that a topic of 24 partitions gives it.

    python -m benchmarks.marked_commits [--commits 10000] [--keep 225 1440]

Printed: the machine, median and 99th percentile of a commit around the 100th, the 1,000th and the
last, bytes of metadata on disk, bytes of one metadata.json. Compare rows of one run with one
another.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.stack_samples import machine
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.job_settings import job_arguments
from retail_lakehouse.local import jars
from retail_lakehouse.local.java import find_java
from retail_lakehouse.local.spark import spark_environment
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
from retail_lakehouse.tables.evolve import ensure_tables

PARTITIONS = 24
EXPIRE_EVERY = 25
WINDOW = 100


def mark(number: int) -> Mark:
    """The mark of the `number`-th commit, as large as a real one."""
    start, end = number * 10_000, (number + 1) * 10_000
    counts = Counts(read=240_000, landed=230_000, quarantined=5_000, duplicates=5_000)
    times = TimeRange(1_795_000_000_000, 1_795_000_060_000)
    return Mark(
        kind=MarkKind.STREAM,
        cluster_id="eTzVN40HScm7euhSpvweLQ",
        topic=INVENTORY.topic,
        topic_id="BPEd-qi-RLGTRqE7rEd_tg",
        ranges=dict.fromkeys(range(PARTITIONS), (start, end)),
        until=dict.fromkeys(range(PARTITIONS), end),
        event_time=times,
        broker_time=times,
        batch=counts,
        total=counts,
        batch_started_ms=1_795_000_000_000,
        previous_commit_ms=700,
        contract_version=1,
        run_id="inventory_streaming-000000000000",
        engine="spark",
    )


def main() -> None:
    """Runs both tables and prints their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument("--keep", type=int, nargs="+", default=[225, 1_440])
    options = parser.parse_args()
    sys.stdout.write(f"{machine()}\n")
    cache = Path(os.environ.get("RETAIL_LAKEHOUSE_CACHE_DIR", ".lakehouse/cache")).absolute()
    with tempfile.TemporaryDirectory() as folder:
        for keep in options.keep:
            settings = Settings.load(
                {"state_dir": str(Path(folder) / str(keep)), "cache_dir": str(cache)}
            )
            _print_figures(settings, options.commits, keep)


def _print_figures(settings: Settings, commits: int, keep: int) -> None:
    prepare_catalog(settings)
    ensure_tables(open_catalog(settings), settings)
    java = find_java(os.environ)
    os.environ.update(
        spark_environment(settings, java, jars.resolve("spark", settings.cache, java))
    )
    from retail_lakehouse.streaming.iceberg import JobTable
    from retail_lakehouse.streaming.session import spark_session

    arguments = job_arguments(settings, INVENTORY.name)
    spark = spark_session(arguments)
    table = JobTable(spark, arguments.catalog_name, event_table(INVENTORY))
    loaded = table.load()
    data_file = _data_file(spark, loaded)
    took_ms = []
    for number in range(commits):
        begun = time.perf_counter()
        append = loaded.newAppend().appendFile(data_file)
        for key, value in mark(number).to_summary().items():
            append = append.set(key, value)
        append.commit()
        took_ms.append((time.perf_counter() - begun) * 1000)
        if number % EXPIRE_EVERY == EXPIRE_EVERY - 1:
            table.expire(int(time.time() * 1000), keep_at_least=keep)
    spark.stop()
    metadata = settings.root / "warehouse" / "iceberg" / "retail_db" / "inventory_events/metadata"
    files = list(metadata.iterdir())
    newest = max((f for f in files if f.name.endswith(".json")), key=lambda f: f.stat().st_mtime)
    sys.stdout.write(f"{commits} marked commits, {keep} snapshots kept\n")
    for at in (min(WINDOW, commits), min(1_000, commits), commits):
        window = sorted(took_ms[max(0, at - WINDOW) : at])
        p99 = window[min(len(window) - 1, int(len(window) * 0.99))]
        sys.stdout.write(
            f"  up to #{at}: commit median {statistics.median(window):.1f} ms, p99 {p99:.1f} ms\n"
        )
    total = sum(f.stat().st_size for f in files)
    sys.stdout.write(
        f"  metadata on disk: {total / 1e6:.1f} MB in {len(files)} files; "
        f"metadata.json: {newest.stat().st_size / 1e6:.2f} MB\n"
    )


def _data_file(spark: Any, table: Any) -> Any:
    """A data file of the table's default spec; the figures are those of metadata alone."""
    iceberg = spark._jvm.org.apache.iceberg
    return (
        iceberg.DataFiles.builder(table.spec())
        .withPath(f"{table.location()}/data/benchmark.parquet")
        .withFormat("parquet")
        .withPartitionPath("event_date=2026-11-23/event_hour=3")
        .withFileSizeInBytes(300_000)
        .withRecordCount(10_000)
        .build()
    )


if __name__ == "__main__":
    main()
