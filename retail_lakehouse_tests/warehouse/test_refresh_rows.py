"""Counting plain views costs what was refreshed before nothing; the warehouse here is a script."""

from typing import Any

import pytest

from retail_lakehouse.contracts.views import VIEWS
from retail_lakehouse.warehouse.client import Session, WarehouseConfig
from retail_lakehouse.warehouse.refresh_rows import COUNT_TIMEOUT_SECONDS, count_rows

PLAIN = [view for view in VIEWS if not view.is_materialized]


class Connection:
    """Counts every view as 42 rows, but refuses some and breaks at one."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.refused: set[str] = set()
        self.breaks_at = ""
        self.description: list[tuple[str]] | None = None

    def cursor(self) -> "Connection":
        return self

    def close(self) -> None:
        pass

    def execute(self, sql: str, parameters: object) -> None:
        from redshift_connector.error import InterfaceError, ProgrammingError

        self.statements.append(sql)
        self.description = None if sql.startswith("SET") else [("row_count",)]
        view = sql.rpartition(".")[2]
        if sql in self.refused or view in self.refused:
            raise ProgrammingError({"C": "57014", "M": "Query cancelled on user's request"})
        if view == self.breaks_at:
            raise InterfaceError("connection is closed")

    def fetchall(self) -> list[tuple[Any, ...]]:
        return [(42,)]


def session_of(connection: Connection, statement_timeout_seconds: int = 600) -> Session:
    config = WarehouseConfig(
        "127.0.0.1", 1, "dev", statement_timeout_seconds=statement_timeout_seconds
    )
    return Session(connection, config, 0.0)


def test_every_view_asked_for_is_counted_by_one_statement() -> None:
    connection = Connection()
    assert count_rows(session_of(connection), PLAIN) == {view.name: 42 for view in PLAIN}
    counts = [text for text in connection.statements if not text.startswith("SET ")]
    assert len(counts) == len(PLAIN)


def test_no_view_to_count_is_no_statement() -> None:
    connection = Connection()
    assert count_rows(session_of(connection), []) == {}
    assert connection.statements == []


@pytest.mark.parametrize(("setting", "seconds"), [(600, COUNT_TIMEOUT_SECONDS), (5, 5)])
def test_a_count_is_stopped_sooner_than_a_query_and_never_later(setting: int, seconds: int) -> None:
    connection = Connection()
    count_rows(session_of(connection, setting), PLAIN, clock=lambda: 7.0)
    assert connection.statements[0] == f"SET statement_timeout TO {seconds * 1000}"


def test_all_the_counts_of_a_session_together_have_the_time_of_one() -> None:
    connection = Connection()
    # Looked at when counting begins, and before each view.
    instants = iter([0.0, 0.0, COUNT_TIMEOUT_SECONDS - 1.0, COUNT_TIMEOUT_SECONDS + 0.0])
    counts = count_rows(session_of(connection), PLAIN, clock=lambda: next(instants))
    assert [name for name, rows in counts.items() if rows == 42] == [v.name for v in PLAIN[:2]]
    assert connection.statements[2] == "SET statement_timeout TO 1000"
    # A timeout of 0 would be none at all.
    assert "SET statement_timeout TO 0" not in connection.statements


def test_a_view_that_is_refused_does_not_keep_the_others_from_being_counted() -> None:
    connection = Connection()
    connection.refused = {"stock_now"}
    counts = count_rows(session_of(connection), PLAIN)
    assert [name for name, rows in counts.items() if rows is None] == ["stock_now"]


def test_a_session_that_takes_no_timeout_counts_nothing_and_raises_nothing() -> None:
    connection = Connection()
    connection.refused = {f"SET statement_timeout TO {COUNT_TIMEOUT_SECONDS * 1000}"}
    counts = count_rows(session_of(connection), PLAIN, clock=lambda: 7.0)
    assert counts == dict.fromkeys(view.name for view in PLAIN)


def test_a_connection_that_breaks_is_asked_nothing_more_and_raises_nothing() -> None:
    connection = Connection()
    connection.breaks_at = PLAIN[1].name
    counts = count_rows(session_of(connection), PLAIN)
    assert counts[PLAIN[0].name] == 42
    assert {rows for name, rows in counts.items() if name != PLAIN[0].name} == {None}
    assert PLAIN[2].name not in " ".join(connection.statements)
