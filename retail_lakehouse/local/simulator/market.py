"""Who sells what, where and when: the reference data as arrays, with a seeded demand.

Here: stores, assortments, prices, the demand at an instant. Not here: events, stock.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retail_lakehouse.contracts.events import CURRENCIES
from retail_lakehouse.contracts.fields import MONEY_SCALE
from retail_lakehouse.contracts.reference_data import (
    Product,
    Store,
    currency_rates,
    products,
    stores,
)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
MINUTES_A_DAY = 24 * 60
UNIT = 10**MONEY_SCALE
"""Money is counted in integers of 1/UNIT, so that nothing is ever rounded twice."""

_SMALLEST_ASSORTMENT, _LARGEST_ASSORTMENT = 150, 350
_WHOLE_AMOUNTS = ("VND", "IDR", "LKR", "NPR")


def money_text(amount: int) -> str:
    """An amount in 1/UNIT as decimal text with all its digits after the point."""
    whole, fraction = divmod(amount, UNIT)
    return f"{whole}.{fraction:0{MONEY_SCALE}d}"


def money_spellings(amount: int) -> tuple[str, str, str]:
    """JSON texts of one amount: a number with all digits, one without needless ones, a string."""
    full = money_text(amount)
    short = full.rstrip("0").rstrip(".")
    return full, short, f'"{short}"'


@dataclass(frozen=True)
class Market:
    """The stores and products, and the seeded part of demand. Arrays index stores and products."""

    stores: tuple[Store, ...]
    products: tuple[Product, ...]
    size: Floats
    """How much a store sells when open; 0 for the virtual one."""
    assortment: Integers
    """Products of each store, best seller first, padded with its own first ones."""
    assortment_size: Integers
    price: Integers
    """[currency, product], in 1/UNIT of the currency."""
    cost: Integers
    """[currency, product], in 1/UNIT of the currency."""

    @staticmethod
    def seeded(seed: int) -> "Market":
        """The market of the reference data; the same for the same seed."""
        rng = np.random.default_rng([seed, 1])
        every, goods = stores(), products()
        size = rng.lognormal(0.0, 0.5, len(every))
        size[[store.is_virtual for store in every]] = 0.0
        sizes = rng.integers(_SMALLEST_ASSORTMENT, _LARGEST_ASSORTMENT, len(every))
        popularity = rng.permutation(len(goods))
        taste = popularity + rng.normal(0.0, 60.0, (len(every), len(goods)))
        price, cost = _prices(goods)
        return Market(
            stores=every,
            products=goods,
            size=size,
            assortment=np.argsort(taste, axis=1)[:, :_LARGEST_ASSORTMENT].astype(np.int64),
            assortment_size=sizes.astype(np.int64),
            price=price,
            cost=cost,
        )

    @cached_property
    def store_ids(self) -> list[str]:
        """Ids by store index."""
        return [store.store_id for store in self.stores]

    @cached_property
    def skus(self) -> list[str]:
        """SKUs by product index."""
        return [product.sku for product in self.products]

    @cached_property
    def currency(self) -> Integers:
        """Index into `CURRENCIES` by store index."""
        return np.array([CURRENCIES.index(store.currency) for store in self.stores])

    @cached_property
    def online_store(self) -> int:
        """Index of the virtual store."""
        return next(i for i, store in enumerate(self.stores) if store.is_virtual)

    @cached_property
    def _hours(self) -> tuple[Integers, Integers, Integers]:
        return (
            np.array([store.utc_offset_minutes for store in self.stores]),
            np.array([store.opens_at_minute for store in self.stores]),
            np.array([store.closes_at_minute for store in self.stores]),
        )

    def demand(self, time_ms: int) -> Floats:
        """Cumulative shares of till sales by store index; shops that are closed sell nothing."""
        offset, opens, closes = self._hours
        local = (time_ms // 60_000 + offset) % MINUTES_A_DAY
        is_open = (opens <= local) & (local < closes)
        noon = np.exp(-(((local - 11.5 * 60) / 120.0) ** 2))
        evening = np.exp(-(((local - 18.5 * 60) / 120.0) ** 2))
        weight = self.size * is_open * (0.25 + noon + 1.3 * evening)
        share: Floats = np.cumsum(weight) / weight.sum()
        return share

    def pick_stores(self, demand: Floats, rng: np.random.Generator, count: int) -> Integers:
        """Store indexes drawn by `demand`."""
        picked: Integers = np.searchsorted(demand, rng.random(count), side="right")
        return picked

    def pick_any_stores(self, rng: np.random.Generator, count: int) -> Integers:
        """Store indexes drawn evenly from the stores on the map."""
        return rng.integers(0, self.online_store, count)

    def pick_products(self, store: Integers, rng: np.random.Generator) -> Integers:
        """One product index for each store index: best sellers far more often than others."""
        position = (rng.random(len(store)) ** 2.2 * self.assortment_size[store]).astype(np.int64)
        picked: Integers = self.assortment[store, position]
        return picked

    def spellings(self, table: Integers) -> list[list[tuple[str, str, str]]]:
        """`money_spellings` of a [currency, product] table."""
        return [[money_spellings(amount) for amount in row] for row in table.tolist()]


def _prices(goods: tuple[Product, ...]) -> tuple[Integers, Integers]:
    first_rate: dict[str, Decimal] = {}
    for rate in currency_rates():
        first_rate.setdefault(rate.currency, rate.rate)
    price = np.zeros((len(CURRENCIES), len(goods)), dtype=np.int64)
    cost = np.zeros_like(price)
    for i, currency in enumerate(CURRENCIES):
        step = Decimal(10) if currency in _WHOLE_AMOUNTS else Decimal("0.05")
        for j, product in enumerate(goods):
            local = product.list_price_usd / first_rate[currency]
            shelf = max(step, (local / step).quantize(Decimal(1), ROUND_HALF_UP) * step)
            price[i, j] = _amount(shelf)
            cost[i, j] = _amount(product.unit_cost_usd / first_rate[currency])
    return price, cost


def _amount(value: Decimal) -> int:
    return int((value * UNIT).to_integral_value(ROUND_HALF_UP))
