"""What a field of an event or a column of a table is.

Here: field kinds and their limits. Not here: which fields an event has (`events.py`) or how an
engine spells a kind (each engine derives that from `Kind`).
"""

from dataclasses import dataclass
from enum import StrEnum

MONEY_PRECISION = 18
MONEY_SCALE = 4
MAX_STRING_BYTES = 16_384
"""Redshift cuts a longer string of an Iceberg table when it reads it, without a word
(https://docs.aws.amazon.com/redshift/latest/dg/querying-iceberg-supported-data-types.html)."""


class Kind(StrEnum):
    """The types the platform knows; each engine maps every one of them."""

    STRING = "string"
    INT = "int"
    LONG = "long"
    DECIMAL = "decimal"
    DATE = "date"
    TIMESTAMP = "timestamp"
    """UTC without zone, microseconds: Redshift reads Iceberg's `timestamp` as TIMESTAMP."""
    BINARY = "binary"
    BOOLEAN = "boolean"
    DOUBLE = "double"


INTEGER_LIMITS: dict[Kind, tuple[int, int]] = {
    Kind.INT: (-(2**31), 2**31 - 1),
    Kind.LONG: (-(2**63), 2**63 - 1),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event: its type, whether it must be there, and its allowed values.

    `minimum` and `maximum` are inclusive. `max_length` counts Unicode code points.
    """

    name: str
    kind: Kind
    doc: str
    required: bool = True
    minimum: int | None = None
    maximum: int | None = None
    max_length: int = 64
    allowed: tuple[str, ...] = ()
    precision: int = MONEY_PRECISION
    scale: int = MONEY_SCALE


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; its name is its identity (the catalog gives out Iceberg's ids)."""

    name: str
    kind: Kind
    doc: str
    required: bool = False
    precision: int = MONEY_PRECISION
    scale: int = MONEY_SCALE
