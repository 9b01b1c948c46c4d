"""Rules of the canonical form that any engine must come to by itself."""

from dataclasses import replace
from decimal import Decimal

import pytest

from retail_lakehouse.contracts.canonical import content_form, content_hash, decimal_text
from retail_lakehouse.contracts.events import TRANSACTIONS


@pytest.mark.parametrize(
    "value, text",
    [
        ("-1.5", "-1.5000"),
        ("-0.0001", "-0.0001"),
        ("-0", "0.0000"),
        ("-0.0000", "0.0000"),
        ("1E+3", "1000.0000"),
        ("99999999999999.9999", "99999999999999.9999"),
    ],
)
def test_a_decimal_keeps_its_sign_unless_it_is_zero(value: str, text: str) -> None:
    assert decimal_text(Decimal(value), 4) == text


def test_a_hash_is_the_digest_read_from_its_front() -> None:
    assert f"{content_hash(''):032x}" == "d41d8cd98f00b204e9800998ecf8427e"
    assert f"{content_hash('a'):032x}" == "0cc175b9c0f1b6a831c399e269772661"


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"scale": 2}, {"kind": TRANSACTIONS.fields[0].kind}]
)
def test_a_form_differs_where_contents_no_longer_compare(change: dict[str, object]) -> None:
    fields = TRANSACTIONS.fields
    price = next(i for i, field in enumerate(fields) if field.name == "unit_price")
    changed = list(fields)
    changed[price] = replace(fields[price], **change)  # type: ignore[arg-type]
    assert content_form(changed) != content_form(fields)
    assert content_form(fields[::-1]) != content_form(fields)
