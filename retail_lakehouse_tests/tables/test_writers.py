"""Several processes commit to the one SQLite catalog at once, and no commit fails."""

import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from retail_lakehouse.contracts.fields import Column, Kind
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse.tables.marks import marked_snapshots
from retail_lakehouse.tables.schema import arrow_schema
from retail_lakehouse_tests.contracts.test_mark import example_mark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.stack

COMMITS = 6
SHARED, *OWN = (
    TableContract(f"writers_{name}", "doc", (Column("n", Kind.LONG, "N."),))
    for name in ("shared", "spark", "a", "b", "c", "d")
)


def commit(settings: Settings, contract: TableContract, number: int) -> None:
    """As a job or a backfill does it: load, append, with a mark."""
    import pyarrow as pa

    table = open_catalog(settings).load_table(contract.identifier)
    append_marked(table, pa.table({"n": [number]}, arrow_schema(contract)), example_mark())


def commit_all(state: str, name: str) -> None:
    settings = Settings.load({"state_dir": state})
    own = next(contract for contract in OWN if contract.name == name)
    for number in range(COMMITS):
        commit(settings, own, number)
        commit(settings, SHARED, number)


def test_jobs_backfills_and_maintenance_commit_at_once(
    spark: "SparkSession", spark_settings: Settings
) -> None:
    catalog = open_catalog(spark_settings)
    ensure_tables(catalog, spark_settings, (SHARED, *OWN))
    name = f"{spark_settings.catalog_name}.{OWN[0].qualified_name}"
    reading = threading.Event()

    def read_until_done() -> int:
        reads = 0
        while not reading.is_set():
            open_catalog(spark_settings).load_table(SHARED.identifier).scan().count()
            reads += 1
        return reads

    def commit_from_spark() -> None:
        for number in range(COMMITS):
            rows = spark.createDataFrame([(number,)], "n long")
            rows.writeTo(name).append()
            rows.writeTo(name.replace(OWN[0].name, SHARED.name)).append()

    # Processes that were forked would share SQLite's and Spark's connections.
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes,
        ThreadPoolExecutor(4) as threads,
    ):
        reader = threads.submit(read_until_done)
        state = str(spark_settings.state_dir)
        writers = [
            threads.submit(commit_from_spark),
            *(processes.submit(commit_all, state, contract.name) for contract in OWN[1:3]),
            *(threads.submit(commit_all, state, contract.name) for contract in OWN[3:]),
        ]
        try:
            for writer in writers:
                writer.result(timeout=200)
        finally:
            reading.set()
        assert reader.result() > 0

    for contract in OWN:
        table = catalog.load_table(contract.identifier)
        assert sorted(table.scan().to_arrow()["n"].to_pylist()) == list(range(COMMITS))
        assert len(marked_snapshots(table)) == COMMITS
    shared = catalog.load_table(SHARED.identifier)
    assert shared.scan().count() == COMMITS * len(writers)
    chain = marked_snapshots(shared)
    assert len(chain) == COMMITS * len(writers)
