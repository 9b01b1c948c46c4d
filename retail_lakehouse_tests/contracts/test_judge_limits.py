"""Rules of the judge at their very limits: the last value that is let in, the first that is not."""

import json
from dataclasses import replace

import pytest

from retail_lakehouse.contracts.cases import BROKER_TIME_MS, body
from retail_lakehouse.contracts.events import CURRENCIES, INVENTORY, TRANSACTIONS, EventContract
from retail_lakehouse.contracts.judge import Bad, judge
from retail_lakehouse.contracts.reasons import Reason


def reason(value: bytes, contract: EventContract = INVENTORY) -> Reason | None:
    verdict = judge(value, BROKER_TIME_MS, contract)
    return verdict.reason if isinstance(verdict, Bad) else None


def _line(**changes: object) -> bytes:
    values: dict[str, object] = {
        "event_id": "e-1",
        "transaction_id": "t-1",
        "line_number": 1,
        "store_id": "S0001",
        "sku": "SKU-00001",
        "quantity": 2,
        "unit_price": 3,
        "discount": 0,
        "currency": CURRENCIES[0],
        "channel": "STORE",
        "payment_type": "CASH",
        "event_timestamp": BROKER_TIME_MS,
    }
    return json.dumps(values | changes).encode()


def _limited(name: str, maximum: int) -> EventContract:
    fields = tuple(replace(f, maximum=maximum) if f.name == name else f for f in INVENTORY.fields)
    return replace(INVENTORY, fields=fields)


@pytest.mark.parametrize(
    "value, sentence",
    [
        (body(quantity_delta="0"), "quantity_delta is 0 on SALE, not below zero"),
        (body(event_type='"RECEIVE"', quantity_delta="0"), "is 0 on RECEIVE, not above zero"),
    ],
)
def test_a_movement_of_nothing_is_neither_a_sale_nor_a_receipt(value: bytes, sentence: str) -> None:
    verdict = judge(value, BROKER_TIME_MS, INVENTORY)
    assert isinstance(verdict, Bad)
    assert verdict.reason is Reason.RANGE
    assert sentence in verdict.detail


@pytest.mark.parametrize("event_type, delta", [("SALE", -1), ("RECEIVE", 1), ("TRANSFER", -1)])
def test_a_movement_of_one_unit_is_a_row(event_type: str, delta: int) -> None:
    assert reason(body(event_type=f'"{event_type}"', quantity_delta=str(delta))) is None


@pytest.mark.parametrize("quantity, wanted", [(0, Reason.RANGE), (1, None), (-1, None)])
def test_a_line_of_a_basket_is_never_of_nothing(quantity: int, wanted: Reason | None) -> None:
    assert reason(_line(quantity=quantity), TRANSACTIONS) is wanted


def test_a_rule_may_ask_for_a_sign_without_asking_for_the_field() -> None:
    lenient = replace(
        INVENTORY, sign_rules=tuple(replace(r, required=False) for r in INVENTORY.sign_rules)
    )
    assert reason(body(quantity_delta=None), lenient) is None
    assert reason(body(quantity_delta="3"), lenient) is Reason.RANGE


@pytest.mark.parametrize("name", ["quantity_on_hand", "unit_cost"])
def test_a_largest_value_is_let_in_and_one_more_is_not(name: str) -> None:
    contract = _limited(name, 40)
    assert reason(body(**{name: "40"}), contract) is None
    assert reason(body(**{name: "41"}), contract) is Reason.RANGE


@pytest.mark.parametrize("value", ["9223372036854775807", "-9223372036854775808"])
def test_an_event_time_of_64_bits_is_a_number_and_only_its_time_is_wrong(value: str) -> None:
    assert reason(body(event_timestamp=value)) is Reason.TIME


def test_money_of_more_digits_than_64_bits_is_a_number_out_of_range() -> None:
    assert reason(body(unit_cost="1" * 25)) is Reason.RANGE


@pytest.mark.parametrize("text", ["S\\udc00", "S\\udfff", "S\\ud800", "\\u0e01\\u0000"])
def test_what_cannot_be_stored_is_refused_beside_any_other_text(text: str) -> None:
    assert reason(body(store_id=f'"{text}"')) is Reason.RANGE


@pytest.mark.parametrize(
    "value, wanted",
    [
        (body() + b"\xc2\xa0", Reason.JSON),
        (b"[" * 33 + b"]" * 33, Reason.JSON),
        (b"[" * 32 + b"]" * 32, Reason.TYPE),
        (b'[{"a":1,"a":2}]', Reason.DUPLICATE_KEY),
        (body(x='[{"a":1,"a":2}]'), Reason.DUPLICATE_KEY),
        (body(x='{"y":[[{"a":1,"a":2}]]}'), Reason.DUPLICATE_KEY),
        (body(x='[{"y":' + "[" * 30 + "]" * 30 + "}]"), Reason.JSON),
    ],
)
def test_the_whole_of_a_document_is_looked_at(value: bytes, wanted: Reason) -> None:
    assert reason(value) is wanted


@pytest.mark.parametrize(
    "value, wanted",
    [
        (body(quantity_delta="3", event_timestamp="1"), Reason.RANGE),
        (body(quantity_delta=None, quantity_reserved="-1"), Reason.TYPE),
    ],
)
def test_a_rule_over_two_fields_has_the_place_of_its_reason(value: bytes, wanted: Reason) -> None:
    assert reason(value) is wanted


@pytest.mark.parametrize(
    "event_id, kept",
    [("x" * 64, "x" * 64), ("x" * 65, None), ("\\ud800", None), ("a\\u0000", None)],
)
def test_a_bad_record_keeps_its_id_where_the_quarantine_can_hold_it(
    event_id: str, kept: str | None
) -> None:
    verdict = judge(body(event_id=f'"{event_id}"', sku="1"), BROKER_TIME_MS, INVENTORY)
    assert isinstance(verdict, Bad)
    assert verdict.event_id == kept


@pytest.mark.parametrize(
    "event_ms, hinted",
    [(BROKER_TIME_MS // 1000, True), (BROKER_TIME_MS // 500, False), (1, False)],
)
def test_seconds_are_named_only_where_they_would_be_right(event_ms: int, hinted: bool) -> None:
    verdict = judge(body(event_timestamp=str(event_ms)), BROKER_TIME_MS, INVENTORY)
    assert isinstance(verdict, Bad)
    assert ("looks like seconds" in verdict.detail) is hinted
