"""What is one session's own, and what the history says of its statements."""

from collections.abc import Iterator

import duckdb
import pytest

from retail_lakehouse.local.warehouse import delta, writes
from retail_lakehouse.local.warehouse.engine import Engine
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.session import Session
from retail_lakehouse_tests.local.warehouse.conftest import Asker, TinyLake


@pytest.fixture
def other(ask: Asker, engine: Engine) -> Iterator[Asker]:
    """A second session beside `ask`, after it has made the schemas."""
    session = Session(engine, 2)
    yield Asker(session)
    session.close()


def test_temporary_tables_of_one_name_are_each_their_sessions_own(
    ask: Asker, other: Asker, engine: Engine
) -> None:
    for session in (ask, other):
        session.do("CREATE TEMP TABLE mine (a INT)")
    ask.do("INSERT INTO mine VALUES (1)")
    other.do("DROP TABLE mine", "CREATE TEMP TABLE mine (b VARCHAR(5), c INT)")
    other.do("INSERT INTO mine VALUES ('x', 2)")
    for _ in range(2):
        assert ask.rows("SELECT * FROM mine") == [(1,)]
        assert other.rows("SELECT * FROM mine") == [("x", 2)]
    third = Asker(Session(engine, 3))
    with pytest.raises(WarehouseError, match="does not exist") as refused:
        third.rows("SELECT * FROM mine")
    assert refused.value.sqlstate == "42P01"
    third.session.close()


def test_a_temporary_table_hides_one_of_the_search_path_from_its_session_only(
    ask: Asker, other: Asker
) -> None:
    ask.do("CREATE TABLE public.t (a INT)", "INSERT INTO public.t VALUES (1)")
    ask.do("CREATE TEMP TABLE t (a INT)", "INSERT INTO t VALUES (2)")
    for _ in range(2):
        assert other.value("SELECT a FROM t") == 1
        assert ask.value("SELECT a FROM t") == 2
        assert ask.value("SELECT a FROM public.t") == 1
    ask.do("UPDATE t SET a = 3", "DROP TABLE t")
    assert ask.value("SELECT a FROM t") == 1


def _told(ask: Asker, text: str) -> list[tuple[str, str, int]]:
    """(status, error, rows) that the history has of the statement, oldest first."""
    return ask.rows(
        "SELECT status, error_message, returned_rows FROM sys_query_history "
        "WHERE query_text = $1 ORDER BY query_id",
        text,
    )


def test_the_history_counts_the_rows_that_were_fetched(ask: Asker) -> None:
    text = "SELECT event_id FROM lake.events"
    assert len(ask.rows(text)) == 200
    ask.session.execute(ask.session.prepare(text)).fetch(3)
    assert _told(ask, text) == [("success", "", 200), ("success", "", 3)]
    ask.do("CREATE TABLE mart.t (a INT)")
    assert _told(ask, "CREATE TABLE mart.t (a INT)") == [("success", "", 0)]
    plan = ask.rows("EXPLAIN SELECT 1")
    assert _told(ask, "EXPLAIN SELECT 1") == [("success", "", len(plan))]


def test_a_statement_whose_rows_fail_to_come_is_no_success(ask: Asker, other: Asker) -> None:
    result = other.session.execute(other.session.prepare("SELECT 41"))
    other.session.cursor.close()
    with pytest.raises(duckdb.Error):
        result.fetch(1)
    ((status, error, rows),) = _told(ask, "SELECT 41")
    assert (status, rows) == ("failed", 0)
    assert error != ""


def test_a_failure_that_nobody_foresaw_is_no_success(
    ask: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(writes, "analyze", broken)
    ask.do("BEGIN")
    with pytest.raises(KeyError):
        ask.rows("ANALYZE")
    assert ask.session.status == "E"
    ask.do("ROLLBACK")
    assert _told(ask, "ANALYZE") == [("failed", "KeyError()", 0)]


@pytest.mark.parametrize("before", [[], ["BEGIN"]], ids=["alone", "in a transaction"])
def test_a_file_that_is_gone_is_told_alike_in_and_outside_a_transaction(
    ask: Asker, lake: TinyLake, monkeypatch: pytest.MonkeyPatch, before: list[str]
) -> None:
    def gone(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "m0.avro")

    ask.do("CREATE MATERIALIZED VIEW mart.m AS SELECT sku FROM lake.events")
    lake.land(5)
    monkeypatch.setattr(delta, "plan", gone)
    ask.do(*before)
    with pytest.raises(WarehouseError, match=r"refresh of mart\.m cannot read.*m0\.avro") as failed:
        ask.rows("REFRESH MATERIALIZED VIEW mart.m")
    assert failed.value.sqlstate == "58030"
    ask.do("ROLLBACK")
    ((status, error, _),) = _told(ask, "REFRESH MATERIALIZED VIEW mart.m")
    assert (status, error) == ("failed", str(failed.value))
    monkeypatch.undo()
    ask.do("REFRESH MATERIALIZED VIEW mart.m")
    assert ask.value("SELECT COUNT(*) FROM mart.m") == 205


def test_a_file_that_is_gone_in_any_statement_is_an_input_error(
    ask: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "m0.avro")

    monkeypatch.setattr(writes, "analyze", gone)
    with pytest.raises(WarehouseError, match=r"m0\.avro") as failed:
        ask.rows("ANALYZE")
    assert failed.value.sqlstate == "58030"
