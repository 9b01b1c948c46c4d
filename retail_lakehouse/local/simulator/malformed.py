"""Bodies that break the contract, of every reason that a body alone can have.

Here: ways to spoil a good event, each with the reason it must get. Not here: conflicts (they
break no contract, `disturbance.py`), or the rules themselves (`contracts/`).

An inventory event is also spoilt by the lines of the contract's table of cases, with the event's
own id, key and time put in.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from retail_lakehouse.contracts.cases import BROKER_TIME_MS, CASES
from retail_lakehouse.contracts.events import (
    EVENT_ID_FIELD,
    EVENT_TIME_FIELD,
    INVENTORY,
    EventContract,
)
from retail_lakehouse.contracts.fields import Field, Kind
from retail_lakehouse.contracts.reasons import Reason

_DAY_MS = 86_400_000
_LONGEST_CASE_BYTES = 1_000
_CASE_SHARE = 0.5

# Oversize bodies are 65 KiB each: at an even share they would be most of all bytes produced.
_REASON_WEIGHTS: dict[Reason, float] = {
    Reason.TOMBSTONE: 0.04,
    Reason.OVERSIZE: 0.002,
    Reason.ENCODING: 0.12,
    Reason.JSON: 0.25,
    Reason.DUPLICATE_KEY: 0.10,
    Reason.TYPE: 0.20,
    Reason.RANGE: 0.188,
    Reason.TIME: 0.10,
}


@dataclass(frozen=True, slots=True)
class Victim:
    """A good event about to be spoilt: its fields' raw JSON texts, and its moment."""

    contract: EventContract
    members: dict[str, str]
    now_ms: int

    def body(self, **changes: str | None) -> bytes:
        """Its JSON with raw texts replaced, added, or (None) left out."""
        members = {**self.members, **changes}
        inner = ",".join(f'"{name}":{text}' for name, text in members.items() if text is not None)
        return f"{{{inner}}}".encode()

    def first(self, *kinds: Kind) -> Field:
        """The first required field of one of the kinds that has no list of allowed values."""
        return next(
            field
            for field in self.contract.fields
            if field.kind in kinds and field.required and not field.allowed
        )

    @property
    def choice(self) -> str:
        """A required field with a list of allowed values."""
        return next(field.name for field in self.contract.fields if field.allowed)

    @property
    def number(self) -> str:
        """A required integer."""
        return self.first(Kind.INT, Kind.LONG).name

    @property
    def text(self) -> str:
        """A required string that is not the event's id."""
        return next(
            field.name
            for field in self.contract.fields
            if field.kind is Kind.STRING
            and field.required
            and not field.allowed
            and field.name != EVENT_ID_FIELD
        )

    def within_text(self, raw: bytes) -> bytes:
        """Its body with `raw` put in after the opening quote of `text`."""
        opening = f'"{self.text}":"'.encode()
        return self.body().replace(opening, opening + raw, 1)


Spoil = Callable[[Victim], bytes | None]


@dataclass(frozen=True, slots=True)
class Spoiler:
    """One way to spoil an event, and the reason it must get."""

    name: str
    reason: Reason
    spoil: Spoil
    needs_money: bool = False


def _changed(pick: Callable[[Victim], str], raw: str | None) -> Spoil:
    return lambda victim: victim.body(**{pick(victim): raw})


def _number(raw: str) -> Spoil:
    return _changed(lambda victim: victim.number, raw)


def _text(raw: str | None) -> Spoil:
    return _changed(lambda victim: victim.text, raw)


def _choice(raw: str | None) -> Spoil:
    return _changed(lambda victim: victim.choice, raw)


def _money(raw: str) -> Spoil:
    return _changed(lambda victim: victim.first(Kind.DECIMAL).name, raw)


def _time(of_now: Callable[[int], int]) -> Spoil:
    return lambda victim: victim.body(**{EVENT_TIME_FIELD: str(of_now(victim.now_ms))})


def _twice(victim: Victim) -> bytes:
    return victim.body()[:-1] + f',"{victim.text}":"other"}}'.encode()


