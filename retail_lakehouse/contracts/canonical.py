"""The canonical form of an event's content, and hashes over it.

Here: one text for one content, whatever engine or spelling it came from. Not here: parsing.

Canonical form: the contract's fields in order, joined by `|`; NULL is `~`; a string is its length
in code points, `:` and itself (so no value can imitate a separator); an integer is its decimal
text; a decimal has exactly `scale` digits after the point and no negative zero.
The form can be written in SQL as well, which is how `verify` computes its side without this code.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_DOWN, Context, Decimal
from hashlib import md5

from retail_lakehouse.contracts.fields import Field, Kind

HASH_MODULUS = 1 << 128
_EXACT = Context(prec=60, rounding=ROUND_DOWN)


def decimal_text(value: Decimal, scale: int) -> str:
    """`value` with exactly `scale` digits after the point; zero never has a sign.

    The value must fit the scale: the judge has seen to it that nothing is rounded here.
    """
    text = format(value.quantize(Decimal(1).scaleb(-scale), context=_EXACT), "f")
    return text[1:] if text[0] == "-" and not value else text


def canonical_text(fields: Sequence[Field], values: Mapping[str, object]) -> str:
    """The canonical form of typed `values` (None for NULL) under `fields`."""
    return "|".join(_parts(fields, values))


def _parts(fields: Iterable[Field], values: Mapping[str, object]) -> Iterable[str]:
    for field in fields:
        value = values.get(field.name)
        if value is None:
            yield "~"
        elif field.kind is Kind.STRING:
            yield f"{len(str(value))}:{value}"
        elif field.kind is Kind.DECIMAL:
            assert isinstance(value, Decimal)  # noqa: S101
            yield decimal_text(value, field.scale)
        else:
            yield str(value)


def content_form(fields: Sequence[Field]) -> str:
    """What the canonical form is over: texts of two contents compare only under an equal form."""
    return "|".join(f"{field.name}:{field.kind}:{field.scale}" for field in fields)


def content_hash(canonical: str) -> int:
    """128 bits of the canonical form, as an unsigned integer (MD5, big-endian).

    MD5 because every engine has it; it guards against faults, not against an attacker.
    """
    return int.from_bytes(md5(canonical.encode("utf-8"), usedforsecurity=False).digest(), "big")
