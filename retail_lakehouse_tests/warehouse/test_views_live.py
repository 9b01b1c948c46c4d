"""The views through the wire, over rows that landed in real commits.

Here: creating, refreshing and reading through `redshift_connector` against the stand-in server,
with Iceberg commits in any order. Not here: what each view says case by case (`contracts/`).
"""

import random
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from retail_lakehouse.contracts.fields import Kind
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS, VIEWS, ViewColumn, view_named
from retail_lakehouse.local.recompute.check import check_in
from retail_lakehouse.warehouse.client import Session
from retail_lakehouse.warehouse.ddl import ensure_schemas, ensure_views, grant_reading
from retail_lakehouse.warehouse.errors import WarehouseRefused, WarehouseUnreachable
from retail_lakehouse.warehouse.query import mv_info, read_view, view_freshness
from retail_lakehouse.warehouse.refresh import RefreshOutcome, refresh_views
from retail_lakehouse_tests.warehouse import by_hand
from retail_lakehouse_tests.warehouse.conftest import Lakehouse
from retail_lakehouse_tests.warehouse.raw_rows import RawRows, Row

pytestmark = pytest.mark.stack

INVENTORY, TRANSACTIONS, CLICKSTREAM = map(
    event_table, ("inventory", "transactions", "clickstream")
)


def utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def make_rows(seed: int, count: int) -> dict[Any, list[Row]]:
    raw = RawRows(seed, utc_now())
    return {
        INVENTORY: [raw.inventory() for _ in range(count)],
        TRANSACTIONS: [raw.transaction() for _ in range(count)],
        CLICKSTREAM: [raw.click() for _ in range(count)],
    }


def in_random_commits(lakehouse: Lakehouse, rows: dict[Any, list[Row]], seed: int) -> Any:
    """Shuffles each table's rows and cuts them into commits of random sizes; yields after each."""
    pick = random.Random(seed)
    commits = []
    for contract, of_table in rows.items():
        shuffled = pick.sample(of_table, len(of_table))
        while shuffled:
            size = pick.randrange(1, 200)
            commits.append((contract, shuffled[:size]))
            shuffled = shuffled[size:]
    pick.shuffle(commits)
    for contract, commit in commits:
        lakehouse.land(contract, commit)
        yield contract


def refresh(session: Session) -> None:
    for result in refresh_views(session):
        assert result.ok, result.status
        assert result.incremental is True, result.status


def read_at(session: Session, name: str) -> tuple[datetime, list[Row]]:
    """The view with GETDATE() of the statement that read it."""
    names, found = session.table(f"SELECT GETDATE() AS read_at, shown.* FROM mart.{name} AS shown")
    rows = [dict(zip(names, row, strict=True)) for row in found]
    now = rows[0]["read_at"] if rows else utc_now()
    return now, [{k: v for k, v in row.items() if k != "read_at"} for row in rows]


def bag(rows: list[Row]) -> list[str]:
    return sorted(repr(sorted((k, _plain(v)) for k, v in row.items())) for row in rows)


def _plain(value: object) -> str:
    return str(value.normalize()) if isinstance(value, Decimal) else str(value)


def assert_equal_to_hand(session: Session, rows: dict[Any, list[Row]]) -> None:
    inventory, sales, clicks = (rows[c] for c in (INVENTORY, TRANSACTIONS, CLICKSTREAM))
    everything = [row for of_table in rows.values() for row in of_table]
    expectations: dict[str, Any] = {
        "mv_inventory_realtime": lambda now: by_hand.mv_inventory_realtime(inventory, now),
        "stock_by_category": lambda now: by_hand.stock_by_category(inventory, now),
        "net_available_by_store": lambda now: by_hand.net_available_by_store(inventory, now),
        "sales_by_store_category": lambda _: by_hand.sales_by_store_category(sales),
        "sales_reporting_currency": lambda _: by_hand.sales_reporting_currency(sales),
        "web_funnel": lambda _: by_hand.web_funnel(clicks),
        "pipeline_lag": lambda now: by_hand.pipeline_lag(everything, now),
        "pipeline_age": lambda now: by_hand.pipeline_age(everything, now),
    }
    for name, wanted in expectations.items():
        now, found = read_at(session, name)
        assert bag(found) == bag(wanted(now)), name


