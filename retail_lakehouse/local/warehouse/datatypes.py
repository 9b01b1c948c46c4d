"""Redshift's types on the wire: their object ids, and values to bytes and back.

Here: the mapping between DuckDB's type names, Redshift's types and the bytes that
redshift_connector decodes (`utils/type_utils.py`, protocol version 2: binary for numbers, dates
and times, text for the rest). Not here: type inference over SQL (`inference.py`).
"""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from retail_lakehouse.local.warehouse.errors import WarehouseError

TEXT, BINARY = 0, 1
UNKNOWN_OID = 705
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - the wire carries timestamps without zone
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RedshiftType:
    """A type: object id, size in bytes (-1: varying), modifier, and its name in SQL."""

    oid: int
    size: int
    modifier: int
    name: str

    @property
    def scale(self) -> int:
        """Digits after the point of a NUMERIC."""
        return (self.modifier - 4) & 0xFFFF

    @property
    def precision(self) -> int:
        """All digits of a NUMERIC."""
        return (self.modifier - 4) >> 16


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result."""

    name: str
    type: RedshiftType


def numeric(precision: int, scale: int) -> RedshiftType:
    """NUMERIC(precision, scale)."""
    return RedshiftType(1700, -1, ((precision << 16) | scale) + 4, f"numeric({precision},{scale})")


VARCHAR = RedshiftType(1043, -1, -1, "character varying")
BIGINT = RedshiftType(20, 8, -1, "bigint")
NAME_CHAR = RedshiftType(1042, -1, 128 + 4, "character(128)")
"""How SVV_MV_INFO keeps names: the wire brings them padded with blanks."""
SUPER = RedshiftType(4000, -1, -1, "super")

_BY_DUCKDB: dict[str, RedshiftType] = {
    "BOOLEAN": RedshiftType(16, 1, -1, "boolean"),
    "TINYINT": RedshiftType(21, 2, -1, "smallint"),
    "UTINYINT": RedshiftType(21, 2, -1, "smallint"),
    "SMALLINT": RedshiftType(21, 2, -1, "smallint"),
    "USMALLINT": RedshiftType(23, 4, -1, "integer"),
    "INTEGER": RedshiftType(23, 4, -1, "integer"),
    "UINTEGER": BIGINT,
    "BIGINT": BIGINT,
    "UBIGINT": numeric(20, 0),
    "HUGEINT": numeric(38, 0),
    "UHUGEINT": numeric(38, 0),
    "FLOAT": RedshiftType(700, 4, -1, "real"),
    "DOUBLE": RedshiftType(701, 8, -1, "double precision"),
    "VARCHAR": VARCHAR,
    "JSON": SUPER,
    "BLOB": RedshiftType(6551, -1, -1, "binary varying"),
    "DATE": RedshiftType(1082, 4, -1, "date"),
    "TIME": RedshiftType(1083, 8, -1, "time without time zone"),
    "TIMESTAMP": RedshiftType(1114, 8, -1, "timestamp without time zone"),
    "TIMESTAMP WITH TIME ZONE": RedshiftType(1184, 8, -1, "timestamp with time zone"),
    "INTERVAL": RedshiftType(1190, 8, -1, "interval day to second"),
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


def from_duckdb(name: str) -> RedshiftType:
    """Redshift's type for a DuckDB type name; what has no counterpart is text."""
    decimal = _DECIMAL.fullmatch(name)
    if decimal:
        return numeric(int(decimal[1]), int(decimal[2]))
    if name.startswith(("TIMESTAMP_", "TIMESTAMP ")) and "ZONE" not in name:
        return _BY_DUCKDB["TIMESTAMP"]
    return _BY_DUCKDB.get(name, VARCHAR)


# What a parameter is cast to in DuckDB, by the object id that the driver declares. A Python str
# comes as "unknown" and stays untyped, so that it takes the type of what it is compared with; a
# Decimal keeps its own precision.
PARAMETER_TYPES: dict[int, str] = {
    16: "BOOLEAN",
    20: "BIGINT",
    21: "SMALLINT",
    23: "INT",
    25: "VARCHAR",
    700: "REAL",
    701: "DOUBLE",
    1043: "VARCHAR",
    1082: "DATE",
    1083: "TIME",
    1114: "TIMESTAMP",
    1184: "TIMESTAMPTZ",
}
_INTEGER_FORMATS = {20: "!q", 21: "!h", 23: "!i", 26: "!I", 700: "!f", 701: "!d"}


