"""What a refresh makes of the warehouse's answers; the warehouse here is a script."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retail_lakehouse.contracts.views import (
    MATERIALIZED_VIEWS,
    VIEWS,
    ViewContractError,
    view_named,
)
from retail_lakehouse.warehouse.client import Session, WarehouseConfig
from retail_lakehouse.warehouse.ddl import definition_hash, ensure_views, grant_reading
from retail_lakehouse.warehouse.errors import ViewNotIncremental, WarehouseRefused
from retail_lakehouse.warehouse.guard import view_guard
from retail_lakehouse.warehouse.query import truth
from retail_lakehouse.warehouse.refresh import RefreshOutcome, refresh_views

NOW = datetime(2026, 11, 23, 4, 17, 31)  # noqa: DTZ001 - UTC without zone, as Redshift sends it
INCREMENTALLY = "Refresh successfully updated MV incrementally"
HOURLY = view_named("mv_inventory_hourly")
NEWEST = view_named("mv_stock_newest")


class Connection:
    """Answers the client's statements; `history` grows with every refresh unless it is `late`."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.notices: list[dict[bytes, bytes]] = []
        self.history: list[tuple[object, ...]] = []
        self.definitions = {v.name: definition_hash(v) for v in MATERIALIZED_VIEWS}
        self.state: Any = 1
        self.status = INCREMENTALLY
        self.late = False
        self.fails: set[str] = set()
        self.message = "it broke"
        self.description: list[tuple[str]] | None = None
        self._rows: Sequence[tuple[object, ...]] = ()

    def cursor(self) -> "Connection":
        return self

    def close(self) -> None:
        self.description = None

    def fetchall(self) -> Sequence[tuple[object, ...]]:
        return self._rows

    def execute(self, sql: str, parameters: object) -> None:
        self.statements.append(sql)
        self.description, self._rows = None, ()
        if sql.startswith("REFRESH"):
            self._refresh(sql.rsplit(".", 1)[1])
        elif "view_definitions" in sql and sql.startswith("SELECT"):
            self._answer([(n, "materialized", digest) for n, digest in self.definitions.items()])
        elif "sys_mv_refresh_history" in sql:
            self._answer(self.history[::-1])
        elif "svv_mv_info" in sql:
            # CHAR(128), as Redshift documents the column.
            self._answer(
                [("mart", v.name.ljust(128), "u", self.state, 0) for v in MATERIALIZED_VIEWS]
            )
        elif "view_rows" in sql:
            self._answer([(42, NOW - timedelta(seconds=40, milliseconds=250), NOW)])

    def _answer(self, rows: list[Any]) -> None:
        self.description, self._rows = [("column",)], rows

    def _refresh(self, view: str) -> None:
        from redshift_connector.error import ProgrammingError

        if view in self.fails:
            raise ProgrammingError({"C": "XX000", "M": self.message})
        self.notices.append({b"M": f"{view} was updated incrementally.".encode()})
        if not self.late:
            start = NOW + timedelta(seconds=len(self.history))
            self.history.append((view.ljust(128), "Manual", self.status, start, start, 1_500_000))


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def session(connection: Connection) -> Session:
    return Session(connection, WarehouseConfig("127.0.0.1", 1, "dev"), 0.0)


def test_a_refresh_reports_what_the_system_views_say(session: Session) -> None:
    (result,) = refresh_views(session, [HOURLY])
    assert (result.view, result.outcome, result.ok) == ("mv_inventory_hourly", "refreshed", True)
    assert (result.status, result.incremental, result.state) == (INCREMENTALLY, True, 1)
    assert (result.duration_seconds, result.rows) == (1.5, 42)
    newest = datetime(2026, 11, 23, 4, 16, 50, 750_000, tzinfo=UTC)
    assert result.newest_event_ms == int(newest.timestamp() * 1000)
    assert result.lag_seconds == 40.25
    assert result.latency_seconds is not None


@pytest.mark.parametrize(
    ("status", "incremental"),
    [
        (INCREMENTALLY, True),
        ("MV was already updated", True),
        ("Refresh partially updated MV incrementally up to an active transaction", True),
        ("Refresh successfully recomputed MV from scratch", False),
        ("something new", None),
    ],
)
def test_each_status_text_says_whether_it_was_incremental(
    session: Session, connection: Connection, status: str, incremental: bool | None
) -> None:
    connection.status = status
    assert refresh_views(session, [HOURLY])[0].incremental is incremental


