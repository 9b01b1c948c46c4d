"""Rules of an erasure: gone from every file after the grace, accounted for, nobody else touched."""

import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from retail_lakehouse.contracts.mark import MarkKind
from retail_lakehouse.local.duckdb_extensions import extension_file
from retail_lakehouse.local.erase import ErasureReport, erase_customer, find_customer
from retail_lakehouse.local.erasures import ErasureJournal
from retail_lakehouse.maintenance.cleanup import expire_snapshots
from retail_lakehouse.maintenance.erasure import Eraser, ErasureError
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse_tests.conformance.engines import TOPIC_ID, Kill
from retail_lakehouse_tests.conformance.records import NOW_MS
from retail_lakehouse_tests.local.warehouse.conftest import Asker
from retail_lakehouse_tests.maintenance.conftest import SESSIONS_VIEW, Tables, click

pytestmark = pytest.mark.stack
CUSTOMER, OTHER = "c-000012", "c-0000123"


def landed(tables: Tables) -> None:
    """Rows of two customers and of nobody, and quarantined records of both."""
    for first in (0, 10):
        tables.land(
            *(click(first + n, CUSTOMER if n % 2 else OTHER, 1 + n % 3) for n in range(6)),
            click(first + 6, None),
            click(first + 7, None, referrer=f"/account/{CUSTOMER}"),
            # Spelt in escapes, which JSON may.
            click(first + 8, CUSTOMER, action="DANCE").replace(b"c-0", b"c\\u002d0"),
            click(first + 9, OTHER, action="DANCE"),
            b'{"customer_id": "' + CUSTOMER.encode() + b'", \xff',
        )


def erased(tables: Tables, customer: str = CUSTOMER) -> ErasureReport:
    return erase_customer(tables.spark, tables.settings, customer)


def mentions(tables: Tables, word: str) -> list[Path]:
    """Files under both tables' locations that name the word, data and metadata, unpacked."""
    found = []
    for contract in (tables.rows, tables.quarantine):
        for path in tables.on_disk(contract):
            if path.suffix == ".parquet":
                text = str(pq.read_table(path).to_pylist())
            elif path.suffix == ".avro":
                text = _avro_text(path)
            else:
                data = path.read_bytes()
                text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
            if any(w == word for w in _words(text)):
                found.append(path)
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9_-]+", text)


def _avro_text(path: Path) -> str:
    with duckdb.connect() as connection:
        connection.load_extension(str(extension_file("avro")))
        return str(connection.execute("FROM read_avro(?)", [str(path)]).fetchall())


def test_an_erased_customer_is_in_no_file_after_the_grace_and_others_stay(
    clickstream: Tables, warehouse: Asker
) -> None:
    landed(clickstream)
    clickstream.compact()
    warehouse.do(SESSIONS_VIEW)
    assert warehouse.value("SELECT SUM(events) FROM mart.sessions") == 16
    mark = last_mark(clickstream.load())
    assert mark is not None
    found = find_customer(clickstream.spark, clickstream.settings, CUSTOMER)
    assert [len(each.places) for each in found] == [8, 4]
    assert mentions(clickstream, CUSTOMER)

    report = erased(clickstream)

    told = {each.table: each for each in report.tables}
    assert {name: each.rows for name, each in told.items()} == {
        "retail_db.clickstream_events": 8,
        "retail_db.clickstream_events_quarantine": 4,
    }
    for each in report.tables:
        assert each.delete_files > 0
        assert each.rewritten_files > 0
        assert each.delete_files_left == 0
    assert len(clickstream.content()) == 8
    assert not any(CUSTOMER in _words(row) for row in clickstream.content())
    after = last_mark(clickstream.load())
    assert after is not None
    assert (after.kind, after.until, after.total) == (MarkKind.ERASURE, mark.until, mark.total)
    operations = clickstream.operations()
    assert "replace" in operations
    assert {"delete", "overwrite"} & set(operations)
    # Nothing is left to be done: whoever is erased now, and is not there, changes nothing.
    assert {each.rows for each in erased(clickstream, "c-999999").tables} == {0}
    assert clickstream.operations() == operations
    _account_has_the_places_and_never_the_customer(clickstream)
    _view_is_computed_anew_in_full_and_says_so(clickstream, warehouse)

    _expire_after_the_grace(clickstream, report)
    assert mentions(clickstream, CUSTOMER) == []
    assert mentions(clickstream, OTHER)


