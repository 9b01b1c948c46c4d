"""JSON as it came: raw number text, members in order, duplicates included; and canonical again.

Here: reading a text that may be hostile, and writing what was read so that equal documents are
equal texts. Not here: what a contract asks of the document (`judge.py`).

A double in between would round money and let `1e400` become infinity, so that numbers stay text.
"""

import json

from retail_lakehouse.contracts.reasons import Reason, Refused

_INTEGER_DIGITS_AT_MOST = 20
_WHITESPACE = " \t\n\r"
_SHOWN_CHARACTERS = 40


class Number(str):
    """Raw text of a JSON number with a fraction or an exponent."""

    __slots__ = ()


class Pairs(list[tuple[str, object]]):
    """Members of a JSON object in the order they came, duplicates included."""

    __slots__ = ()


class _BadConstant(ValueError):  # noqa: N818 - control flow inside this module
    """NaN or an infinity: not JSON, though Python's parser knows them."""


def _refuse_constant(name: str) -> object:
    raise _BadConstant(f"{name} is not a JSON value")


def _integer(text: str) -> object:
    # Python refuses to convert more than 4,300 digits, and no contract knows that many.
    return int(text) if len(text) <= _INTEGER_DIGITS_AT_MOST else LongInteger(text)


class LongInteger(str):
    """Raw text of an integer with more digits than 64 bits can need."""

    __slots__ = ()


_DECODER = json.JSONDecoder(
    object_pairs_hook=Pairs,
    parse_float=Number,
    parse_int=_integer,
    parse_constant=_refuse_constant,
    strict=True,
)


def parse(text: str) -> object:
    """The one JSON value of the text; `Pairs`, `Number` and `LongInteger` where it has them.

    Raises:
        Refused: it is not one JSON value (RFC 8259).
    """
    start = len(text) - len(text.lstrip(_WHITESPACE))
    try:
        document, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise Refused(Reason.JSON, "Nested deeper than the parser can follow.") from None
    except json.JSONDecodeError as error:
        raise Refused(Reason.JSON, f"{error.msg} at character {error.pos}.") from None
    except _BadConstant as error:
        raise Refused(Reason.JSON, f"{error}.") from None
    if text[end:].strip(_WHITESPACE):
        raise Refused(Reason.JSON, f"More text after the JSON value, at character {end}.")
    return document


def check_tree(document: object, max_depth: int) -> None:
    """Depth first over the whole tree, then duplicates: `json` comes before `duplicate_key`.

    Raises:
        Refused: it nests deeper than `max_depth` levels, or an object of it names a key twice.
    """
    objects: list[Pairs] = []
    level: list[object] = [document]
    depth = 0
    while level:
        depth += 1
        if depth > max_depth:
            raise Refused(Reason.JSON, f"Nested deeper than {max_depth} levels.")
        below: list[object] = []
        for node in level:
            if type(node) is Pairs:
                objects.append(node)
                below.extend(v for _, v in node if type(v) in (Pairs, list))
            elif type(node) is list:
                below.extend(v for v in node if type(v) in (Pairs, list))
        level = below
    for pairs in objects:
        if len({name for name, _ in pairs}) != len(pairs):
            refuse_duplicate(pairs)


def refuse_duplicate(pairs: Pairs) -> None:
    """Names the key that an object has twice.

    Raises:
        Refused: there is one.
    """
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise Refused(Reason.DUPLICATE_KEY, f"The key {shown(name)} is there twice.")
        seen.add(name)


def dump(value: object) -> str:
    """Canonical JSON: keys sorted by code point, no spaces, ASCII, numbers as they came."""
    if isinstance(value, Pairs):
        return dump(dict(value))
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}:{dump(value[name])}" for name in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(dump(item) for item in value) + "]"
    if isinstance(value, (Number, LongInteger)):
        return str(value)
    return json.dumps(value)


def json_type(value: object) -> str:
    """The JSON type of what `parse` gave, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, Number):
        return "a number with a fraction or an exponent"
    if isinstance(value, (int, LongInteger)):
        return "an integer"
    if isinstance(value, Pairs):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return "a string"


def shown(text: str) -> str:
    """A text as a sentence may quote it: escaped, and cut where it is long."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    return json.dumps(cut)
