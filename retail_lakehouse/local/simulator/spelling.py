"""Typed columns into JSON bodies, Kafka keys and content hashes.

Here: every way in which the simulator spells an event, and the content hash of its typed values.
Not here: which events there are, or bodies that break the contract (`malformed.py`).

The hash is taken from the typed values by its own formatting, never by reading the JSON back, so
that a fault in either shows. One row is one formatted string: this is the simulator's hot path.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retail_lakehouse.contracts.events import (
    CLICKSTREAM,
    CURRENCIES,
    EVENTS,
    INVENTORY,
    TRANSACTIONS,
    EventContract,
)
from retail_lakehouse.contracts.fields import Field, Kind
from retail_lakehouse.local.simulator.market import Market, money_text
from retail_lakehouse.local.simulator.retailer import (
    EVENT_TYPES,
    PAYMENT_TYPES,
    ClickColumns,
    InventoryColumns,
    TransactionColumns,
)
from retail_lakehouse.local.simulator.sessions import ACTION_OF_PAGE, PAGES

INDEX_TEXT = [f"{i:06d}" for i in range(65_536)]
"""The last part of an event id: the event's place in its batch."""
EVENT_ID_LENGTH = len("i-00000000-00000000-000000")
_EXTRA_EVERY = 211
_EXTRA = b',"source":{"app":"till","version":7.10}}'
_OTHER_SPELLING_EVERY = 11

Row = tuple[Any, ...]


@dataclass(slots=True)
class Spelled:
    """Events of one topic. `rows` hold each field's raw JSON text, in contract order."""

    contract: EventContract
    rows: list[Row]
    keys: list[bytes]
    bodies: list[bytes]
    digests: NDArray[np.uint64]
    """[event, (high, low)]: content hashes as two 64-bit halves."""

    def again(self, i: int) -> bytes:
        """Event `i` once more, spelt otherwise; as it was where it has unknown fields.

        Unknown fields are content too, though no field of the contract: a copy keeps them.
        """
        if i % _EXTRA_EVERY == 0:
            return self.bodies[i]
        return other_spelling(self.contract, self.rows[i])


def _canonical_string(text: str) -> str:
    return f"{len(text)}:{text}"


def _quoted(texts: Sequence[str]) -> list[str]:
    return [f'"{text}"' for text in texts]


def _json_format(contract: EventContract) -> str:
    return "{" + ",".join(f'"{field.name}":%s' for field in contract.fields) + "}"


_JSON_FORMAT = {contract.name: _json_format(contract) for contract in EVENTS}
_CANONICAL_FORMAT = {contract.name: "|".join(["%s"] * len(contract.fields)) for contract in EVENTS}


def other_spelling(contract: EventContract, row: Row) -> bytes:
    """The same content, spelt otherwise: keys turned round, nulls left out, money as a string."""
    members = [
        f'"{field.name}" : {_other_value(field, text)}'
        for field, text in zip(contract.fields, row, strict=True)
        if text != "null"
    ]
    return ("{ " + ", ".join(reversed(members)) + " }").encode()


def _other_value(field: Field, text: Any) -> str:
    if field.kind is Kind.DECIMAL:
        bare = str(text).strip('"')
        return f'"{bare}"' if bare == text else bare
    return str(text)


