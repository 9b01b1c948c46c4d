"""The verdict on one record: a typed row, or quarantine with its reason.

Here: the strict judge, a pure function of (body, broker time, contract). Both engines use it, or
prove equal to it. Not here: how a text is read (`strict_json.py`), uniqueness (a function of the
stream, not of one record), I/O.

The judge works on bytes and raw number text (`strict_json.py` says why). The order of the steps is
`reasons.PRECEDENCE`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from retail_lakehouse.contracts.canonical import decimal_text
from retail_lakehouse.contracts.events import (
    EVENT_ID_FIELD,
    EVENT_TIME_FIELD,
    EventContract,
    SignRule,
)
from retail_lakehouse.contracts.fields import INTEGER_LIMITS, MAX_STRING_BYTES, Field, Kind
from retail_lakehouse.contracts.reasons import Reason, Refused
from retail_lakehouse.contracts.strict_json import (
    LongInteger,
    Number,
    Pairs,
    check_tree,
    dump,
    json_type,
    parse,
    refuse_duplicate,
    shown,
)

_DECIMAL_STRING = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_NON_ZERO = re.compile(r"^[^eE]*[1-9]")
_SIGN_WORDS = {-1: "below zero", 0: "other than zero", 1: "above zero"}


@dataclass(frozen=True, slots=True)
class Good:
    """A row. `values` holds every contract field (None for NULL); decimals are `Decimal`."""

    values: dict[str, object]
    canonical: str
    extra: str | None
    """Unknown fields as canonical JSON, or None."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A record for quarantine."""

    reason: Reason
    detail: str
    event_id: str | None = None


Verdict = Good | Bad


def judge(body: bytes | None, broker_time_ms: int, contract: EventContract) -> Verdict:
    """The verdict on one record of the contract's topic.

    Args:
        body: the record's value as it came; None for a tombstone.
        broker_time_ms: LogAppendTime of the record in epoch milliseconds.
        contract: the contract of the topic.
    """
    members: dict[str, object] = {}
    try:
        members = _members(body, contract)
        extra = _extra(members, contract)
        values = {field.name: _typed(field, members.get(field.name)) for field in contract.fields}
        _check_required_by_sign_rules(contract.sign_rules, values)
        parts = [_ranged(field, values) for field in contract.fields]
        _check_rules(contract, values)
        _check_time(contract, values, broker_time_ms)
    except Refused as refused:
        event_id = members.get(EVENT_ID_FIELD)
        longest = contract.field(EVENT_ID_FIELD).max_length
        readable = type(event_id) is str and _storable(event_id) and len(event_id) <= longest
        return Bad(refused.reason, refused.detail, str(event_id) if readable else None)
    return Good(values, "|".join(parts), extra)


def as_of_today(
    contract: EventContract, values: Mapping[str, object], extra: str
) -> tuple[dict[str, object], str | None]:
    """Values and `extra` of a row of an older contract, as a copy of its record is judged now.

    A field that was unknown then moves out of `extra`, unless no good copy can have its value.
    """
    known, unknown = dict(values), parse(extra)
    members = dict(unknown) if isinstance(unknown, Pairs) else {}
    for field in contract.fields:
        if field.name in members and known[field.name] is None:
            try:
                known[field.name] = _typed(field, members[field.name])
                _ranged(field, known)
                del members[field.name]
            except Refused:
                known[field.name] = None
    return known, dump(members) if members else None


def _members(body: bytes | None, contract: EventContract) -> dict[str, object]:
    if body is None:
        raise Refused(Reason.TOMBSTONE, "The record has no body.")
    if len(body) > contract.max_bytes:
        raise Refused(
            Reason.OVERSIZE, f"{len(body)} bytes; the contract allows {contract.max_bytes}."
        )
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(Reason.ENCODING, f"Not UTF-8 at byte {error.start}.") from None
    document = parse(text)
    if type(document) is not Pairs:
        if type(document) is list:
            check_tree(document, contract.max_depth)
        raise Refused(Reason.TYPE, f"The body is {json_type(document)}, not an object.")
    members = dict(document)
    # Of every pair: a key that comes again hides what it held the first time.
    if any(type(value) in (Pairs, list) for _, value in document):
        check_tree(document, contract.max_depth)
    if len(members) != len(document):
        refuse_duplicate(document)
    return members


def _extra(members: Mapping[str, object], contract: EventContract) -> str | None:
    unknown = members.keys() - {field.name for field in contract.fields}
    if not unknown:
        return None
    extra = dump({name: members[name] for name in unknown})
    # It is ASCII: its characters are its bytes.
    if len(extra) > MAX_STRING_BYTES:
        raise Refused(
            Reason.OVERSIZE,
            f"Its unknown fields take {len(extra)} bytes; {MAX_STRING_BYTES} can be kept.",
        )
    return extra


