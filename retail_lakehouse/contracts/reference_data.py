"""The dimension data as typed, frozen rows, read from the package's data files.

Here: readers of `contracts/data/*.csv`. Not here: columns of the tables (`tables.py`) or how the
rows get into a catalog (`retail_lakehouse.tables.dimensions`).
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files

from retail_lakehouse.contracts.tables import CURRENCY_RATE, DIM_PRODUCT, DIM_STORE, TableContract


@dataclass(frozen=True, slots=True)
class Store:
    """One row of dim_store."""

    store_id: str
    store_name: str
    region: str
    country: str
    city: str
    time_zone: str
    utc_offset_minutes: int
    currency: str
    latitude: float
    longitude: float
    opens_at_minute: int
    closes_at_minute: int
    is_virtual: bool


@dataclass(frozen=True, slots=True)
class Product:
    """One row of dim_product; money in the reporting currency."""

    sku: str
    product_name: str
    category: str
    list_price_usd: Decimal
    unit_cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class CurrencyRate:
    """One row of dim_currency_rate; both dates are inclusive."""

    currency: str
    valid_from: date
    valid_to: date
    rate: Decimal


@cache
def stores() -> tuple[Store, ...]:
    """Every store in order of its id; the virtual one is the last."""
    return tuple(
        Store(
            store_id=row["store_id"],
            store_name=row["store_name"],
            region=row["region"],
            country=row["country"],
            city=row["city"],
            time_zone=row["time_zone"],
            utc_offset_minutes=int(row["utc_offset_minutes"]),
            currency=row["currency"],
            latitude=float(row["latitude"]),
            longitude=float(row["longitude"]),
            opens_at_minute=int(row["opens_at_minute"]),
            closes_at_minute=int(row["closes_at_minute"]),
            is_virtual=row["is_virtual"] == "true",
        )
        for row in _rows(DIM_STORE)
    )


@cache
def products() -> tuple[Product, ...]:
    """Every product in order of its SKU."""
    return tuple(
        Product(
            sku=row["sku"],
            product_name=row["product_name"],
            category=row["category"],
            list_price_usd=Decimal(row["list_price_usd"]),
            unit_cost_usd=Decimal(row["unit_cost_usd"]),
        )
        for row in _rows(DIM_PRODUCT)
    )


@cache
def currency_rates() -> tuple[CurrencyRate, ...]:
    """Every rate, ordered by currency and date."""
    return tuple(
        CurrencyRate(
            currency=row["currency"],
            valid_from=date.fromisoformat(row["valid_from"]),
            valid_to=date.fromisoformat(row["valid_to"]),
            rate=Decimal(row["rate"]),
        )
        for row in _rows(CURRENCY_RATE)
    )


def _rows(table: TableContract) -> Iterator[dict[str, str]]:
    path = files("retail_lakehouse.contracts") / "data" / f"{table.name}.csv"
    with path.open(encoding="utf-8") as file:
        yield from csv.DictReader(file)