def test_an_erasure_that_was_ended_behind_its_delete_goes_on_from_there(
    clickstream: Tables,
) -> None:
    # Of one batch, so of one manifest: the customer's file is all theirs, the other one stays.
    clickstream.land(click(1, CUSTOMER, 26), click(2, OTHER, 0))
    catalog = clickstream.settings.catalog_name
    eraser = Eraser(clickstream.spark, catalog, clickstream.contract, CUSTOMER)
    rows, delete_files = eraser._delete(eraser.rows, "delete_rows")
    assert (rows, delete_files) == (1, 1)
    assert len(clickstream.content()) == 1
    # Position deletes alone leave the row in its file.
    assert any(
        CUSTOMER in str(pq.read_table(file.file_path.removeprefix("file:")).to_pylist())
        for file in clickstream.files()
    )

    # The hourly run drops them with the file, as it does for whatever else deletes.
    compacted = clickstream.compact(reopened=False)
    assert (compacted.before.delete_files, compacted.after.delete_files) == (1, 0)
    assert compacted.removed_delete_files == 1
    assert len(clickstream.files()) == 1

    report = erased(clickstream)
    assert {each.rows for each in report.tables} == {0}
    mark = last_mark(clickstream.load())
    assert mark is not None
    assert mark.kind is MarkKind.ERASURE
    _expire_after_the_grace(clickstream, report)
    assert mentions(clickstream, CUSTOMER) == []
    assert mentions(clickstream, OTHER)


@pytest.mark.parametrize("killed_before", ["the manifests", "the mark"])
def test_a_killed_erasure_leaves_no_bounds_where_the_job_commits_before_it_goes_on(
    clickstream: Tables, killed_before: str
) -> None:
    clickstream.land(click(1, CUSTOMER, 26), click(2, OTHER, 0))
    catalog = clickstream.settings.catalog_name
    eraser = Eraser(clickstream.spark, catalog, clickstream.contract, CUSTOMER)
    eraser._delete(eraser.rows, "delete_rows")
    if killed_before == "the manifests":
        clickstream.compaction().clean_deletes()
        clickstream.land(click(3, OTHER, 0))
    else:
        # The job's mark is on a snapshot with the rows, their deletes still beside them.
        clickstream.land(click(3, OTHER, 0))
        clickstream.compaction().clean_deletes()
        eraser._rewrite_manifests(eraser.rows)

    report = erased(clickstream)

    assert {each.rows for each in report.tables} == {0}
    mark = last_mark(clickstream.load())
    assert mark is not None
    assert mark.kind is MarkKind.ERASURE
    _expire_after_the_grace(clickstream, report)
    assert mentions(clickstream, CUSTOMER) == []
    assert mentions(clickstream, OTHER)
    assert len(clickstream.content()) == 2


def test_nothing_is_erased_while_a_batch_has_landed_by_half_or_it_would_come_back(
    clickstream: Tables,
) -> None:
    batch = click(1, OTHER), click(2, CUSTOMER, action="DANCE")
    clickstream.land(*batch, kill=Kill.BETWEEN_COMMITS)
    quarantined = clickstream.content(clickstream.quarantine)
    assert len(quarantined) == 1
    with pytest.raises(ErasureError, match="between the two commits of a batch"):
        erased(clickstream)
    assert clickstream.content(clickstream.quarantine) == quarantined
    assert ErasureJournal(clickstream.settings.root).entries(clickstream.quarantine.name) == []

    clickstream.land(*batch)
    assert sum(each.rows for each in erased(clickstream).tables) == 1
    assert clickstream.content(clickstream.quarantine) == []
    assert len(clickstream.content()) == 1


def _expire_after_the_grace(tables: Tables, report: ErasureReport) -> None:
    gone = datetime.fromtimestamp(report.gone_after_ms / 1000, UTC) + timedelta(seconds=1)
    assert gone < datetime.now(UTC) + timedelta(minutes=16)
    minutes, catalog = tables.settings.retention_minutes, tables.settings.catalog_name
    for contract in (tables.rows, tables.quarantine):
        expire_snapshots(tables.spark, catalog, contract, minutes, gone)


def _account_has_the_places_and_never_the_customer(tables: Tables) -> None:
    journal = ErasureJournal(tables.settings.root)
    (rows,) = journal.entries("clickstream_events")
    (bad,) = journal.entries("clickstream_events_quarantine")
    assert rows.done
    assert bad.done
    (of_topic,) = rows.rows
    assert of_topic.topic_id == TOPIC_ID
    assert len(rows.places) == of_topic.sums["stream"].rows == 8
    assert len(bad.places) == 4
    assert {place.topic_id for place in (*rows.places, *bad.places)} == {TOPIC_ID}
    assert {place.broker_ms for place in (*rows.places, *bad.places)} == {NOW_MS + 1}
    text = (tables.settings.root / "erasures" / "journal.json").read_text()
    assert CUSTOMER not in text


def _view_is_computed_anew_in_full_and_says_so(tables: Tables, warehouse: Asker) -> None:
    (notice,) = warehouse.do("REFRESH MATERIALIZED VIEW mart.sessions")
    assert "recomputed: clickstream_events has a snapshot that is no append" in notice
    assert "recompute" in warehouse.last_refresh()
    assert warehouse.value("SELECT SUM(events) FROM mart.sessions") == 8
    # From then on it folds again.
    tables.land(click(99, None))
    warehouse.do("REFRESH MATERIALIZED VIEW mart.sessions")
    assert warehouse.note("sessions") == ""
    assert warehouse.value("SELECT SUM(events) FROM mart.sessions") == 9
