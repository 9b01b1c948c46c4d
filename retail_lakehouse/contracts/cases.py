"""The table of cases: one line a case, what becomes of it and why.

Here: bodies of the inventory event (the widest set of types) and their verdicts, written before
the parser; every engine runs them all. Not here: code that judges.

`BROKER_TIME_MS` is the broker time that every case is judged against. `None` as a verdict means
that the record is a row.
"""

from dataclasses import dataclass

from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.fields import MAX_STRING_BYTES
from retail_lakehouse.contracts.reasons import Reason

BROKER_TIME_MS = 1_795_000_000_000
_DAY_MS = 86_400_000

_GOOD: dict[str, str] = {
    "event_id": '"e-1"',
    "store_id": '"S0001"',
    "sku": '"SKU-00001"',
    "quantity_on_hand": "40",
    "quantity_reserved": "2",
    "quantity_delta": "-3",
    "unit_cost": "12.5",
    "event_type": '"SALE"',
    "event_timestamp": str(BROKER_TIME_MS - 1_000),
}


def body(**changes: str | None) -> bytes:
    """The good event's JSON with raw value texts replaced, added, or (None) left out."""
    members = {**_GOOD, **changes}
    return (
        "{" + ",".join(f'"{k}":{v}' for k, v in members.items() if v is not None) + "}"
    ).encode()


@dataclass(frozen=True, slots=True)
class Case:
    """One case: a name, the record's body, and its verdict (None: it is a row)."""

    name: str
    body: bytes | None
    reason: Reason | None


_R = Reason
_GOOD_BODY = body()
_INT_MAX, _INT_MIN = 2**31 - 1, -(2**31)