def _typed(field: Field, value: object) -> object:
    """`value` checked for its JSON type; a decimal becomes `Decimal`, whatever its size."""
    if value is None:
        if field.required:
            raise Refused(Reason.TYPE, f"{field.name} is absent or null.")
        return None
    kind = type(value)
    if field.kind is Kind.STRING:
        if kind is str:
            return value
    elif field.kind is Kind.DECIMAL:
        if kind is int:
            return Decimal(value)  # type: ignore[arg-type]
        if kind in (Number, LongInteger) or (kind is str and _DECIMAL_STRING.fullmatch(str(value))):
            return _decimal(str(value))
    elif kind in (int, LongInteger):
        return value
    raise Refused(Reason.TYPE, f"{field.name} is {json_type(value)}, not {_wanted(field)}.")


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent past what the decimal module can hold
        return Decimal("Infinity") if _NON_ZERO.search(text) else Decimal(0)


def _ranged(field: Field, values: dict[str, object]) -> str:
    """Checks the value's range and returns its canonical part."""
    value = values[field.name]
    if value is None:
        return "~"
    if field.kind is Kind.STRING:
        text = str(value)
        if field.allowed:
            if text not in field.allowed:
                raise Refused(
                    Reason.RANGE,
                    f"{field.name} is {shown(text)}, not one of {', '.join(field.allowed)}.",
                )
        elif not 1 <= len(text) <= field.max_length:
            raise Refused(
                Reason.RANGE,
                f"{field.name} has {len(text)} characters, not 1 to {field.max_length}.",
            )
        elif not _storable(text):
            raise Refused(Reason.RANGE, f"{field.name} holds NUL or half a surrogate pair.")
        return f"{len(text)}:{text}"
    if field.kind is Kind.DECIMAL:
        return _ranged_decimal(field, values)
    low, high = INTEGER_LIMITS[field.kind]
    low = low if field.minimum is None else max(low, field.minimum)
    high = high if field.maximum is None else min(high, field.maximum)
    if type(value) is not int or not low <= value <= high:
        raise Refused(Reason.RANGE, f"{field.name} is not within {low} to {high}.")
    return str(value)


def _ranged_decimal(field: Field, values: dict[str, object]) -> str:
    value = values[field.name]
    assert isinstance(value, Decimal)  # noqa: S101
    if not value:
        # Zero may come with any exponent and any sign; as a row it has one spelling.
        value = Decimal(0)
    whole_digits = value.adjusted() + 1 if value.is_finite() else field.precision + 1
    if whole_digits > field.precision - field.scale:
        raise Refused(
            Reason.RANGE,
            f"{field.name} has more than {field.precision - field.scale} digits before the point.",
        )
    # Sized by digits, not by arithmetic: an exponent of a billion must cost nothing.
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # noqa: S101
    significant = len("".join(map(str, digits)).rstrip("0"))
    if value and significant - value.adjusted() - 1 > field.scale:
        raise Refused(
            Reason.RANGE, f"{field.name} has more than {field.scale} digits after the point."
        )
    if field.minimum is not None and value < field.minimum:
        raise Refused(Reason.RANGE, f"{field.name} is below {field.minimum}.")
    if field.maximum is not None and value > field.maximum:
        raise Refused(Reason.RANGE, f"{field.name} is above {field.maximum}.")
    text = decimal_text(value, field.scale)
    values[field.name] = Decimal(text)
    return text


def _check_required_by_sign_rules(
    rules: tuple[SignRule, ...], values: Mapping[str, object]
) -> None:
    for rule in rules:
        absent = values[rule.field] is None
        if absent and rule.required and values[rule.when_field] == rule.equals:
            raise Refused(
                Reason.TYPE, f"{rule.field} is absent or null on {rule.equals}, which needs it."
            )


_SIGN_CHECKS: dict[int, Callable[[int], bool]] = {
    -1: lambda n: n < 0,
    0: lambda n: n != 0,
    1: lambda n: n > 0,
}


def _check_rules(contract: EventContract, values: Mapping[str, object]) -> None:
    for rule in contract.sign_rules:
        value = values[rule.field]
        holds = values[rule.when_field] == rule.equals and isinstance(value, int)
        if holds and not _SIGN_CHECKS[rule.sign](value):  # type: ignore[arg-type]
            raise Refused(
                Reason.RANGE,
                f"{rule.field} is {value} on {rule.equals}, not {_SIGN_WORDS[rule.sign]}.",
            )
    for name in contract.non_zero:
        if values[name] == 0:
            raise Refused(Reason.RANGE, f"{name} is 0.")


def _check_time(contract: EventContract, values: Mapping[str, object], broker_time_ms: int) -> None:
    event_time_ms = values[EVENT_TIME_FIELD]
    assert isinstance(event_time_ms, int)  # noqa: S101
    oldest = broker_time_ms - contract.max_age_hours * 3_600_000
    newest = broker_time_ms + contract.max_ahead_minutes * 60_000
    if oldest <= event_time_ms <= newest:
        return
    hint = ""
    if oldest <= event_time_ms * 1000 <= newest:
        hint = " It looks like seconds where milliseconds are asked for."
    raise Refused(
        Reason.TIME,
        f"{EVENT_TIME_FIELD} {event_time_ms} is not within {contract.max_age_hours} h before and "
        f"{contract.max_ahead_minutes} min after the broker time {broker_time_ms}.{hint}",
    )


def _storable(text: str) -> bool:
    if text.isascii():
        return "\x00" not in text
    return "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _wanted(field: Field) -> str:
    if field.kind is Kind.STRING:
        return "a string"
    return "a number or a decimal string" if field.kind is Kind.DECIMAL else "an integer"