def test_an_older_row_of_the_history_is_not_taken_for_this_refresh(
    session: Session, connection: Connection
) -> None:
    connection.status = "Refresh successfully recomputed MV from scratch"
    refresh_views(session, [HOURLY])
    connection.late = True
    (result,) = refresh_views(session, [HOURLY])
    assert result.status == "mv_inventory_hourly was updated incrementally."
    assert result.incremental is True


def test_a_view_that_fails_does_not_hold_up_the_others(
    session: Session, connection: Connection
) -> None:
    connection.fails = {"mv_inventory_hourly"}
    failed, refreshed = refresh_views(session, [HOURLY, NEWEST])
    assert (failed.outcome, failed.incremental) == (RefreshOutcome.FAILED, None)
    assert "it broke" in failed.status
    assert refreshed.ok


def test_a_view_that_is_being_refreshed_is_reported_as_busy(session: Session) -> None:
    with view_guard("mv_inventory_hourly", None):
        busy, refreshed = refresh_views(session, [HOURLY, NEWEST])
    assert busy.outcome is RefreshOutcome.BUSY
    assert "did nothing" in busy.status
    assert refreshed.ok


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("1023", RefreshOutcome.BUSY),
        ("1023 DETAIL: Serializable isolation violation on table 7", RefreshOutcome.BUSY),
        ("ERROR: 1023 DETAIL: something", RefreshOutcome.BUSY),
        ("Serializable isolation violation on table in transaction", RefreshOutcome.BUSY),
        ("Disk full after 1023 blocks", RefreshOutcome.FAILED),
        ("Invalid digit, Value '1023', Pos 0", RefreshOutcome.FAILED),
        ("relation 10230 is gone", RefreshOutcome.FAILED),
    ],
)
def test_only_redshifts_own_conflict_counts_as_busy(
    session: Session, connection: Connection, message: str, outcome: RefreshOutcome
) -> None:
    connection.fails, connection.message = {"mv_inventory_hourly"}, message
    assert refresh_views(session, [HOURLY])[0].outcome is outcome


def test_a_view_that_is_not_the_contracts_is_not_refreshed(
    session: Session, connection: Connection
) -> None:
    connection.definitions["mv_inventory_hourly"] = "of an older release"
    (result,) = refresh_views(session, [HOURLY])
    assert result.outcome is RefreshOutcome.FAILED
    assert "Bring the views to their contracts" in result.status
    assert not any(sql.startswith("REFRESH") for sql in connection.statements)


def test_a_plain_view_cannot_be_refreshed(session: Session) -> None:
    with pytest.raises(ViewContractError, match="Refresh what it reads: mart"):
        refresh_views(session, [view_named("web_funnel")])


def test_system_views_are_read_once_for_all_views_of_a_session(
    session: Session, connection: Connection
) -> None:
    refresh_views(session)
    # The book, the history before and after, the states; then a refresh and a reading a view.
    assert len(connection.statements) == 4 + 2 * len(MATERIALIZED_VIEWS)


def test_a_view_that_would_be_recomputed_in_full_is_not_accepted(
    session: Session, connection: Connection
) -> None:
    connection.state = 0
    connection.definitions = {}
    with pytest.raises(ViewNotIncremental, match="state 0, not 1"):
        ensure_views(session, [HOURLY])
    assert not any(sql.startswith("INSERT") for sql in connection.statements)


def test_a_reader_is_let_in_by_the_names_of_the_views(
    session: Session, connection: Connection
) -> None:
    grant_reading(session, "analyst")
    usage, named = connection.statements[:2], connection.statements[2:]
    assert usage == [
        "GRANT USAGE ON SCHEMA mart TO ROLE analyst",
        "GRANT USAGE ON SCHEMA retail_iceberg TO ROLE analyst",
    ]
    assert named == [f"GRANT SELECT ON TABLE mart.{v.name} TO ROLE analyst" for v in VIEWS]


def test_a_name_that_is_no_identifier_never_becomes_sql() -> None:
    from retail_lakehouse.warehouse.query import named

    with pytest.raises(WarehouseRefused, match="cannot be the name of a view"):
        named("SELECT * FROM {mart}.{view}", "x; DROP TABLE y")


@pytest.mark.parametrize(
    ("value", "meaning"),
    [("t", True), ("f", False), (1, True), (0, False), (True, True), ("u", None), (None, None)],
)
def test_both_spellings_of_yes_and_no_are_read(value: object, meaning: bool | None) -> None:
    assert truth(value) is meaning
