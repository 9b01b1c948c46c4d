"""What is one session's own, and what the history says of its statements."""

from collections.abc import Iterator

import pytest

from retail_lakehouse.local.warehouse.engine import Engine
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.session import Session
from retail_lakehouse_tests.local.warehouse.conftest import Asker


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
