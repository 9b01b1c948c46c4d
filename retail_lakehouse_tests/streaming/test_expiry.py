"""Rules of expiry: what somebody may still be reading stays, however long ago it was committed."""

from typing import TYPE_CHECKING, Any

import pytest

from retail_lakehouse.contracts.fields import Column, Kind
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming import iceberg
from retail_lakehouse.streaming.iceberg import JobTable, TableNotReadyError, current_at
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse.tables.schema import arrow_schema
from retail_lakehouse_tests.contracts.test_mark import example_mark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONTRACT = TableContract("expiry", "doc", (Column("n", Kind.LONG, "N."),))


@pytest.mark.parametrize(
    ("moment_ms", "current"),
    [
        (9, None),
        (10, 10),
        (19, 10),
        (20, 20),
        # An idle hour: the one that was current a moment ago was committed long before.
        (999_999, 30),
        (1_000_000, 1_000_000),
    ],
)
def test_what_was_current_at_a_moment_is_the_newest_that_came_before_it(
    moment_ms: int, current: int | None
) -> None:
    history = [10, 20, 30, 1_000_000]
    assert current_at(history, moment_ms, lambda each: each) == current
    assert current_at([], moment_ms, lambda each: each) is None


@pytest.mark.stack
def test_the_snapshot_that_was_current_when_the_retention_began_is_kept(
    spark: "SparkSession", spark_settings: Settings
) -> None:
    import pyarrow as pa

    catalog = open_catalog(spark_settings)
    ensure_tables(catalog, spark_settings, (CONTRACT,))
    rows = pa.table({"n": [1]}, arrow_schema(CONTRACT))
    for _ in range(4):
        append_marked(catalog.load_table(CONTRACT.identifier), rows, example_mark())

    def left() -> dict[int, int]:
        """Commit time by snapshot id, oldest first."""
        snapshots = catalog.load_table(CONTRACT.identifier).metadata.snapshots
        times = {each.snapshot_id: each.timestamp_ms for each in snapshots}
        return dict(sorted(times.items(), key=lambda item: item[1]))

    table = JobTable(spark, spark_settings.catalog_name, CONTRACT)
    first, second, third, fourth = left()
    committed_ms = left()
    table.expire(committed_ms[first] - 1, keep_at_least=1)
    assert list(left()) == [first, second, third, fourth]
    table.expire(committed_ms[third] - 1, keep_at_least=1)
    assert list(left()) == [second, third, fourth]
    table.expire(committed_ms[fourth] - 1, keep_at_least=1)
    assert list(left()) == [third, fourth]


@pytest.mark.stack
def test_the_last_mark_outlives_compactions_that_commit_while_an_expiry_is_under_way(
    spark: "SparkSession", spark_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa

    catalog = open_catalog(spark_settings)
    ensure_tables(catalog, spark_settings, (CONTRACT,))
    rows = pa.table({"n": [1]}, arrow_schema(CONTRACT))
    append_marked(catalog.load_table(CONTRACT.identifier), rows, example_mark())
    other = JobTable(spark, spark_settings.catalog_name, CONTRACT)

    def replace() -> None:
        other.load().rewriteManifests().commit()

    replace()
    cutoff_ms = iceberg._cutoff_ms

    def behind_others(*arguments: Any) -> int:
        found = cutoff_ms(*arguments)
        replace()
        replace()
        return found

    monkeypatch.setattr(iceberg, "_cutoff_ms", behind_others)
    JobTable(spark, spark_settings.catalog_name, CONTRACT).expire(2**62, keep_at_least=1)

    left = catalog.load_table(CONTRACT.identifier)
    assert last_mark(left) == example_mark()
    assert [each.summary.operation.value for each in left.snapshots() if each.summary] == [
        "append",
        *["replace"] * 3,
    ]


@pytest.mark.stack
def test_a_table_that_cannot_be_loaded_says_whether_it_is_missing_or_unanswered(
    spark: "SparkSession", spark_settings: Settings
) -> None:
    missing = TableContract("nowhere", "doc", CONTRACT.columns)
    with pytest.raises(
        TableNotReadyError, match=r"nowhere .*cannot be found.*made before jobs start"
    ):
        JobTable(spark, spark_settings.catalog_name, missing).load()
    with pytest.raises(TableNotReadyError, match="Check that the catalog can be reached"):
        JobTable(spark, "no_catalog_of_ours", CONTRACT).load()
