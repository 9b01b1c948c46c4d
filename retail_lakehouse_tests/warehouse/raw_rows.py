"""Raw rows for the tests of the views: seeded, with every case that the views have rules for.

Here: rows as the event tables hold them, and the Arrow tables made of them. Not here: what the
views should say of them (`by_hand.py`).
"""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from retail_lakehouse.contracts.events import CLICKSTREAM, INVENTORY, TRANSACTIONS, EventContract
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.tables.schema import arrow_schema

Row = dict[str, Any]
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the tables hold UTC without zone
STORES = ("S0001", "S0150", "S0340", "S9000", "S-unknown")
SKUS = ("SKU-00001", "SKU-00200", "SKU-unknown")


def milliseconds(moment: datetime) -> int:
    """Epoch milliseconds of a UTC time without zone."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


class RawRows:
    """Makes rows around `now` (UTC without zone) with ids and offsets of their own."""

    def __init__(self, seed: int, now: datetime) -> None:
        self.random = random.Random(seed)
        self.now = now
        self._offsets: dict[tuple[str, int], int] = {}
        self._ids = 0

    def platform(
        self, event: EventContract, event_time: datetime, broker_time: datetime | None
    ) -> Row:
        """The platform's columns; without a broker time those of a backfilled row."""
        self._ids += 1
        row: Row = {
            "event_id": f"{event.name}-{self._ids}",
            "event_timestamp": milliseconds(event_time),
            "event_ts": event_time,
            "event_date": event_time.date(),
            "event_hour": event_time.hour,
            "ingested_at": (broker_time or self.now) + timedelta(seconds=2, microseconds=137),
            "extra": None,
            "kafka_topic": None,
            "kafka_topic_id": None,
            "kafka_partition": None,
            "kafka_offset": None,
            "kafka_timestamp": None,
        }
        if broker_time is not None:
            partition = self.random.randrange(3)
            offset = self._offsets.get((event.topic, partition), 0)
            self._offsets[event.topic, partition] = offset + 1
            row |= {
                "kafka_topic": event.topic,
                "kafka_topic_id": f"id-of-{event.name}",
                "kafka_partition": partition,
                "kafka_offset": offset,
                "kafka_timestamp": broker_time,
            }
        return row

    def times(self) -> tuple[datetime, datetime | None]:
        """An event time and a broker time: on time, late, ahead, at an edge, or backfilled."""
        pick = self.random.random
        hour = self.now.replace(minute=0, second=0, microsecond=0)
        broker = self.now - timedelta(milliseconds=self.random.randrange(1, 3_600_000))
        chance = pick()
        if chance < 0.55:
            return _ms(broker - timedelta(milliseconds=self.random.randrange(5_000))), _ms(broker)
        if chance < 0.70:
            late = timedelta(minutes=self.random.randrange(1, 3 * 24 * 60))
            return _ms(broker - late), _ms(broker)
        if chance < 0.78:
            return _ms(broker + timedelta(seconds=self.random.randrange(1, 600))), _ms(broker)
        if chance < 0.92:
            edge = hour - timedelta(hours=self.random.choice((167, 168, 169, 170)))
            moment = edge + self.random.choice((timedelta(0), timedelta(milliseconds=-1)))
            return moment, moment + timedelta(seconds=1)
        return _ms(self.now - timedelta(days=self.random.randrange(1, 20))), None

    def inventory(self, **given: object) -> Row:
        """One row of inventory_events; `given` overrides columns."""
        times = self.times()
        kind = self.random.choice(("SALE", "RECEIVE", "TRANSFER", "ADJUST"))
        units = self.random.randrange(1, 50)
        delta = {"SALE": -units, "RECEIVE": units, "TRANSFER": self.random.choice((-units, units))}
        event_time = given.pop("event_time", times[0])
        broker_time = given.pop("broker_time", times[1])
        row = self.platform(INVENTORY, event_time, broker_time)  # type: ignore[arg-type]
        return row | {
            "store_id": self.random.choice(STORES),
            "sku": self.random.choice(SKUS),
            "quantity_on_hand": self.random.randrange(-5, 200),
            "quantity_reserved": self.random.randrange(0, 20),
            "quantity_delta": delta.get(kind, self.random.choice((None, 3))),
            "unit_cost": Decimal(self.random.randrange(10**6)).scaleb(-4),
            "event_type": kind,
            **given,
        }

    def transaction(self, **given: object) -> Row:
        """One row of transactions_events; `given` overrides columns."""
        times = self.times()
        event_time = given.pop("event_time", times[0])
        broker_time = given.pop("broker_time", times[1])
        row = self.platform(TRANSACTIONS, event_time, broker_time)  # type: ignore[arg-type]
        return row | {
            "transaction_id": f"t{self.random.randrange(100)}",
            "line_number": self.random.randrange(1, 5),
            "store_id": self.random.choice(STORES),
            "sku": self.random.choice(SKUS),
            "quantity": self.random.choice((-3, -1, 1, 2, 7)),
            "unit_price": Decimal(self.random.randrange(10**8)).scaleb(-4),
            "discount": Decimal(self.random.choice((0, 12_345, 99_999))).scaleb(-4),
            "currency": self.random.choice(("INR", "SGD", "IDR")),
            "channel": self.random.choice(("STORE", "ONLINE")),
            "payment_type": "CARD",
            **given,
        }

    def click(self, **given: object) -> Row:
        """One row of clickstream_events; `given` overrides columns."""
        times = self.times()
        event_time = given.pop("event_time", times[0])
        broker_time = given.pop("broker_time", times[1])
        row = self.platform(CLICKSTREAM, event_time, broker_time)  # type: ignore[arg-type]
        return row | {
            "session_id": f"s{self.random.randrange(40)}",
            "customer_id": None,
            "page_type": "HOME",
            "action": self.random.choice(("VIEW", "VIEW", "CART", "CHECKOUT", "ORDER")),
            "sku": None,
            "transaction_id": None,
            **given,
        }


def arrow(contract: TableContract, rows: Sequence[Row]) -> pa.Table:
    """The rows as an Arrow table of the contract's schema."""
    schema = arrow_schema(contract)
    return pa.table({name: [row[name] for row in rows] for name in schema.names}, schema=schema)


def _ms(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
