"""Rules of what a refresh is told by: its own row, its own notices, and only if it was one."""

import fcntl
from pathlib import Path

import pytest

from retail_lakehouse.contracts.views import view_named
from retail_lakehouse.warehouse.client import Session, WarehouseConfig
from retail_lakehouse.warehouse.errors import WarehouseRefused
from retail_lakehouse.warehouse.query import BROKEN_STATES_FROM
from retail_lakehouse.warehouse.refresh import RefreshOutcome, refresh_views
from retail_lakehouse_tests.warehouse.test_refresh import INCREMENTALLY, Connection

HOURLY = view_named("mv_inventory_hourly")
FROM_SCRATCH = "Refresh successfully recomputed MV from scratch"


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def session(connection: Connection) -> Session:
    return Session(connection, WarehouseConfig("127.0.0.1", 1, "dev"), 0.0)


def test_a_view_that_the_book_does_not_have_is_not_refreshed(
    session: Session, connection: Connection
) -> None:
    del connection.definitions[HOURLY.name]
    (result,) = refresh_views(session, [HOURLY])
    assert result.outcome is RefreshOutcome.FAILED
    assert not any(sql.startswith("REFRESH") for sql in connection.statements)


def test_of_several_rows_of_the_history_the_newest_is_this_refreshs(
    session: Session, connection: Connection
) -> None:
    for status, incremental in (
        (INCREMENTALLY, True),
        (FROM_SCRATCH, False),
        (INCREMENTALLY, True),
    ):
        connection.status = status
        (result,) = refresh_views(session, [HOURLY])
        assert (result.status, result.incremental) == (status, incremental)
        assert result.duration_seconds == 1.5


def test_a_notice_from_before_the_refresh_says_nothing_of_it(
    session: Session, connection: Connection
) -> None:
    connection.late = True
    connection.notices.append({b"M": b"mv_stock_newest was recomputed from scratch."})
    (result,) = refresh_views(session, [HOURLY])
    assert result.status == "mv_inventory_hourly was updated incrementally."
    assert result.incremental is True


def test_a_refresh_that_failed_was_neither_incremental_nor_in_full(
    session: Session, connection: Connection
) -> None:
    connection.fails, connection.message = {HOURLY.name}, "cannot be updated incrementally"
    (result,) = refresh_views(session, [HOURLY])
    assert (result.outcome, result.incremental) == (RefreshOutcome.FAILED, None)


@pytest.mark.parametrize(
    "state, fails, told",
    [
        (BROKEN_STATES_FROM, True, True),
        (BROKEN_STATES_FROM - 1, True, False),
        (BROKEN_STATES_FROM, False, False),
    ],
)
def test_a_failure_that_no_refresh_can_mend_says_what_can(
    session: Session, connection: Connection, state: int, fails: bool, told: bool
) -> None:
    connection.state, connection.fails = state, {HOURLY.name} if fails else set()
    (result,) = refresh_views(session, [HOURLY])
    assert result.ok is not fails
    assert ("no refresh can mend it" in result.status) is told


def test_what_another_refresh_left_in_the_history_is_not_told_of_one_that_was_busy(
    session: Session, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh = connection._refresh

    def overtaken(view: str) -> None:
        connection.fails = set()
        refresh(view)
        connection.fails, connection.message = {view}, "1023"
        refresh(view)

    monkeypatch.setattr(connection, "_refresh", overtaken)
    (result,) = refresh_views(session, [HOURLY])
    assert result.outcome is RefreshOutcome.BUSY
    assert "1023" in result.status
    assert result.duration_seconds < 1.5


def test_a_view_that_another_process_refreshes_is_busy(
    connection: Connection, tmp_path: Path
) -> None:
    session = Session(connection, WarehouseConfig("127.0.0.1", 1, "dev", lock_dir=tmp_path), 0.0)
    with (tmp_path / f"view-{HOURLY.name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert refresh_views(session, [HOURLY])[0].outcome is RefreshOutcome.BUSY
    assert refresh_views(session, [HOURLY])[0].ok


def test_a_warehouse_without_the_book_of_views_says_how_they_are_made(
    session: Session, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redshift_connector.error import ProgrammingError

    def refuse(sql: str, parameters: object) -> None:
        raise ProgrammingError({"C": "42P01", "M": "relation view_definitions does not exist"})

    monkeypatch.setattr(connection, "execute", refuse)
    with pytest.raises(WarehouseRefused, match="have not been created in this") as caught:
        refresh_views(session, [HOURLY])
    assert caught.value.sqlstate == "42P01"


def test_every_result_of_a_session_tells_how_long_its_first_statement_took(
    session: Session,
) -> None:
    results = refresh_views(session)
    assert session.first_statement_seconds is not None
    assert session.first_statement_seconds > 0.0
    assert {each.latency_seconds for each in results} == {session.first_statement_seconds}


def test_a_recomputation_is_one_in_any_words(session: Session, connection: Connection) -> None:
    for connection.status in ("MV was recomputed", "MV was built from scratch"):
        assert refresh_views(session, [HOURLY])[0].incremental is False
