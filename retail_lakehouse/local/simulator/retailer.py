"""The retailer: baskets lower stock, receipts raise it, sessions end in orders.

Here: the typed columns of the events of one span of time. Not here: JSON (`spelling.py`), faults
(`disturbance.py`), Kafka. Deterministic: the same seed, batch numbers and times give the same
events.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retail_lakehouse.contracts.events import INVENTORY, TRANSACTIONS
from retail_lakehouse.local.simulator.market import Floats, Integers, Market
from retail_lakehouse.local.simulator.sessions import Sessions

EVENT_TYPES = INVENTORY.field("event_type").allowed
ADJUST, SALE, RECEIVE, TRANSFER = (
    EVENT_TYPES.index(name) for name in ("ADJUST", "SALE", "RECEIVE", "TRANSFER")
)
PAYMENT_TYPES = TRANSACTIONS.field("payment_type").allowed
_CLICKSTREAM_SHARE, _TRANSACTIONS_SHARE = 0.25, 0.30
_RETURN_SHARE = 0.02
_DISCOUNT_SHARE = 0.2
_REORDER_POINT, _TARGET_STOCK = 15, 80


@dataclass(slots=True)
class InventoryColumns:
    """Stock events in order of time. `delta` holds where `has_delta`."""

    store: Integers
    product: Integers
    on_hand: Integers
    reserved: Integers
    delta: Integers
    has_delta: NDArray[np.bool_]
    event_type: Integers
    time_ms: Integers


@dataclass(slots=True)
class TransactionColumns:
    """Basket lines. Money in 1/UNIT of the currency."""

    transaction: list[str]
    line: Integers
    store: Integers
    product: Integers
    quantity: Integers
    discount: Integers
    currency: Integers
    online: NDArray[np.bool_]
    payment: Integers
    time_ms: Integers


@dataclass(slots=True)
class ClickColumns:
    """Steps of web sessions. `product` is -1 for none."""

    session: list[str]
    customer: list[str | None]
    page: Integers
    product: Integers
    transaction: list[str | None]
    time_ms: Integers


@dataclass(slots=True)
class Span:
    """What happened in one span of time."""

    inventory: InventoryColumns
    transactions: TransactionColumns
    clicks: ClickColumns


class Retailer:
    """Stock, sessions and demand of the whole retailer."""

    def __init__(self, market: Market, seed: int, ledger_id: str) -> None:
        """`ledger_id` (8 characters) keeps the ids of two retailers apart."""
        self.market = market
        self._seed = seed
        self._ledger_id = ledger_id
        self._sessions = Sessions(market)
        rng = np.random.default_rng([seed, 2])
        pairs = len(market.stores) * len(market.products)
        self.stock = rng.integers(20, 120, pairs)
        self._reserved = rng.integers(0, 6, pairs)
        self._sold_last: Integers = np.zeros(0, dtype=np.int64)
        self._demand: Floats | None = None
        self._demand_minute = -1

    def generator(self, batch: int) -> np.random.Generator:
        """The random numbers of one batch: a function of the seed and its number alone."""
        return np.random.default_rng([self._seed, 3, batch])

    def span(
        self, rng: np.random.Generator, batch: int, count: int, start_ms: int, end_ms: int
    ) -> Span:
        """The `count` events between two instants, those of batch `batch`."""
        prefix = f"{self._ledger_id}-{batch:08x}-"
        clicks_count = round(count * _CLICKSTREAM_SHARE)
        lines_count = round(count * _TRANSACTIONS_SHARE)
        seconds = (end_ms - start_ms) / 1000
        steps = self._sessions.step(rng, clicks_count, seconds, f"s-{prefix}")
        click_times = np.sort(rng.integers(start_ms + 1, end_ms + 1, clicks_count))
        orders = np.flatnonzero(steps.ordered)
        online, order_ids = self._orders(rng, f"o-{prefix}", steps.customer, click_times, orders)
        at_tills = max(0, lines_count - len(online.line))
        till = self._baskets(rng, f"t-{prefix}", at_tills, start_ms, end_ms)
        lines = _joined(till, online)
        others = max(0, count - clicks_count - 2 * len(lines.line))
        inventory = self._inventory(rng, lines, others, start_ms, end_ms)
        transactions_of_clicks: list[str | None] = [None] * clicks_count
        for position, order_id in zip(orders.tolist(), order_ids, strict=True):
            transactions_of_clicks[position] = order_id
        return Span(
            inventory,
            lines,
            ClickColumns(
                steps.session,
                steps.customer,
                steps.page,
                steps.product,
                transactions_of_clicks,
                click_times,
            ),
        )

    def _baskets(
        self, rng: np.random.Generator, prefix: str, lines: int, start_ms: int, end_ms: int
    ) -> TransactionColumns:
        """Baskets at tills with `lines` lines in all, some of them returns."""
        sizes = 1 + rng.binomial(6, 0.25, lines)
        basket = np.repeat(np.arange(lines), sizes)[:lines]
        number = int(basket[-1]) + 1 if lines else 0
        self._refresh_demand(end_ms)
        assert self._demand is not None  # noqa: S101
        store = self.market.pick_stores(self._demand, rng, number)[basket]
        quantity = 1 + rng.binomial(4, 0.15, lines)
        returned = rng.random(number) < _RETURN_SHARE
        product = self.market.pick_products(store, rng)
        return self._lines(
            rng,
            ids=[f"{prefix}{i:05d}" for i in range(number)],
            basket=basket,
            store=store,
            product=product,
            quantity=np.where(returned[basket], -1, quantity),
            currency=self.market.currency[store],
            online=np.zeros(lines, dtype=np.bool_),
            time_ms=np.sort(rng.integers(start_ms + 1, end_ms + 1, number))[basket],
        )

    def _orders(
        self,
        rng: np.random.Generator,
        prefix: str,
        customer: list[str | None],
        click_times: Integers,
        orders: Integers,
    ) -> tuple[TransactionColumns, list[str]]:
        """One online basket for each order; its country is the customer's."""
        sizes = 1 + rng.binomial(5, 0.3, len(orders))
        basket = np.repeat(np.arange(len(orders)), sizes)
        # Whoever orders lives near some store: that store's country gives the currency.
        home = self.market.pick_any_stores(rng, len(orders))
        ids = [f"{prefix}{i:05d}" for i in range(len(orders))]
        lines = len(basket)
        columns = self._lines(
            rng,
            ids=ids,
            basket=basket,
            store=np.full(lines, self.market.online_store),
            product=rng.integers(0, len(self.market.products), lines),
            quantity=1 + rng.binomial(3, 0.15, lines),
            currency=self.market.currency[home][basket],
            online=np.ones(lines, dtype=np.bool_),
            time_ms=click_times[orders][basket],
        )
        return columns, ids

    def _lines(
        self,
        rng: np.random.Generator,
        *,
        ids: list[str],
        basket: Integers,
        store: Integers,
        product: Integers,
        quantity: Integers,
        currency: Integers,
        online: NDArray[np.bool_],
        time_ms: Integers,
    ) -> TransactionColumns:
        lines = len(basket)
        first_line = np.searchsorted(basket, basket, side="left")
        percent = rng.integers(1, 5, lines) * 5 * (rng.random(lines) < _DISCOUNT_SHARE)
        amount = self.market.price[currency, product] * np.abs(quantity)
        payment = rng.integers(0, len(PAYMENT_TYPES), len(ids))[basket]
        # Nobody puts cash into a web shop, and nobody pays on delivery at a till.
        cash, on_delivery = PAYMENT_TYPES.index("CASH"), PAYMENT_TYPES.index("COD")
        payment = np.where(online & (payment == cash), on_delivery, payment)
        payment = np.where(~online & (payment == on_delivery), cash, payment)
        return TransactionColumns(
            transaction=[ids[i] for i in basket.tolist()],
            line=np.arange(lines) - first_line + 1,
            store=store,
            product=product,
            quantity=quantity,
            discount=amount * percent // 100,
            currency=currency,
            online=online,
            payment=payment,
            time_ms=time_ms,
        )

    def _inventory(
        self,
        rng: np.random.Generator,
        lines: TransactionColumns,
        others: int,
        start_ms: int,
        end_ms: int,
    ) -> InventoryColumns:
        """A SALE (or, for a return, an ADJUST) for each line, and `others` more movements."""
        # What is ordered online leaves from the shelf of a store on the map.
        shelf = np.where(
            lines.online, self.market.pick_any_stores(rng, len(lines.line)), lines.store
        )
        products = len(self.market.products)
        sold = shelf * products + lines.product
        pair, delta, event_type = self._movements(rng, others)
        pair = np.concatenate([sold, pair])
        delta = np.concatenate([-lines.quantity, delta])
        event_type = np.concatenate([np.where(lines.quantity > 0, SALE, ADJUST), event_type])
        times = np.concatenate([lines.time_ms, rng.integers(start_ms + 1, end_ms + 1, others)])
        order = np.argsort(times, kind="stable")
        pair, delta, event_type, times = pair[order], delta[order], event_type[order], times[order]
        self._sold_last = sold
        on_hand = self._move(pair, delta)
        touched = event_type != SALE
        self._reserved[pair[touched]] = rng.integers(0, 6, int(touched.sum()))
        # A count of the shelf says what is there, not always what moved.
        counted = (event_type == ADJUST) & (rng.random(len(pair)) < 0.5)
        return InventoryColumns(
            store=pair // products,
            product=pair % products,
            on_hand=on_hand,
            reserved=self._reserved[pair],
            delta=delta,
            has_delta=~counted,
            event_type=event_type,
            time_ms=times,
        )

    def _movements(
        self, rng: np.random.Generator, count: int
    ) -> tuple[Integers, Integers, Integers]:
        """(pair, delta, type) of receipts, transfers between two stores, and adjustments."""
        transfers = count // 10
        adjusts = count // 6
        receipts = count - 2 * transfers - adjusts
        product_count = len(self.market.products)
        from_store = self.market.pick_any_stores(rng, transfers)
        moved = self.market.pick_products(from_store, rng)
        to_store = (from_store + 1 + rng.integers(0, 50, transfers)) % self.market.online_store
        units = rng.integers(1, 7, transfers)
        adjust_store = self.market.pick_any_stores(rng, adjusts)
        adjusted = adjust_store * product_count + self.market.pick_products(adjust_store, rng)
        adjustment = rng.integers(1, 4, adjusts) * rng.choice([-1, 1], adjusts, p=[0.8, 0.2])
        received = self._lowest(rng, receipts)
        receipt = np.maximum(_TARGET_STOCK - self.stock[received], 6)
        return (
            np.concatenate(
                [
                    from_store * product_count + moved,
                    to_store * product_count + moved,
                    adjusted,
                    received,
                ]
            ),
            np.concatenate([-units, units, adjustment, receipt]),
            np.repeat([TRANSFER, ADJUST, RECEIVE], [2 * transfers, adjusts, receipts]),
        )

    def _lowest(self, rng: np.random.Generator, count: int) -> Integers:
        """Pairs to restock: of what sold last and some at random, those with the least stock."""
        some = self.market.pick_any_stores(rng, count)
        candidates = np.concatenate(
            [
                np.unique(self._sold_last),
                some * len(self.market.products) + self.market.pick_products(some, rng),
            ]
        )
        stock = self.stock[candidates]
        low = stock <= _REORDER_POINT
        order = np.lexsort((rng.random(len(candidates)), ~low))
        return candidates[order][:count]

    def _move(self, pair: Integers, delta: Integers) -> Integers:
        """Books movements in order; returns the stock after each."""
        order = np.argsort(pair, kind="stable")
        sorted_pair = pair[order]
        running = np.cumsum(delta[order])
        first = np.searchsorted(sorted_pair, sorted_pair, side="left")
        before = running[first] - delta[order][first]
        after = np.empty(len(pair), dtype=np.int64)
        after[order] = self.stock[sorted_pair] + running - before
        np.add.at(self.stock, pair, delta)
        return after

    def _refresh_demand(self, time_ms: int) -> None:
        minute = time_ms // 60_000
        if minute != self._demand_minute:
            self._demand = self.market.demand(time_ms)
            self._demand_minute = minute


def _joined(left: TransactionColumns, right: TransactionColumns) -> TransactionColumns:
    return TransactionColumns(
        transaction=left.transaction + right.transaction,
        line=np.concatenate([left.line, right.line]),
        store=np.concatenate([left.store, right.store]),
        product=np.concatenate([left.product, right.product]),
        quantity=np.concatenate([left.quantity, right.quantity]),
        discount=np.concatenate([left.discount, right.discount]),
        currency=np.concatenate([left.currency, right.currency]),
        online=np.concatenate([left.online, right.online]),
        payment=np.concatenate([left.payment, right.payment]),
        time_ms=np.concatenate([left.time_ms, right.time_ms]),
    )
