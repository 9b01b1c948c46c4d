"""The three events: their fields, in order, and the rules that span fields.

Here: what producers must send. Not here: columns that the platform adds (`tables.py`), the
verdict on a malformed record (`judge.py`) or its examples (`cases.py`).
"""

from dataclasses import dataclass

from retail_lakehouse.contracts.fields import Field, Kind

CURRENCIES = ("INR", "BDT", "LKR", "NPR", "THB", "VND", "IDR", "MYR", "SGD", "PHP")
REPORTING_CURRENCY = "USD"
EVENT_TIME_FIELD = "event_timestamp"
EVENT_ID_FIELD = "event_id"
CUSTOMER_ID_FIELD = "customer_id"
"""The one field that stands for a person; an event that has it is subject to erasure."""


@dataclass(frozen=True, slots=True)
class SignRule:
    """When `when_field` has the value `equals`, the integer `field` must have this sign.

    `sign` is -1 (below zero), 1 (above zero) or 0 (any value but zero). With `required`, the field
    must be there although the event's schema lets it be absent.
    """

    when_field: str
    equals: str
    field: str
    sign: int
    required: bool = True


@dataclass(frozen=True, slots=True)
class EventContract:
    """One event type: its topic, table, fields and limits."""

    name: str
    version: int
    topic: str
    doc: str
    fields: tuple[Field, ...]
    key_fields: tuple[str, ...]
    """Fields joined with `|` into the Kafka key: all copies of one event share a partition.

    Only so is it settled which copy lands. Of copies that a producer spreads over partitions one
    lands too and the others are duplicates or conflicts, but which one follows arrival.
    """
    sign_rules: tuple[SignRule, ...] = ()
    non_zero: tuple[str, ...] = ()
    max_bytes: int = 65_536
    max_depth: int = 32
    max_age_hours: int = 7 * 24
    """Oldest plausible event, before the record's broker time."""
    max_ahead_minutes: int = 10
    """Newest plausible event, after the record's broker time."""

    def field(self, name: str) -> Field:
        """The field called `name`; raises KeyError when the event has none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"The {self.name} event has no field {name!r}.")


_EVENT_ID = Field(EVENT_ID_FIELD, Kind.STRING, "Unique id of the event, given by its producer.")
_EVENT_TIMESTAMP = Field(
    EVENT_TIME_FIELD, Kind.LONG, "When it happened, in epoch milliseconds (UTC)."
)

INVENTORY = EventContract(
    name="inventory",
    version=1,
    topic="retail.inventory.events",
    doc="A stock level of one SKU in one store, and the movement that led to it.",
    fields=(
        _EVENT_ID,
        Field("store_id", Kind.STRING, "Store, as in dim_store.", max_length=16),
        Field("sku", Kind.STRING, "Product, as in dim_product.", max_length=32),
        Field("quantity_on_hand", Kind.INT, "Units in the store after the event."),
        Field("quantity_reserved", Kind.INT, "Units promised to orders.", minimum=0),
        Field(
            "quantity_delta",
            Kind.INT,
            "Signed units moved, negative for a sale. May be absent on ADJUST only.",
            required=False,
        ),
        Field("unit_cost", Kind.DECIMAL, "Cost of one unit in the store's currency.", minimum=0),
        Field(
            "event_type",
            Kind.STRING,
            "What moved the stock.",
            allowed=("ADJUST", "SALE", "RECEIVE", "TRANSFER"),
        ),
        _EVENT_TIMESTAMP,
    ),
    key_fields=("store_id", "sku"),
    sign_rules=(
        SignRule("event_type", "SALE", "quantity_delta", -1),
        SignRule("event_type", "RECEIVE", "quantity_delta", 1),
        SignRule("event_type", "TRANSFER", "quantity_delta", 0),
    ),
)

TRANSACTIONS = EventContract(
    name="transactions",
    version=1,
    topic="retail.transactions.events",
    doc="One line of one basket, at a till or online.",
    fields=(
        _EVENT_ID,
        Field("transaction_id", Kind.STRING, "The basket."),
        Field("line_number", Kind.INT, "Line of the basket, from 1.", minimum=1),
        Field("store_id", Kind.STRING, "Store; online orders name the virtual one.", max_length=16),
        Field("sku", Kind.STRING, "Product, as in dim_product.", max_length=32),
        Field("quantity", Kind.INT, "Units sold; negative for a return."),
        Field("unit_price", Kind.DECIMAL, "Price of one unit before discount.", minimum=0),
        Field("discount", Kind.DECIMAL, "Discount on the whole line.", minimum=0),
        Field("currency", Kind.STRING, "ISO 4217 code of the amounts.", allowed=CURRENCIES),
        Field("channel", Kind.STRING, "Where it was sold.", allowed=("STORE", "ONLINE")),
        Field(
            "payment_type",
            Kind.STRING,
            "How it was paid.",
            allowed=("CASH", "CARD", "WALLET", "UPI", "COD"),
        ),
        _EVENT_TIMESTAMP,
    ),
    key_fields=("store_id", "sku"),
    non_zero=("quantity",),
)

CLICKSTREAM = EventContract(
    name="clickstream",
    version=1,
    topic="retail.clickstream.events",
    doc="One step of one visit to the web shop or the app.",
    fields=(
        _EVENT_ID,
        Field("session_id", Kind.STRING, "The visit."),
        Field(CUSTOMER_ID_FIELD, Kind.STRING, "Pseudonymous customer, if known.", required=False),
        Field(
            "page_type",
            Kind.STRING,
            "Kind of page.",
            allowed=("HOME", "CATEGORY", "SEARCH", "PRODUCT", "CART", "CHECKOUT", "CONFIRMATION"),
        ),
        Field(
            "action",
            Kind.STRING,
            "What the visitor did.",
            allowed=("VIEW", "CART", "CHECKOUT", "ORDER"),
        ),
        Field("sku", Kind.STRING, "Product, where one is shown.", required=False, max_length=32),
        Field("transaction_id", Kind.STRING, "The order, on ORDER.", required=False),
        _EVENT_TIMESTAMP,
    ),
    key_fields=("session_id",),
)

EVENTS: tuple[EventContract, ...] = (INVENTORY, TRANSACTIONS, CLICKSTREAM)


def event_named(name: str) -> EventContract:
    """The event contract called `name`; raises KeyError with the known names."""
    for event in EVENTS:
        if event.name == name:
            return event
    known = ", ".join(event.name for event in EVENTS)
    raise KeyError(f"There is no event {name!r}; the contract has {known}.")