def decode_parameter(oid: int, fmt: int, data: bytes | None) -> object:
    """A bound parameter as a Python value.

    Raises:
        WarehouseError: the bytes are not of the declared type (22P02), or a type that Redshift
            does not bind either (0A000).
    """
    if data is None:
        return None
    try:
        return _decode_binary(oid, data) if fmt == BINARY else _decode_text(oid, data.decode())
    except (ValueError, ArithmeticError, struct.error) as error:
        raise WarehouseError("22P02", f"invalid parameter of type {oid}: {error}") from None


def _decode_binary(oid: int, data: bytes) -> object:
    if oid == 16:
        return data != b"\x00"
    if oid in _INTEGER_FORMATS:
        return struct.unpack(_INTEGER_FORMATS[oid], data)[0]
    if oid in (1114, 1184):
        moment = _EPOCH + timedelta(microseconds=struct.unpack("!q", data)[0])
        return moment if oid == 1114 else moment.replace(tzinfo=UTC)
    if oid in (25, 1043, UNKNOWN_OID):
        return data.decode()
    raise WarehouseError("0A000", f"parameters of type {oid} cannot be bound")


def _decode_text(oid: int, text: str) -> object:
    if oid == 16:
        return text.lower() in ("t", "true", "1", "y", "yes", "on")
    if oid in (20, 21, 23, 26):
        return int(text)
    if oid in (700, 701):
        return float(text)
    if oid == 1700:
        return Decimal(text)
    if oid == 1082:
        return date.fromisoformat(text)
    if oid == 1083:
        return time.fromisoformat(text)
    if oid == 1114:
        return datetime.fromisoformat(text)
    return text


Encoder = Callable[[Any], bytes]


def encoders(
    columns: Sequence[Column], formats: Sequence[int], protocol: int
) -> tuple[Encoder, ...]:
    """One function a column that turns a DuckDB value into the bytes of the asked format."""
    return tuple(_encoder(c.type, f, protocol) for c, f in zip(columns, formats, strict=True))


def _encoder(kind: RedshiftType, fmt: int, protocol: int) -> Encoder:
    if kind == NAME_CHAR:
        return lambda value: str(value).ljust(128).encode()
    if fmt == TEXT:
        return _text
    if kind.oid == 16:
        return lambda value: b"\x01" if value else b"\x00"
    if kind.oid in (20, 21, 23):
        pack_int = struct.Struct(_INTEGER_FORMATS[kind.oid]).pack
        return lambda value: pack_int(int(value))
    if kind.oid in (700, 701):
        pack_float = struct.Struct(_INTEGER_FORMATS[kind.oid]).pack
        return lambda value: pack_float(float(value))
    if kind.oid == 1700 and protocol >= 2:
        return _numeric_encoder(kind)
    return _BINARY.get(kind.oid, _text)


def _numeric_encoder(kind: RedshiftType) -> Encoder:
    # Redshift sends the unscaled integer: 8 bytes up to 18 digits, else 16.
    size = 8 if kind.precision <= 18 else 16
    scale = kind.scale

    def encode(value: Any) -> bytes:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
        sign, digits, exponent = number.as_tuple()
        unscaled = int("".join(map(str, digits)))
        shift = int(exponent) + scale
        unscaled = unscaled * 10**shift if shift >= 0 else unscaled // 10**-shift
        signed = -unscaled if sign else unscaled
        return bytes(signed.to_bytes(size, "big", signed=True))

    return encode


def _date(value: Any) -> bytes:
    return struct.pack("!i", value.toordinal() - _EPOCH.toordinal())


def _timestamp(value: Any) -> bytes:
    moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return struct.pack("!q", (moment - _EPOCH) // _MICROSECOND)


def _time(value: Any) -> bytes:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return struct.pack("!q", seconds * 1_000_000 + value.microsecond)


def _interval(value: Any) -> bytes:
    return struct.pack("!q", value // _MICROSECOND)


_BINARY: dict[int, Encoder] = {
    1082: _date,
    1083: _time,
    1114: _timestamp,
    1184: _timestamp,
    1190: _interval,
}


def _text(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, bytes | bytearray):
        return value.hex().encode()
    if isinstance(value, datetime):
        text = value.isoformat(sep=" ")
        return text.replace("+00:00", "+00").encode()
    return str(value).encode()


def data_row(row: Sequence[object], encode: Sequence[Encoder]) -> bytes:
    """One framed DataRow."""
    parts = [b""]
    size = 6
    for value, encoder in zip(row, encode, strict=True):
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
            size += 4
            continue
        data = encoder(value)
        parts.append(len(data).to_bytes(4, "big"))
        parts.append(data)
        size += 4 + len(data)
    parts[0] = b"D" + size.to_bytes(4, "big") + len(row).to_bytes(2, "big")
    return b"".join(parts)
