"""The views' SQL on DuckDB, against the same figures worked out in Python.

Here: what each view says, in process and fast. Not here: the same through the wire and from real
commits (`warehouse/test_views_live.py`).
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from importlib import resources
from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from retail_lakehouse import contracts
from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.fields import Kind
from retail_lakehouse.contracts.reference_data import currency_rates, stores
from retail_lakehouse.contracts.tables import (
    DIMENSIONS,
    QUARANTINE_TABLES,
    TABLES,
    TableContract,
    event_table,
)
from retail_lakehouse.contracts.view_contract import NET_BIAS, WINDOW_HOURS, for_each_event
from retail_lakehouse.contracts.views import (
    EXTERNAL_SCHEMA,
    MART_SCHEMA,
    VIEWS,
    ViewContract,
    ViewContractError,
    view_named,
    view_sql,
)
from retail_lakehouse.tables.dimensions import dimension_rows
from retail_lakehouse_tests.warehouse import by_hand
from retail_lakehouse_tests.warehouse.raw_rows import RawRows, Row, arrow

NOW = datetime(2026, 11, 23, 4, 17, 31)  # noqa: DTZ001 - UTC without zone, like GETDATE()


class Warehouse:
    """The views over tables of one DuckDB, with GETDATE() standing still."""

    def __init__(self, now: datetime = NOW) -> None:
        self.connection = duckdb.connect()
        self.now = now
        self.connection.execute(f"CREATE SCHEMA {EXTERNAL_SCHEMA}; CREATE SCHEMA {MART_SCHEMA}")
        for contract in DIMENSIONS:
            self._store(contract, dimension_rows(contract))
        for contract in TABLES:
            if contract not in DIMENSIONS:
                self.put(contract, [])

    def put(self, contract: TableContract, rows: list[Row]) -> None:
        self._store(contract, arrow(contract, rows))

    def _store(self, contract: TableContract, table: Any) -> None:
        self.connection.register("incoming", table)
        self.connection.execute(
            f"CREATE OR REPLACE TABLE {EXTERNAL_SCHEMA}.{contract.name} AS SELECT * FROM incoming"
        )
        self.connection.unregister("incoming")

    def refresh(self) -> None:
        for view in VIEWS:
            kind = "TABLE" if view.is_materialized else "VIEW"
            query = self._translate(view)
            self.connection.execute(f"CREATE OR REPLACE {kind} {view.qualified_name} AS {query}")

    def _translate(self, view: ViewContract) -> str:
        query = sqlglot.parse_one(view_sql(view), read="redshift").expression
        for node in list(query.find_all(exp.CurrentTimestamp)):
            node.replace(exp.cast(exp.Literal.string(self.now.isoformat(sep=" ")), "TIMESTAMP"))
        return str(query.sql("duckdb"))

    def read(self, name: str) -> list[Row]:
        cursor = self.connection.execute(f"SELECT * FROM {MART_SCHEMA}.{name}")
        names = [column[0] for column in cursor.description]
        assert names == [column.name for column in view_named(name).columns]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def same(found: list[Row], wanted: list[Row]) -> bool:
    """Equal as bags of rows, to the last digit."""
    assert sorted(map(_key, found)) == sorted(map(_key, wanted))
    return True


def _key(row: Row) -> str:
    return repr(sorted((name, str(value)) for name, value in row.items() if value is not None))


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    opened = Warehouse()
    yield opened
    opened.connection.close()


@pytest.fixture
def raw() -> RawRows:
    return RawRows(seed=7, now=NOW)


INVENTORY, TRANSACTIONS, CLICKSTREAM = map(
    event_table, ("inventory", "transactions", "clickstream")
)


def inventory(warehouse: Warehouse, rows: list[Row]) -> dict[tuple[str, str], Row]:
    warehouse.put(INVENTORY, rows)
    warehouse.refresh()
    found = warehouse.read("mv_inventory_realtime")
    assert same(found, by_hand.mv_inventory_realtime(rows, warehouse.now))
    return {(row["store_id"], row["sku"]): row for row in found}


def test_inventory_views_equal_the_figures_worked_out_row_by_row(
    warehouse: Warehouse, raw: RawRows
) -> None:
    rows = [raw.inventory() for _ in range(1500)]
    inventory(warehouse, rows)
    assert same(warehouse.read("stock_by_category"), by_hand.stock_by_category(rows, NOW))
    assert same(warehouse.read("net_available_by_store"), by_hand.net_available_by_store(rows, NOW))


def test_sales_views_equal_the_figures_worked_out_row_by_row(
    warehouse: Warehouse, raw: RawRows
) -> None:
    rows = [raw.transaction() for _ in range(1500)]
    warehouse.put(TRANSACTIONS, rows)
    warehouse.refresh()
    found = warehouse.read("sales_by_store_category")
    assert same(found, by_hand.sales_by_store_category(rows))
    found = warehouse.read("sales_reporting_currency")
    assert same(found, by_hand.sales_reporting_currency(rows))


def test_the_funnel_equals_the_figures_worked_out_visit_by_visit(
    warehouse: Warehouse, raw: RawRows
) -> None:
    rows = [raw.click() for _ in range(400)]
    warehouse.put(CLICKSTREAM, rows)
    warehouse.refresh()
    assert same(warehouse.read("web_funnel"), by_hand.web_funnel(rows))


def test_pipeline_views_equal_the_figures_worked_out_row_by_row(
    warehouse: Warehouse, raw: RawRows
) -> None:
    tables = {
        INVENTORY: [raw.inventory() for _ in range(300)],
        TRANSACTIONS: [raw.transaction() for _ in range(300)],
        CLICKSTREAM: [raw.click() for _ in range(300)],
    }
    for contract, rows in tables.items():
        warehouse.put(contract, rows)
    warehouse.refresh()
    everything = [row for rows in tables.values() for row in rows]
    assert same(warehouse.read("pipeline_lag"), by_hand.pipeline_lag(everything, NOW))
    assert same(warehouse.read("pipeline_age"), by_hand.pipeline_age(everything, NOW))


def test_the_quarantine_view_shows_each_record_once_with_its_latest_outcome(
    warehouse: Warehouse,
) -> None:
    everything = []
    for number, contract in enumerate(QUARANTINE_TABLES):
        rows = [_judged(number, offset, NOW) for offset in range(4)]
        rows.append(_judged(number, 1, NOW + timedelta(hours=1), "landed", "run-1"))
        rows.append(_judged(number, 2, NOW + timedelta(hours=1), "kept", "run-1"))
        rows.append(_judged(number, 2, NOW + timedelta(hours=2), "landed", "run-2"))
        # Judged in the same instant as the original: the replay is still the later word.
        rows.append(_judged(number, 3, NOW, "duplicate", "run-3"))
        # The broker lost the record at offset 3, and gave its offset to this one.
        rows.append(_judged(number, 3, NOW) | {"kafka_timestamp": NOW + timedelta(seconds=1)})
        warehouse.put(contract, rows)
        everything += rows
    warehouse.refresh()
    found = warehouse.read("quarantine")
    assert same(found, by_hand.quarantine(everything))
    found.sort(key=lambda r: (r["kafka_offset"], r["kafka_timestamp"]))
    assert [row["outcome"] for row in found[::3]] == [
        "quarantined",
        "landed",
        "landed",
        "duplicate",
        "quarantined",
    ]


def _judged(
    number: int, offset: int, at: datetime, outcome: str = "quarantined", replay: str | None = None
) -> Row:
    return {
        "kafka_topic": f"topic-{number}",
        "kafka_topic_id": f"id-{number}",
        "kafka_partition": 0,
        "kafka_offset": offset,
        "kafka_timestamp": NOW,
        "kafka_key": None,
        "raw": b"\xff",
        "reason": "encoding",
        "detail": "byte 0 is no UTF-8",
        "event_id": None,
        "contract_version": 1,
        "quarantine_date": NOW.date(),
        "judged_at": at,
        "outcome": outcome,
        "replay_id": replay,
    }


def test_a_pair_without_an_event_in_the_window_stays_listed_with_no_units(
    warehouse: Warehouse, raw: RawRows
) -> None:
    old = NOW - timedelta(days=30)
    found = inventory(
        warehouse,
        [
            raw.inventory(
                event_time=old,
                broker_time=old,
                store_id="S0001",
                sku="SKU-00001",
                event_type="RECEIVE",
                quantity_delta=5,
                quantity_on_hand=9,
                quantity_reserved=2,
            )
        ],
    )
    row = found["S0001", "SKU-00001"]
    assert (row["units_received"], row["units_sold"], row["net_available"]) == (0, 0, 7)
    assert row["last_updated"] == old


def test_the_window_is_the_running_hour_and_the_168_before_it(
    warehouse: Warehouse, raw: RawRows
) -> None:
    hour = NOW.replace(minute=0, second=0)
    first = hour - timedelta(hours=WINDOW_HOURS)
    moments = {
        1: first - timedelta(milliseconds=1),
        10: first,
        100: hour + timedelta(hours=1, milliseconds=-1),
        1000: hour + timedelta(hours=1),
    }
    pair = {"store_id": "S0001", "sku": "SKU-00001", "event_type": "RECEIVE"}
    rows = [
        raw.inventory(event_time=at, broker_time=at, quantity_delta=units, **pair)
        for units, at in moments.items()
    ]
    assert inventory(warehouse, rows)["S0001", "SKU-00001"]["units_received"] == 110


def test_a_transfer_is_neither_sold_nor_received_but_moves_net_available(
    warehouse: Warehouse, raw: RawRows
) -> None:
    pair = {"store_id": "S0001", "sku": "SKU-00001", "event_type": "TRANSFER"}
    rows = [
        raw.inventory(
            event_time=NOW - timedelta(minutes=minutes),
            broker_time=NOW,
            quantity_delta=delta,
            quantity_on_hand=on_hand,
            quantity_reserved=0,
            **pair,
        )
        for minutes, delta, on_hand in ((3, -5, 20), (2, 8, 28))
    ]
    row = inventory(warehouse, rows)["S0001", "SKU-00001"]
    assert (row["units_received"], row["units_sold"], row["net_available"]) == (0, 0, 28)


def test_a_clock_that_is_ahead_does_not_hide_the_age_of_a_pair(
    warehouse: Warehouse, raw: RawRows
) -> None:
    row = raw.inventory(
        event_time=NOW + timedelta(minutes=9),
        broker_time=NOW - timedelta(seconds=40),
        store_id="S0001",
        sku="SKU-00001",
    )
    assert inventory(warehouse, [row])["S0001", "SKU-00001"]["lag_seconds"] == 40


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"kafka_partition": 9, "kafka_offset": 5}, {"kafka_partition": 10, "kafka_offset": 4}),
        ({"kafka_partition": 1, "kafka_offset": 99}, {"kafka_partition": 1, "kafka_offset": 100}),
        (
            {"kafka_partition": None, "kafka_offset": None},
            {"kafka_partition": 0, "kafka_offset": 0},
        ),
        (
            {"kafka_partition": 0, "kafka_offset": 2**63 - 3},
            {"kafka_partition": 0, "kafka_offset": 2**63 - 2},
        ),
    ],
)
def test_of_one_instant_the_greatest_partition_and_offset_give_the_stock(
    warehouse: Warehouse, raw: RawRows, first: Row, second: Row
) -> None:
    pair = {"store_id": "S0001", "sku": "SKU-00001", "quantity_reserved": 0}
    rows = [
        raw.inventory(event_time=NOW, broker_time=NOW, quantity_on_hand=90, **pair) | first,
        raw.inventory(event_time=NOW, broker_time=NOW, quantity_on_hand=3, **pair) | second,
    ]
    for order in (rows, rows[::-1]):
        assert inventory(warehouse, order)["S0001", "SKU-00001"]["net_available"] == 3


@pytest.mark.parametrize(
    ("on_hand", "reserved"), [(-(2**31), 2**31 - 1), (2**31 - 1, 0), (0, 0), (-1, 0)]
)
def test_net_available_survives_packing_at_the_contracts_limits(
    warehouse: Warehouse, raw: RawRows, on_hand: int, reserved: int
) -> None:
    row = raw.inventory(
        store_id="S0001", sku="SKU-00001", quantity_on_hand=on_hand, quantity_reserved=reserved
    )
    found = inventory(warehouse, [row])["S0001", "SKU-00001"]
    assert found["net_available"] == on_hand - reserved
    assert len(str(NET_BIAS + 2**31)) <= 10


def test_a_sale_at_the_limit_of_an_int_does_not_stop_the_refresh(
    warehouse: Warehouse, raw: RawRows
) -> None:
    limit = {"event_type": "SALE", "quantity_delta": -(2**31), "event_time": NOW}
    rows = [raw.inventory(store_id="S0001", sku="SKU-00001", **limit) for _ in range(3)]
    assert inventory(warehouse, rows)["S0001", "SKU-00001"]["units_sold"] == 3 * 2**31


@pytest.mark.parametrize(
    ("store_id", "offset_minutes"), [("S0001", 330), ("S0340", 480), ("S9000", 480)]
)
def test_a_sale_counts_on_the_stores_local_date(
    warehouse: Warehouse, raw: RawRows, store_id: str, offset_minutes: int
) -> None:
    midnight = datetime(2026, 11, 22) - timedelta(minutes=offset_minutes)  # noqa: DTZ001
    rows = [
        raw.transaction(store_id=store_id, event_time=moment, broker_time=moment, quantity=1)
        for moment in (midnight - timedelta(milliseconds=1), midnight)
    ]
    warehouse.put(TRANSACTIONS, rows)
    warehouse.refresh()
    days = {str(row["business_date"]) for row in warehouse.read("sales_by_store_category")}
    assert days == {"2026-11-21", "2026-11-22"}


EDGE_PRICE = Decimal("99999999999999.9999")
EDGE_QUANTITY = 2**31 - 1


@pytest.mark.parametrize("sign", [1, -1])
def test_lines_of_the_greatest_price_and_quantity_are_summed_to_the_last_digit(
    warehouse: Warehouse, raw: RawRows, sign: int
) -> None:
    line = {
        "store_id": "S0001",
        "sku": "SKU-00001",
        "channel": "STORE",
        "currency": "INR",
        "event_time": NOW,
        "broker_time": NOW,
        "quantity": sign * EDGE_QUANTITY,
        "unit_price": EDGE_PRICE,
        "discount": EDGE_PRICE,
    }
    warehouse.put(TRANSACTIONS, [raw.transaction(**line) for _ in range(3)])
    warehouse.refresh()
    (sale,) = warehouse.read("sales_by_store_category")
    (told,) = warehouse.read("sales_reporting_currency")
    (rate,) = (
        rate.rate
        for rate in currency_rates()
        if rate.currency == "INR" and rate.valid_from <= sale["business_date"] <= rate.valid_to
    )
    with localcontext() as exactly:
        exactly.prec = 60
        gross = 3 * sign * EDGE_QUANTITY * EDGE_PRICE
        net = gross - 3 * sign * EDGE_PRICE
        assert (sale["gross_amount"], sale["net_amount"]) == (gross, net)
        converted = (net * rate).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    assert told["net_amount"] == converted


def test_every_store_begins_its_day_at_a_quarter_of_an_hour_utc() -> None:
    assert all(store.utc_offset_minutes % 15 == 0 for store in stores())


def test_rows_in_any_order_give_the_same_views(warehouse: Warehouse, raw: RawRows) -> None:
    rows = [raw.inventory() for _ in range(300)]
    before = inventory(warehouse, rows)
    random.Random(3).shuffle(rows)
    assert inventory(warehouse, rows) == before


def test_columns_of_each_view_are_those_of_its_contract(warehouse: Warehouse) -> None:
    warehouse.refresh()
    for view in VIEWS:
        described = warehouse.connection.execute(f"DESCRIBE {view.qualified_name}").fetchall()
        assert [row[0] for row in described] == [column.name for column in view.columns], view.name


def test_a_view_comes_after_everything_it_reads_and_names_it_all() -> None:
    tables = {f"{EXTERNAL_SCHEMA}.{table.name}" for table in TABLES}
    made: set[str] = set()
    for view in VIEWS:
        assert set(view.depends_on) <= tables | made, view.name
        read = {
            f"{table.db}.{table.name}"
            for table in sqlglot.parse_one(view_sql(view), read="redshift").find_all(exp.Table)
            if table.db
        }
        assert read - {view.qualified_name} == set(view.depends_on), view.name
        made.add(view.qualified_name)


def test_what_hangs_on_the_clock_or_on_dimensions_stands_in_plain_views_only() -> None:
    dimensions = {f"{EXTERNAL_SCHEMA}.{table.name}" for table in DIMENSIONS}
    for view in VIEWS:
        tree = sqlglot.parse_one(view_sql(view), read="redshift")
        if view.is_materialized:
            assert not list(tree.find_all(exp.CurrentTimestamp, exp.Join, exp.Window, exp.Union))
            assert not dimensions.intersection(view.depends_on)
            assert view.expected_incremental
            assert view.newest_column == "newest_ts"
            assert "AUTO REFRESH NO" in view_sql(view)
        else:
            # Redshift demands it of a view over external tables.
            assert view_sql(view).endswith("WITH NO SCHEMA BINDING")


def test_money_is_never_a_double() -> None:
    for view in VIEWS:
        for column in view.columns:
            if "amount" in column.name:
                assert column.kind is Kind.DECIMAL
                assert (column.precision, column.scale) == (38, 4)


def test_the_window_in_the_sql_is_the_contracts() -> None:
    assert f"DATEADD(hour, -{WINDOW_HOURS}," in view_sql(view_named("mv_inventory_realtime"))
    assert f"+ {NET_BIAS}" in view_sql(view_named("mv_stock_newest"))
    assert f"- {NET_BIAS}" in view_sql(view_named("stock_now"))


def test_no_statement_holds_a_percent_sign_or_a_second_statement() -> None:
    for view in VIEWS:
        assert "%" not in view_sql(view), "the driver would take it for a parameter"
        assert len(sqlglot.parse(view_sql(view), read="redshift")) == 1
        assert "{" not in view_sql(view)


def test_a_view_over_all_topics_has_a_branch_an_event_and_names_none() -> None:
    text = "(\n  {for_each_event}\n  SELECT a\n  FROM mv_{event}\n  {union_all}\n)"
    branches = [f"  SELECT a\n  FROM mv_{event.name}\n" for event in EVENTS]
    assert for_each_event(text) == "(\n" + "  UNION ALL\n".join(branches) + ")"
    for name in ("pipeline_age", "pipeline_lag", "quarantine"):
        file = resources.files(contracts).joinpath("sql", f"{name}.sql")
        assert not [event.name for event in EVENTS if event.name in file.read_text("utf-8")]


def test_a_name_that_is_no_identifier_never_reaches_the_sql() -> None:
    from dataclasses import replace

    arrivals = view_named("mv_inventory_arrivals")
    with pytest.raises(ViewContractError, match="needs a lower-case identifier as view"):
        view_sql(replace(arrivals, name="x; DROP TABLE y"))
    with pytest.raises(ViewContractError, match="which is no table"):
        view_sql(replace(arrivals, depends_on=(f"{EXTERNAL_SCHEMA}.nowhere",)))


def test_an_unknown_view_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ViewContractError, match="mv_inventory_realtime"):
        view_named("nothing")
