"""Rules of what a refresh is told by: its own row, its own notices, and only if it was one."""

import pytest

from retail_lakehouse.contracts.views import view_named
from retail_lakehouse.warehouse.client import Session, WarehouseConfig
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


def test_a_recomputation_is_one_in_any_words(session: Session, connection: Connection) -> None:
    for connection.status in ("MV was recomputed", "MV was built from scratch"):
        assert refresh_views(session, [HOURLY])[0].incremental is False