def _wrong_case(victim: Victim) -> bytes:
    name = victim.text
    return victim.body().replace(f'"{name}"'.encode(), f'"{name.title()}"'.encode(), 1)


_R = Reason
SPOILERS: tuple[Spoiler, ...] = (
    Spoiler("tombstone", _R.TOMBSTONE, lambda v: None),
    Spoiler("oversize", _R.OVERSIZE, lambda v: v.body(note=f'"{"x" * v.contract.max_bytes}"')),
    Spoiler("invalid UTF-8", _R.ENCODING, lambda v: v.within_text(b"\xff")),
    Spoiler("overlong UTF-8", _R.ENCODING, lambda v: v.within_text(b"\xc0\x80")),
    Spoiler("surrogate in UTF-8", _R.ENCODING, lambda v: v.within_text(b"\xed\xa0\x80")),
    Spoiler("UTF-16", _R.ENCODING, lambda v: v.body().decode().encode("utf-16")),
    Spoiler("empty", _R.JSON, lambda v: b""),
    Spoiler("white space only", _R.JSON, lambda v: b" \n"),
    Spoiler("BOM", _R.JSON, lambda v: b"\xef\xbb\xbf" + v.body()),
    Spoiler("truncated", _R.JSON, lambda v: v.body()[:-9]),
    Spoiler("cut in half", _R.JSON, lambda v: v.body()[: len(v.body()) // 2]),
    Spoiler("two documents", _R.JSON, lambda v: v.body() + v.body()),
    Spoiler("NUL after the document", _R.JSON, lambda v: v.body() + b"\x00"),
    Spoiler("NUL inside a string", _R.JSON, lambda v: v.within_text(b"\x00")),
    Spoiler("line break inside a string", _R.JSON, lambda v: v.within_text(b"\n")),
    Spoiler("unknown escape", _R.JSON, lambda v: v.within_text(b"\\x")),
    Spoiler("comma at the end", _R.JSON, lambda v: v.body()[:-1] + b",}"),
    Spoiler("comment", _R.JSON, lambda v: v.body()[:-1] + b"/**/}"),
    Spoiler("single quotes", _R.JSON, lambda v: v.body().replace(b'"', b"'")),
    Spoiler("NaN", _R.JSON, _number("NaN")),
    Spoiler("Infinity", _R.JSON, _number("-Infinity")),
    Spoiler("leading zero", _R.JSON, _number("040")),
    Spoiler("plus sign", _R.JSON, _number("+4")),
    Spoiler("one level too deep", _R.JSON, lambda v: v.body(x="[" * 32 + "]" * 32)),
    Spoiler("duplicate key", _R.DUPLICATE_KEY, _twice),
    Spoiler("duplicate key below", _R.DUPLICATE_KEY, lambda v: v.body(x='{"a":1,"a":1}')),
    Spoiler("null", _R.TYPE, lambda v: b"null"),
    Spoiler("array", _R.TYPE, lambda v: b"[" + v.body() + b"]"),
    Spoiler("string", _R.TYPE, lambda v: json.dumps(v.body().decode()).encode()),
    Spoiler("empty object", _R.TYPE, lambda v: b"{}"),
    Spoiler("missing field", _R.TYPE, _text(None)),
    Spoiler("missing choice", _R.TYPE, _choice(None)),
    Spoiler("null in a required field", _R.TYPE, _choice("null")),
    Spoiler("wrong case of a key", _R.TYPE, _wrong_case),
    Spoiler("number in a string", _R.TYPE, _text("12")),
    Spoiler("object in a string", _R.TYPE, _text("{}")),
    Spoiler("number as a string", _R.TYPE, _number('"12"')),
    Spoiler("fraction in an integer", _R.TYPE, _number("3.0")),
    Spoiler("exponent in an integer", _R.TYPE, _number("1e2")),
    Spoiler("1e400 in an integer", _R.TYPE, _number("1e400")),
    Spoiler("boolean in an integer", _R.TYPE, _number("true")),
    Spoiler("money with a comma", _R.TYPE, _money('"12,5"'), needs_money=True),
    Spoiler("money as a boolean", _R.TYPE, _money("true"), needs_money=True),
    Spoiler("integer past 64 bits", _R.RANGE, _number("9223372036854775808")),
    Spoiler("integer of 300 digits", _R.RANGE, _number("9" * 300)),
    Spoiler("unknown choice", _R.RANGE, _choice('"GIFT"')),
    Spoiler("choice in lower case", _R.RANGE, _choice('"sale"')),
    Spoiler("empty string", _R.RANGE, _text('""')),
    Spoiler("string too long", _R.RANGE, _text(f'"{"x" * 65}"')),
    Spoiler("escaped NUL", _R.RANGE, _text('"a\\u0000b"')),
    Spoiler("half a surrogate pair", _R.RANGE, _text('"a\\ud800b"')),
    Spoiler("money with a digit too many", _R.RANGE, _money("12.34567"), needs_money=True),
    Spoiler("money past the edge", _R.RANGE, _money("100000000000000"), needs_money=True),
    Spoiler("money of 1e400", _R.RANGE, _money("1e400"), needs_money=True),
    Spoiler("money below zero", _R.RANGE, _money('"-0.01"'), needs_money=True),
    Spoiler("seconds instead of milliseconds", _R.TIME, _time(lambda now: now // 1000)),
    Spoiler("negative event time", _R.TIME, _time(lambda now: -1)),
    Spoiler("far future", _R.TIME, _time(lambda now: now * 2)),
    Spoiler("a day ahead", _R.TIME, _time(lambda now: now + _DAY_MS)),
    Spoiler("too old", _R.TIME, _time(lambda now: now - 8 * _DAY_MS)),
)

# By reason. Cases about time are judged to the millisecond against a broker time that nobody
# knows beforehand.
ADAPTABLE_CASES: dict[Reason, list[bytes]] = {
    reason: [
        case.body
        for case in CASES
        if case.reason is reason and case.body and len(case.body) <= _LONGEST_CASE_BYTES
    ]
    for reason in _REASON_WEIGHTS
    if reason is not Reason.TIME
}
_REASONS = list(_REASON_WEIGHTS)


def spoil(
    rng: np.random.Generator, contract: EventContract, row: tuple[Any, ...], now_ms: int
) -> tuple[bytes | None, Reason]:
    """A body that breaks the contract, made from a good event's raw JSON texts, and its reason."""
    reason = _REASONS[int(rng.choice(len(_REASONS), p=list(_REASON_WEIGHTS.values())))]
    names = [field.name for field in contract.fields]
    victim = Victim(contract, dict(zip(names, map(str, row), strict=True)), now_ms)
    cases = ADAPTABLE_CASES.get(reason, []) if contract is INVENTORY else []
    if cases and rng.random() < _CASE_SHARE:
        return adapted_case(cases[int(rng.integers(len(cases)))], victim), reason
    fitting = spoilers(contract, reason)
    return fitting[int(rng.integers(len(fitting)))].spoil(victim), reason


def spoilers(contract: EventContract, reason: Reason) -> list[Spoiler]:
    """The ways to spoil an event of the contract for the reason."""
    has_money = any(field.kind is Kind.DECIMAL for field in contract.fields)
    return [
        spoiler
        for spoiler in SPOILERS
        if spoiler.reason is reason and (has_money or not spoiler.needs_money)
    ]


def adapted_case(body: bytes, victim: Victim) -> bytes:
    """A body of the table of cases with the victim's id, store, SKU and time in it."""
    members = victim.members
    return (
        body.replace(b'"e-1"', members[EVENT_ID_FIELD].encode())
        .replace(b"S0001", members["store_id"].strip('"').encode())
        .replace(b"SKU-00001", members["sku"].strip('"').encode())
        .replace(str(BROKER_TIME_MS - 1_000).encode(), members[EVENT_TIME_FIELD].encode())
    )