# fmt: off
CASES: tuple[Case, ...] = (
    # What a row may look like
    Case("good event", _GOOD_BODY, None),
    Case("white space around and inside", b" \n\t" + _GOOD_BODY.replace(b":", b" : ") + b"\r\n ", None),
    Case("keys in another order", b'{"event_timestamp":' + _GOOD["event_timestamp"].encode() + b"," + body(event_timestamp=None)[1:], None),
    Case("key spelt with an escape", _GOOD_BODY.replace(b'"sku"', b'"\\u0073ku"'), None),
    Case("unknown field", body(colour='"red"'), None),
    Case("unknown field that is nested", body(tags='{"a":[1,2.50,{"b":null}]}'), None),
    Case("non-ASCII text", body(sku='"กาแฟ-🛒"'), None),
    Case("ADJUST without quantity_delta", body(event_type='"ADJUST"', quantity_delta=None), None),
    Case("ADJUST with a null quantity_delta", body(event_type='"ADJUST"', quantity_delta="null"), None),
    Case("on hand below zero", body(quantity_on_hand="-4"), None),
    # No body, too much body
    Case("tombstone", None, _R.TOMBSTONE),
    Case("oversize", body(note='"' + "x" * INVENTORY.max_bytes + '"'), _R.OVERSIZE),
    Case("oversize and not UTF-8", b"\xff" * (INVENTORY.max_bytes + 1), _R.OVERSIZE),
    Case("largest body allowed", _GOOD_BODY + b" " * (INVENTORY.max_bytes - len(_GOOD_BODY)), None),
    Case("unknown fields as large as can be kept", body(note='"' + "x" * (MAX_STRING_BYTES - len('{"note":""}')) + '"'), None),
    Case("unknown fields one byte larger", body(note='"' + "x" * (MAX_STRING_BYTES - len('{"note":""}') + 1) + '"'), _R.OVERSIZE),
    Case("unknown fields whose escapes make them too large", body(note='"' + "é" * (MAX_STRING_BYTES // 6) + '"'), _R.OVERSIZE),
    Case("unknown fields too large and a wrong type", body(note='"' + "x" * MAX_STRING_BYTES + '"', sku="7"), _R.OVERSIZE),
    # Encoding
    Case("invalid UTF-8", _GOOD_BODY.replace(b"S0001", b"S\xff01"), _R.ENCODING),
    Case("overlong UTF-8", _GOOD_BODY.replace(b"S0001", b"S\xc0\x8001"), _R.ENCODING),
    Case("surrogate in UTF-8", _GOOD_BODY.replace(b"S0001", b"S\xed\xa0\x8001"), _R.ENCODING),
    Case("UTF-16", _GOOD_BODY.decode().encode("utf-16"), _R.ENCODING),
    Case("invalid UTF-8 and truncated", b'{"event_id":"\xff', _R.ENCODING),
    # JSON
    Case("empty", b"", _R.JSON),
    Case("white space only", b" \n", _R.JSON),
    Case("BOM", b"\xef\xbb\xbf" + _GOOD_BODY, _R.JSON),
    Case("truncated", _GOOD_BODY[:-10], _R.JSON),
    Case("truncated after a duplicate key", b'{"sku":"a","sku":"b","store', _R.JSON),
    Case("two documents", _GOOD_BODY + _GOOD_BODY, _R.JSON),
    Case("NUL after the document", _GOOD_BODY + b"\x00", _R.JSON),
    Case("NUL inside a string", _GOOD_BODY.replace(b"S0001", b"S\x0001"), _R.JSON),
    Case("line break inside a string", _GOOD_BODY.replace(b"S0001", b"S\n01"), _R.JSON),
    Case("no-break space between tokens", b"\xc2\xa0" + _GOOD_BODY, _R.JSON),
    Case("NaN", body(unit_cost="NaN"), _R.JSON),
    Case("Infinity", body(unit_cost="-Infinity"), _R.JSON),
    Case("leading zero", body(quantity_on_hand="040"), _R.JSON),
    Case("plus sign", body(quantity_on_hand="+4"), _R.JSON),
    Case("point without digits", body(unit_cost="12."), _R.JSON),
    Case("single quotes", _GOOD_BODY.replace(b'"', b"'"), _R.JSON),
    Case("comma at the end", _GOOD_BODY[:-1] + b",}", _R.JSON),
    Case("comment", _GOOD_BODY[:-1] + b"/**/}", _R.JSON),
    Case("unknown escape", _GOOD_BODY.replace(b"S0001", b"S\\x01"), _R.JSON),
    Case("deepest nesting allowed", body(x="[" * 31 + "]" * 31), None),
    Case("one level too deep", body(x="[" * 32 + "]" * 32), _R.JSON),
    Case("far too deep", body(x="[" * 30_000 + "]" * 30_000), _R.JSON),
    Case("too deep, with a duplicate key", body(x='{"a":1,"a":' + "[" * 40 + "]" * 40 + "}"), _R.JSON),
    Case("too deep, hidden by a later value of its key", _GOOD_BODY[:-1] + b',"x":' + b"[" * 40 + b"]" * 40 + b',"x":1}', _R.JSON),
    # Duplicate keys
    Case("duplicate key", _GOOD_BODY[:-1] + b',"sku":"SKU-00002"}', _R.DUPLICATE_KEY),
    Case("duplicate key with the same value", _GOOD_BODY[:-1] + b',"sku":"SKU-00001"}', _R.DUPLICATE_KEY),
    Case("duplicate key by an escape", _GOOD_BODY[:-1] + b',"\\u0073ku":"SKU-00001"}', _R.DUPLICATE_KEY),
    Case("duplicate key inside a value that a later one hides", _GOOD_BODY[:-1] + b',"x":{"a":1,"a":2},"x":1}', _R.DUPLICATE_KEY),
    Case("duplicate key in an unknown field", body(x='{"a":1,"a":2}'), _R.DUPLICATE_KEY),
    Case("duplicate key and a wrong type", body(x='{"a":1,"a":2}', sku="1"), _R.DUPLICATE_KEY),
    # Type
    Case("null", b"null", _R.TYPE),
    Case("array", b"[" + _GOOD_BODY + b"]", _R.TYPE),
    Case("string", b'"event"', _R.TYPE),
    Case("number", b"12", _R.TYPE),
    Case("empty object", b"{}", _R.TYPE),
    Case("missing field", body(store_id=None), _R.TYPE),
    Case("null in a required field", body(store_id="null"), _R.TYPE),
    Case("wrong case of a key", _GOOD_BODY.replace(b'"store_id"', b'"Store_ID"'), _R.TYPE),
    Case("text in an integer", body(quantity_on_hand='"12x"'), _R.TYPE),
    Case("number as a string in an integer", body(quantity_on_hand='"12"'), _R.TYPE),
    Case("fraction in an integer", body(quantity_on_hand="3.7"), _R.TYPE),
    Case("fraction of zero in an integer", body(quantity_on_hand="3.0"), _R.TYPE),
    Case("exponent in an integer", body(quantity_on_hand="1e2"), _R.TYPE),
    Case("1e400 in an integer", body(quantity_on_hand="1e400"), _R.TYPE),
    Case("boolean in an integer", body(quantity_on_hand="true"), _R.TYPE),
    Case("boolean in money", body(unit_cost="true"), _R.TYPE),
    Case("number in a string", body(sku="1"), _R.TYPE),
    Case("object in a string", body(sku="{}"), _R.TYPE),
    Case("event time as text", body(event_timestamp='"2026-11-18T12:00:00Z"'), _R.TYPE),
    Case("SALE without quantity_delta", body(quantity_delta=None), _R.TYPE),
    Case("RECEIVE with a null quantity_delta", body(event_type='"RECEIVE"', quantity_delta="null"), _R.TYPE),
    Case("money string with an exponent", body(unit_cost='"1e2"'), _R.TYPE),
    Case("money string with a space", body(unit_cost='" 12.5"'), _R.TYPE),
    Case("money string with a comma", body(unit_cost='"12,5"'), _R.TYPE),
    Case("money string that is empty", body(unit_cost='""'), _R.TYPE),
    Case("money string in Thai digits", body(unit_cost='"๑๒"'), _R.TYPE),
    Case("wrong type and out of range", body(sku="1", quantity_reserved="-1"), _R.TYPE),
    # Range
    Case("integer at the edge", body(quantity_on_hand=str(_INT_MAX)), None),
    Case("integer past the edge", body(quantity_on_hand=str(_INT_MAX + 1)), _R.RANGE),
    Case("negative integer at the edge", body(quantity_on_hand=str(_INT_MIN)), None),
    Case("negative integer past the edge", body(quantity_on_hand=str(_INT_MIN - 1)), _R.RANGE),
    Case("integer of 5,000 digits", body(quantity_on_hand="9" * 5_000), _R.RANGE),
    Case("minus zero", body(quantity_reserved="-0"), None),
    Case("reserved below zero", body(quantity_reserved="-1"), _R.RANGE),
    Case("money as a number", body(unit_cost="12.3456"), None),
    Case("money as a string", body(unit_cost='"12.3456"'), None),
    Case("money with an exponent", body(unit_cost="1.25e1"), None),
    Case("money with zeros at the end", body(unit_cost="12.34560000"), None),
    Case("money with a digit too many", body(unit_cost="12.34567"), _R.RANGE),
    Case("money string with a digit too many", body(unit_cost='"12.34567"'), _R.RANGE),
    Case("money at the edge", body(unit_cost="99999999999999.9999"), None),
    Case("money past the edge", body(unit_cost="100000000000000"), _R.RANGE),
    Case("money that a double would round", body(unit_cost="12345678901234.5678"), None),
    Case("money of 1e400", body(unit_cost="1e400"), _R.RANGE),
    Case("money of 1e-400", body(unit_cost="1e-400"), _R.RANGE),
    Case("money with an exponent past reason", body(unit_cost="1e99999999999999999999"), _R.RANGE),
    Case("zero with a huge exponent", body(unit_cost="0e400"), None),
    Case("zero with an exponent past reason", body(unit_cost="-0.00e99999999999999999999"), None),
    Case("money with an exponent past reason below", body(unit_cost="1e-99999999999999999999"), _R.RANGE),
    Case("money below zero", body(unit_cost="-0.01"), _R.RANGE),
    Case("money of minus zero", body(unit_cost="-0.0"), None),
    Case("unknown event type", body(event_type='"GIFT"'), _R.RANGE),
    Case("event type in lower case", body(event_type='"sale"'), _R.RANGE),
    Case("empty string", body(store_id='""'), _R.RANGE),
    Case("longest string", body(event_id='"' + "x" * 64 + '"'), None),
    Case("string too long", body(event_id='"' + "x" * 65 + '"'), _R.RANGE),
    Case("escaped NUL", body(store_id='"S\\u00001"'), _R.RANGE),
    Case("half a surrogate pair", body(store_id='"S\\ud800"'), _R.RANGE),
    Case("whole surrogate pair", body(store_id='"S\\ud83d\\uded2"'), None),
    Case("escaped NUL in an unknown field", body(note='"\\u0000"'), None),
    Case("half a surrogate pair in an unknown field", body(note='"\\udc00"'), None),
    Case("SALE that raises stock", body(quantity_delta="3"), _R.RANGE),
    Case("RECEIVE that lowers stock", body(event_type='"RECEIVE"'), _R.RANGE),
    Case("TRANSFER of nothing", body(event_type='"TRANSFER"', quantity_delta="0"), _R.RANGE),
    Case("out of range and in the future", body(quantity_reserved="-1", event_timestamp=str(BROKER_TIME_MS * 2)), _R.RANGE),
    Case("event time past 64 bits", body(event_timestamp="9223372036854775808"), _R.RANGE),
    # Time
    Case("seconds instead of milliseconds", body(event_timestamp=str(BROKER_TIME_MS // 1000)), _R.TIME),
    Case("negative event time", body(event_timestamp="-1"), _R.TIME),
    Case("oldest event allowed", body(event_timestamp=str(BROKER_TIME_MS - 7 * _DAY_MS)), None),
    Case("one millisecond too old", body(event_timestamp=str(BROKER_TIME_MS - 7 * _DAY_MS - 1)), _R.TIME),
    Case("furthest ahead allowed", body(event_timestamp=str(BROKER_TIME_MS + 600_000)), None),
    Case("one millisecond too far ahead", body(event_timestamp=str(BROKER_TIME_MS + 600_001)), _R.TIME),
    Case("far future", body(event_timestamp="99999999999999"), _R.TIME),
)
# fmt: on
