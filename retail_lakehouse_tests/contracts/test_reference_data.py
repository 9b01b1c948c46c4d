"""Rules of the dimension data: it fits its tables, and the domain's promises hold."""

import csv
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from itertools import groupby, pairwise
from zoneinfo import ZoneInfo

import pytest

from retail_lakehouse.contracts.events import CURRENCIES
from retail_lakehouse.contracts.fields import Kind
from retail_lakehouse.contracts.reference_data import (
    CurrencyRate,
    Product,
    Store,
    currency_rates,
    products,
    stores,
)
from retail_lakehouse.contracts.tables import (
    CURRENCY_RATE,
    DIM_PRODUCT,
    DIM_STORE,
    DIMENSIONS,
    TableContract,
)


@pytest.mark.parametrize("table", DIMENSIONS, ids=lambda table: table.name)
def test_a_data_file_has_exactly_the_columns_of_its_table(table: TableContract) -> None:
    path = files("retail_lakehouse.contracts") / "data" / f"{table.name}.csv"
    header = next(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    assert header == [column.name for column in table.columns]


@pytest.mark.parametrize(
    ("row", "table"),
    [(Store, DIM_STORE), (Product, DIM_PRODUCT), (CurrencyRate, CURRENCY_RATE)],
)
def test_a_reader_has_exactly_the_columns_of_its_table(row: type, table: TableContract) -> None:
    assert [field.name for field in fields(row)] == [column.name for column in table.columns]


def test_money_and_rates_fit_the_scale_of_their_columns() -> None:
    rows: list[tuple[object, TableContract]] = [(product, DIM_PRODUCT) for product in products()]
    rows += [(rate, CURRENCY_RATE) for rate in currency_rates()]
    for row, table in rows:
        for column in table.columns:
            if column.kind is Kind.DECIMAL:
                value = getattr(row, column.name)
                assert value == round(value, column.scale)
                assert value > 0


def test_there_are_340_stores_on_the_map_and_one_virtual_one() -> None:
    physical = [store for store in stores() if not store.is_virtual]
    assert [store.store_id for store in physical] == [f"S{n:04d}" for n in range(1, 341)]
    assert [store.store_id for store in stores() if store.is_virtual] == ["S9000"]
    assert {store.currency for store in physical} == set(CURRENCIES)
    assert len({store.country for store in physical}) == 10
    assert all(-12 < store.latitude < 36 and 60 < store.longitude < 145 for store in physical)


def test_every_time_zone_has_the_stated_offset_in_both_halves_of_the_year() -> None:
    for store in stores():
        zone = ZoneInfo(store.time_zone)
        for month in (1, 7):
            offset = datetime(2026, month, 1, tzinfo=UTC).astimezone(zone).utcoffset()
            assert offset == timedelta(minutes=store.utc_offset_minutes)


def test_opening_hours_lie_within_one_day() -> None:
    for store in stores():
        assert 0 <= store.opens_at_minute < store.closes_at_minute <= 24 * 60


def test_at_any_hour_some_store_is_open() -> None:
    for minute in range(0, 24 * 60, 15):
        assert any(
            store.opens_at_minute
            <= (minute + store.utc_offset_minutes) % (24 * 60)
            < store.closes_at_minute
            for store in stores()
            if not store.is_virtual
        )


def test_there_are_600_products_in_12_categories_sold_above_cost() -> None:
    assert len({product.sku for product in products()}) == 600
    assert len({product.category for product in products()}) == 12
    assert len({product.product_name for product in products()}) == 600
    assert all(product.unit_cost_usd < product.list_price_usd for product in products())
    assert min(product.unit_cost_usd for product in products()) > Decimal("0.05")


def test_each_currency_has_one_rate_on_every_date_of_two_years() -> None:
    by_currency = groupby(currency_rates(), key=lambda rate: rate.currency)
    covered = {}
    for currency, group in by_currency:
        rates = list(group)
        for before, after in pairwise(rates):
            assert after.valid_from == before.valid_to + timedelta(days=1)
        covered[currency] = (rates[0].valid_from, rates[-1].valid_to)
    assert covered == dict.fromkeys(CURRENCIES, (date(2026, 1, 1), date(2027, 12, 31)))