class Speller:
    """Spells the columns of each topic; holds the texts that never change."""

    def __init__(self, market: Market) -> None:
        self._stores = market.store_ids
        self._store_json = _quoted(self._stores)
        self._store_canonical = [_canonical_string(text) for text in self._stores]
        self._skus = market.skus
        self._sku_json = _quoted(self._skus)
        self._sku_canonical = [_canonical_string(text) for text in self._skus]
        self._products = len(self._skus)
        self._cost = _flat_spellings(market.spellings(market.cost))
        self._price = _flat_spellings(market.spellings(market.price))
        self._currency = market.currency

    def inventory(self, ids: Sequence[str], columns: InventoryColumns) -> Spelled:
        """The columns as inventory events with the given ids."""
        cost = self._currency[columns.store] * self._products + columns.product
        spelling = (columns.product + columns.time_ms) % 3
        stores, products = columns.store.tolist(), columns.product.tolist()
        types = columns.event_type.tolist()
        on_hand, reserved = columns.on_hand.tolist(), columns.reserved.tolist()
        deltas = list(zip(columns.delta.tolist(), columns.has_delta.tolist(), strict=True))
        times = columns.time_ms.tolist()
        rows = zip(
            _quoted(ids),
            [self._store_json[i] for i in stores],
            [self._sku_json[i] for i in products],
            on_hand,
            reserved,
            [delta if has else "null" for delta, has in deltas],
            [self._cost[i][how] for i, how in zip(cost.tolist(), spelling.tolist(), strict=True)],
            [_TYPE_JSON[i] for i in types],
            times,
            strict=True,
        )
        canonical = zip(
            [_canonical_string(text) for text in ids],
            [self._store_canonical[i] for i in stores],
            [self._sku_canonical[i] for i in products],
            on_hand,
            reserved,
            [delta if has else "~" for delta, has in deltas],
            [self._cost[i][0] for i in cost.tolist()],
            [_TYPE_CANONICAL[i] for i in types],
            times,
            strict=True,
        )
        keys = [
            f"{self._stores[store]}|{self._skus[product]}".encode()
            for store, product in zip(stores, products, strict=True)
        ]
        return _spelled(INVENTORY, list(rows), list(canonical), keys)

    def transactions(self, ids: Sequence[str], columns: TransactionColumns) -> Spelled:
        """The columns as transaction events with the given ids."""
        price = (columns.currency * self._products + columns.product).tolist()
        spelling = ((columns.product + columns.time_ms) % 3).tolist()
        stores, products = columns.store.tolist(), columns.product.tolist()
        lines, quantities = columns.line.tolist(), columns.quantity.tolist()
        discounts = [money_text(amount) for amount in columns.discount.tolist()]
        currencies, online = columns.currency.tolist(), columns.online.tolist()
        payments, times = columns.payment.tolist(), columns.time_ms.tolist()
        rows = zip(
            _quoted(ids),
            _quoted(columns.transaction),
            lines,
            [self._store_json[i] for i in stores],
            [self._sku_json[i] for i in products],
            quantities,
            [self._price[i][how] for i, how in zip(price, spelling, strict=True)],
            discounts,
            [_CURRENCY_JSON[i] for i in currencies],
            ['"ONLINE"' if each else '"STORE"' for each in online],
            [_PAYMENT_JSON[i] for i in payments],
            times,
            strict=True,
        )
        canonical = zip(
            [_canonical_string(text) for text in ids],
            [_canonical_string(text) for text in columns.transaction],
            lines,
            [self._store_canonical[i] for i in stores],
            [self._sku_canonical[i] for i in products],
            quantities,
            [self._price[i][0] for i in price],
            discounts,
            [_CURRENCY_CANONICAL[i] for i in currencies],
            ["6:ONLINE" if each else "5:STORE" for each in online],
            [_PAYMENT_CANONICAL[i] for i in payments],
            times,
            strict=True,
        )
        keys = [
            f"{self._stores[store]}|{self._skus[product]}".encode()
            for store, product in zip(stores, products, strict=True)
        ]
        return _spelled(TRANSACTIONS, list(rows), list(canonical), keys)

    def clicks(self, ids: Sequence[str], columns: ClickColumns) -> Spelled:
        """The columns as clickstream events with the given ids."""
        pages, products = columns.page.tolist(), columns.product.tolist()
        times = columns.time_ms.tolist()
        rows = zip(
            _quoted(ids),
            _quoted(columns.session),
            ["null" if text is None else f'"{text}"' for text in columns.customer],
            [_PAGE_JSON[i] for i in pages],
            [_ACTION_JSON[i] for i in pages],
            ["null" if i < 0 else self._sku_json[i] for i in products],
            ["null" if text is None else f'"{text}"' for text in columns.transaction],
            times,
            strict=True,
        )
        canonical = zip(
            [_canonical_string(text) for text in ids],
            [_canonical_string(text) for text in columns.session],
            ["~" if text is None else _canonical_string(text) for text in columns.customer],
            [_PAGE_CANONICAL[i] for i in pages],
            [_ACTION_CANONICAL[i] for i in pages],
            ["~" if i < 0 else self._sku_canonical[i] for i in products],
            ["~" if text is None else _canonical_string(text) for text in columns.transaction],
            times,
            strict=True,
        )
        keys = [text.encode() for text in columns.session]
        return _spelled(CLICKSTREAM, list(rows), list(canonical), keys)


def _spelled(
    contract: EventContract, rows: list[Row], canonical: list[Row], keys: list[bytes]
) -> Spelled:
    json_format, canonical_format = _JSON_FORMAT[contract.name], _CANONICAL_FORMAT[contract.name]
    bodies = [(json_format % row).encode() for row in rows]
    for i in range(0, len(rows), _OTHER_SPELLING_EVERY):
        bodies[i] = other_spelling(contract, rows[i])
    for i in range(0, len(rows), _EXTRA_EVERY):
        bodies[i] = bodies[i].rstrip(b" }") + _EXTRA
    digests = b"".join(
        [
            md5((canonical_format % row).encode(), usedforsecurity=False).digest()
            for row in canonical
        ]
    )
    halves = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return Spelled(contract, rows, keys, bodies, halves)


def _flat_spellings(table: list[list[tuple[str, str, str]]]) -> list[tuple[str, str, str]]:
    return [cell for row in table for cell in row]


_TYPE_JSON, _TYPE_CANONICAL = _quoted(EVENT_TYPES), [_canonical_string(t) for t in EVENT_TYPES]
_CURRENCY_JSON = _quoted(CURRENCIES)
_CURRENCY_CANONICAL = [_canonical_string(text) for text in CURRENCIES]
_PAYMENT_JSON = _quoted(PAYMENT_TYPES)
_PAYMENT_CANONICAL = [_canonical_string(text) for text in PAYMENT_TYPES]
_PAGE_JSON, _PAGE_CANONICAL = _quoted(PAGES), [_canonical_string(text) for text in PAGES]
_ACTION_JSON = _quoted(ACTION_OF_PAGE)
_ACTION_CANONICAL = [_canonical_string(text) for text in ACTION_OF_PAGE]
