"""Rules of an erasure: gone from every file after the grace, accounted for, nobody else touched."""

import gzip
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from retail_lakehouse.local.duckdb_extensions import extension_file
from retail_lakehouse.local.erase import ErasureReport, erase_customer, find_customer
from retail_lakehouse.local.erasures import ErasureJournal
from retail_lakehouse.maintenance.cleanup import expire_snapshots
from retail_lakehouse.maintenance.erasure import Eraser
from retail_lakehouse.tables.marks import last_mark
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
            click(first + 8, CUSTOMER, action="DANCE"),
            click(first + 9, OTHER, action="DANCE"),
            b'{"customer_id": "' + CUSTOMER.encode() + b'", \xff',
        )


def erased(tables: Tables) -> ErasureReport:
    return erase_customer(tables.spark, tables.settings, CUSTOMER)


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
    clickstream: Tables,
) -> None:
    landed(clickstream)
    clickstream.compact()
    landed_rows = len(clickstream.content())
    mark = last_mark(clickstream.load())
    assert mark is not None
    found = find_customer(clickstream.spark, clickstream.settings, CUSTOMER)
    assert [len(each.places) for each in found] == [8, 4]
    others = len(mentions(clickstream, OTHER))
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
    assert len(clickstream.content()) == landed_rows - 8
    assert not any(CUSTOMER in _words(row) for row in clickstream.content())
    after = last_mark(clickstream.load())
    assert after is not None
    assert (after.until, after.total) == (mark.until, mark.total)
    operations = clickstream.operations()
    assert "replace" in operations
    assert {"delete", "overwrite"} & set(operations)

    gone = datetime.fromtimestamp(report.gone_after_ms / 1000, UTC) + timedelta(seconds=1)
    assert gone < datetime.now(UTC) + timedelta(minutes=16)
    for contract in (clickstream.rows, clickstream.quarantine):
        minutes = clickstream.settings.retention_minutes
        catalog = clickstream.settings.catalog_name
        expire_snapshots(clickstream.spark, catalog, contract, minutes, gone)
    assert mentions(clickstream, CUSTOMER) == []
    assert mentions(clickstream, OTHER)
    assert others


def test_a_view_over_the_table_is_computed_anew_in_full_and_says_so(
    clickstream: Tables, warehouse: Asker
) -> None:
    landed(clickstream)
    warehouse.do(SESSIONS_VIEW)
    assert warehouse.value("SELECT SUM(events) FROM mart.sessions") == 16
    erased(clickstream)
    (notice,) = warehouse.do("REFRESH MATERIALIZED VIEW mart.sessions")
    assert "recomputed: clickstream_events has a snapshot that is no append" in notice
    assert "recompute" in warehouse.last_refresh()
    assert warehouse.value("SELECT SUM(events) FROM mart.sessions") == 8
    # From then on it folds again.
    clickstream.land(click(99, None))
    warehouse.do("REFRESH MATERIALIZED VIEW mart.sessions")
    assert warehouse.note("sessions") == ""
    assert warehouse.value("SELECT SUM(events) FROM mart.sessions") == 9


def test_the_account_of_an_erasure_has_its_rows_and_never_the_customer(
    clickstream: Tables,
) -> None:
    landed(clickstream)
    erased(clickstream)
    (rows,) = [e for e in _journal(clickstream).entries("clickstream_events") if e.done]
    assert len(rows.places) == rows.sums["stream"].rows == 8
    (bad,) = _journal(clickstream).entries("clickstream_events_quarantine")
    assert len(bad.places) == 4
    text = (clickstream.settings.root / "erasures" / "journal.json").read_text()
    assert CUSTOMER not in text


def test_position_deletes_alone_leave_the_rows_in_their_files_and_compaction_cleans_them(
    clickstream: Tables,
) -> None:
    landed(clickstream)
    catalog = clickstream.settings.catalog_name
    eraser = Eraser(clickstream.spark, catalog, clickstream.contract, CUSTOMER)
    rows, delete_files = eraser._delete(eraser.rows, "delete_rows", "find_rows")
    assert rows == 8
    assert delete_files > 0
    live = [Path(file.file_path.removeprefix("file:")) for file in clickstream.files()]
    assert any(CUSTOMER in str(pq.read_table(path).to_pylist()) for path in live)

    # The hourly run does the same for whatever else deletes.
    report = clickstream.compact(reopened=False)
    assert (report.before.delete_files, report.after.delete_files) == (delete_files, 0)
    assert report.removed_delete_files == delete_files
    live = [Path(file.file_path.removeprefix("file:")) for file in clickstream.files()]
    assert not any(CUSTOMER in _words(str(pq.read_table(path).to_pylist())) for path in live)


def test_erasing_nobody_changes_nothing(clickstream: Tables) -> None:
    landed(clickstream)
    operations = clickstream.operations()
    report = erase_customer(clickstream.spark, clickstream.settings, "c-999999")
    assert {each.rows for each in report.tables} == {0}
    assert clickstream.operations() == operations
    assert report.gone_after_ms > time.time() * 1000


def _journal(tables: Tables) -> ErasureJournal:
    return ErasureJournal(tables.settings.root)