def assert_equal_to_raw(session: Session, lakehouse: Lakehouse) -> None:
    for parity in check_in(session, lakehouse.settings):
        assert parity.equal, f"{parity.view}: {parity.example}"


@pytest.mark.parametrize("seed", [1, 2])
def test_views_equal_the_raw_rows_however_they_are_cut_into_commits(
    fresh: Lakehouse, seed: int
) -> None:
    rows = make_rows(seed, 400)
    pick = random.Random(seed)
    with fresh.client.session("tests") as session:
        ensure_schemas(session)
        ensure_views(session)
        for _ in in_random_commits(fresh, rows, seed):
            if pick.random() < 0.3:
                refresh(session)
                assert_equal_to_raw(session, fresh)
        refresh(session)
        assert_equal_to_raw(session, fresh)
        assert_equal_to_hand(session, rows)


class Liar:
    """The session, but the named view shows one unit more in one row."""

    def __init__(self, session: Session, view: str, column: int) -> None:
        self._session, self._view, self._column = session, view, column
        self.statements: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def rows(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        self.statements.append(sql)
        found = [list(row) for row in self._session.rows(sql, parameters)]
        if f"mart.{self._view} " in sql:
            at = 2 if "digest" in sql else self._column
            found[0][at] += 1
        return [tuple(row) for row in found]


@pytest.mark.parametrize(
    ("view", "column"), [("stock_by_category", 2), ("mv_inventory_realtime", 4)]
)
def test_the_recomputation_notices_one_changed_digit(
    lakehouse: Lakehouse, session: Session, view: str, column: int
) -> None:
    for _ in in_random_commits(lakehouse, make_rows(4, 50), 4):
        pass
    refresh(session)
    liar: Any = Liar(session, view, column)
    parities = {parity.view: parity for parity in check_in(liar, lakehouse.settings)}
    assert [name for name, parity in parities.items() if not parity.equal] == [view]
    assert (parities[view].missing, parities[view].unexpected) == (1, 1)
    assert "the raw rows give" in parities[view].example
    # A large view is read row by row only when its digest differs.
    read = [sql for sql in liar.statements if "shown.* FROM mart.mv_inventory_realtime" in sql]
    assert len(read) == (1 if view == "mv_inventory_realtime" else 0)


def test_every_column_has_the_contracts_name_and_a_fitting_type(
    lakehouse: Lakehouse, session: Session
) -> None:
    for _ in in_random_commits(lakehouse, make_rows(5, 60), 5):
        pass
    lakehouse.land(quarantine_table("inventory"), [judged(0, utc_now())])
    refresh(session)
    for view in VIEWS:
        names, rows = session.table(f"SELECT * FROM mart.{view.name}")
        assert names == tuple(column.name for column in view.columns)
        assert rows, view.name
        cursor = session._connection.cursor()
        cursor.execute(f"SELECT * FROM mart.{view.name} LIMIT 0")
        described = [
            (column["type_oid"], column["type_modifier"]) for column in cursor.ps["row_desc"]
        ]
        assert described == [wire_type(column) for column in view.columns], view.name


def wire_type(column: ViewColumn) -> tuple[int, int]:
    """Object id and modifier of the column's declared type, as Redshift sends them."""
    if column.kind is Kind.DECIMAL:
        return 1700, ((column.precision << 16) | column.scale) + 4
    oids = {
        Kind.STRING: 1043,
        Kind.INT: 23,
        Kind.LONG: 20,
        Kind.DATE: 1082,
        Kind.TIMESTAMP: 1114,
        Kind.DOUBLE: 701,
    }
    return oids[column.kind], -1


def test_money_at_the_contracts_edge_goes_through_the_warehouse(
    lakehouse: Lakehouse, session: Session
) -> None:
    at = utc_now() - timedelta(days=40)
    line = {"store_id": "S0001", "sku": "SKU-00001", "channel": "STORE", "currency": "INR"}
    edge = RawRows(12, utc_now()).transaction(
        event_time=at,
        broker_time=at,
        quantity=2**31 - 1,
        unit_price=Decimal("99999999999999.9999"),
        discount=Decimal(0),
        **line,
    )
    lakehouse.land(TRANSACTIONS, [edge, edge | {"quantity": -(2**31)}, edge])
    refresh(session)
    assert_equal_to_raw(session, lakehouse)
    shown = session.rows(
        "SELECT gross_amount FROM mart.sales_by_store_category ORDER BY gross_amount DESC LIMIT 1"
    )
    units = 2 * (2**31 - 1) - 2**31
    assert [(int(row[0] * 10_000),) for row in shown] == [(units * 999_999_999_999_999_999,)]


def judged(
    offset: int, at: datetime, outcome: str = "quarantined", replay: str | None = None
) -> Row:
    return {
        "kafka_topic": "retail.inventory.events",
        "kafka_topic_id": "id-of-inventory",
        "kafka_partition": 0,
        "kafka_offset": offset,
        "kafka_timestamp": at,
        "kafka_key": None,
        "raw": b"\xff",
        "reason": "encoding",
        "detail": "byte 0 is no UTF-8",
        "event_id": None,
        "contract_version": 1,
        "quarantine_date": at.date(),
        "judged_at": at,
        "outcome": outcome,
        "replay_id": replay,
    }


def test_the_quarantine_shows_at_once_without_a_refresh(
    lakehouse: Lakehouse, session: Session
) -> None:
    now = utc_now().replace(microsecond=0)
    rows = [judged(offset, now) for offset in range(100, 103)]
    rows.append(judged(101, now + timedelta(hours=1), "landed", "run-1"))
    lakehouse.land(quarantine_table("inventory"), rows)
    shown = read_view(session, "quarantine").dicts()
    assert bag([row for row in shown if row["kafka_offset"] >= 100]) == bag(
        by_hand.quarantine(rows)
    )


def test_views_are_created_once_and_only_once(fresh: Lakehouse) -> None:
    with (
        fresh.client.session("tests") as session,
        pytest.raises(WarehouseRefused, match="have not been created"),
    ):
        refresh_views(session)
    with fresh.client.session("first") as session:
        ensure_schemas(session)
        changes = ensure_views(session)
        assert [(c.view, c.change) for c in changes] == [(v.name, "created") for v in VIEWS]
    with fresh.client.session("second") as session:
        ensure_schemas(session)
        assert ensure_views(session) == []
        infos = mv_info(session)
        padded = session.rows("SELECT name FROM svv_mv_info WHERE schema_name = 'mart'")
    assert {info.state for info in infos.values()} == {1}
    assert set(infos) == {view.name for view in MATERIALIZED_VIEWS}
    # As Redshift's CHAR(128): a client that does not strip them finds no view.
    assert {row[0] for row in padded} == {name.ljust(128) for name in infos}


def test_a_view_whose_sql_changed_is_made_again_with_those_that_read_it(
    lakehouse: Lakehouse, session: Session
) -> None:
    rows = make_rows(6, 80)
    for _ in in_random_commits(lakehouse, rows, 6):
        pass
    refresh(session)
    session.execute(
        "UPDATE mart.view_definitions SET sql_sha256 = 'of an older release' "
        "WHERE name = 'mv_stock_newest'"
    )
    changes = {c.view: c.reason for c in ensure_views(session)}
    assert changes == {
        "mv_stock_newest": "its SQL changed",
        "stock_now": "mart.mv_stock_newest was made again",
        "mv_inventory_realtime": "mart.stock_now was made again",
        "stock_by_category": "mart.stock_now was made again",
        "net_available_by_store": "mart.stock_now was made again",
    }
    assert_equal_to_raw(session, lakehouse)
    assert ensure_views(session) == []


def test_a_view_that_somebody_dropped_comes_back(lakehouse: Lakehouse, session: Session) -> None:
    session.execute("DROP VIEW mart.web_funnel")
    session.execute("DROP MATERIALIZED VIEW mart.mv_web_sessions")
    changes = {c.view for c in ensure_views(session)}
    assert changes == {"mv_web_sessions", "web_funnel"}
    assert_equal_to_raw(session, lakehouse)


def test_a_view_that_left_the_contract_is_dropped(lakehouse: Lakehouse, session: Session) -> None:
    session.execute("CREATE VIEW mart.of_last_year AS SELECT 1 AS one")
    session.execute(
        "INSERT INTO mart.view_definitions VALUES ('of_last_year', 'plain', 'x', GETDATE())"
    )
    (change,) = ensure_views(session)
    assert (change.view, change.change) == ("of_last_year", "dropped")
    with pytest.raises(WarehouseRefused) as caught:
        session.rows("SELECT one FROM mart.of_last_year")
    assert caught.value.sqlstate == "42P01"


def test_a_refresh_costs_what_arrived_and_says_so(lakehouse: Lakehouse, session: Session) -> None:
    lakehouse.land(INVENTORY, make_rows(7, 50)[INVENTORY])
    first = refresh_views(session)[0]
    again = refresh_views(session)[0]
    assert first.status == "Refresh successfully updated MV incrementally"
    assert again.status == "MV was already updated"
    assert first.rows == again.rows
    assert first.newest_event_ms is not None
    assert first.lag_seconds is not None
    assert first.lag_seconds >= 0


def test_two_refreshes_of_one_view_at_once_leave_it_right(
    lakehouse: Lakehouse, session: Session
) -> None:
    rows = make_rows(8, 100)
    view = view_named("mv_inventory_hourly")
    outcomes: list[RefreshOutcome] = []

    def refresh_one() -> None:
        with lakehouse.client.session("tests:other") as other:
            outcomes.extend(result.outcome for result in refresh_views(other, [view]))

    for _ in in_random_commits(lakehouse, rows, 8):
        threads = [threading.Thread(target=refresh_one) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(outcomes) <= {RefreshOutcome.REFRESHED, RefreshOutcome.BUSY}
    assert outcomes.count(RefreshOutcome.REFRESHED) >= 1
    refresh(session)
    assert_equal_to_raw(session, lakehouse)


def test_the_check_holds_while_refreshes_go_on(lakehouse: Lakehouse, session: Session) -> None:
    rows = make_rows(9, 100)
    done = threading.Event()
    failures: list[str] = []

    def refresh_on() -> None:
        with lakehouse.client.session("tests:refresher") as other:
            while not done.is_set():
                failures.extend(
                    r.status for r in refresh_views(other) if r.outcome is RefreshOutcome.FAILED
                )

    refresher = threading.Thread(target=refresh_on)
    refresher.start()
    try:
        for number, _ in enumerate(in_random_commits(lakehouse, rows, 9)):
            if number % 2 == 0:
                assert_equal_to_raw(session, lakehouse)
    finally:
        done.set()
        refresher.join()
    assert failures == []


def test_a_killed_server_comes_back_with_views_that_are_right(
    lakehouse: Lakehouse, session: Session
) -> None:
    for contract, of_table in make_rows(10, 100).items():
        lakehouse.land(contract, of_table)
    refresh(session)
    for contract, of_table in make_rows(11, 40).items():
        lakehouse.land(contract, of_table)
    lakehouse.stop(kill=True)
    with pytest.raises(WarehouseUnreachable):
        refresh_views(session)
    lakehouse.start()
    with lakehouse.client.session("tests") as again:
        refresh(again)
        assert_equal_to_raw(again, lakehouse)


def test_the_label_of_a_session_goes_with_its_queries(
    lakehouse: Lakehouse, session: Session
) -> None:
    with lakehouse.client.session("run-1234") as labelled:
        view_freshness(labelled, view_named("stock_now"))
    labels = {row[0] for row in session.rows("SELECT DISTINCT query_label FROM sys_query_history")}
    assert "run-1234" in labels


def test_readers_may_be_let_in_by_role(session: Session) -> None:
    grant_reading(session, "retail_reader")
    with pytest.raises(WarehouseRefused, match="cannot be the name of a role"):
        grant_reading(session, "x; DROP SCHEMA mart")
