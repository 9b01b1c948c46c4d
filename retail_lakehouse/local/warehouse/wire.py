"""PostgreSQL's wire protocol, version 3, as Redshift speaks it: bytes in, bytes out.

Here: framing, the messages that a server sends, and a reader for the payloads it receives. Not
here: what a statement means (`session.py`) or how a value is encoded (`datatypes.py`).

Source: https://www.postgresql.org/docs/8.4/protocol-message-formats.html and, for Redshift's own
row description from protocol version 1 on, redshift_connector 2.2.0 `core.py`.
"""

import struct
from collections.abc import Sequence

from retail_lakehouse.local.warehouse.datatypes import Column
from retail_lakehouse.local.warehouse.errors import WarehouseError

SSL_REQUEST = 80_877_103
GSS_REQUEST = 80_877_104
CANCEL_REQUEST = 80_877_102
PROTOCOL_3 = 196_608
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

PARSE_COMPLETE = b"1\x00\x00\x00\x04"
BIND_COMPLETE = b"2\x00\x00\x00\x04"
CLOSE_COMPLETE = b"3\x00\x00\x00\x04"
NO_DATA = b"n\x00\x00\x00\x04"
EMPTY_QUERY = b"I\x00\x00\x00\x04"
PORTAL_SUSPENDED = b"s\x00\x00\x00\x04"
AUTHENTICATION_OK = b"R\x00\x00\x00\x08\x00\x00\x00\x00"


def message(code: bytes, payload: bytes) -> bytes:
    """One framed message."""
    return code + struct.pack("!i", len(payload) + 4) + payload


def cstring(text: str) -> bytes:
    """A zero-terminated string; zero bytes inside the text are dropped."""
    return text.replace("\x00", "").encode() + b"\x00"


def authentication_md5(salt: bytes) -> bytes:
    """Asks for md5(md5(password + user) + salt); `salt` is 4 bytes."""
    return message(b"R", struct.pack("!i", 5) + salt)


def parameter_status(name: str, value: str) -> bytes:
    """One run-time parameter."""
    return message(b"S", cstring(name) + cstring(value))


def backend_key(process_id: int, secret: int) -> bytes:
    """What a client needs to cancel a statement of this session."""
    return message(b"K", struct.pack("!ii", process_id, secret))


def ready(status: str) -> bytes:
    """Ready for the next query; `status` is I (idle), T (in a transaction) or E (failed one)."""
    return message(b"Z", status.encode())


def command_complete(tag: str) -> bytes:
    """The end of a statement."""
    return message(b"C", cstring(tag))


def notice(text: str) -> bytes:
    """A notice of severity INFO."""
    fields = b"SINFO\x00" + b"C00000\x00" + b"M" + cstring(text)
    return message(b"N", fields + b"\x00")


def error(failure: WarehouseError) -> bytes:
    """An ErrorResponse with all its fields."""
    fields = b"S" + cstring(failure.severity) + b"C" + cstring(failure.sqlstate)
    fields += b"M" + cstring(failure.message)
    if failure.detail:
        fields += b"D" + cstring(failure.detail)
    if failure.hint:
        fields += b"H" + cstring(failure.hint)
    return message(b"E", fields + b"\x00")


def parameter_description(oids: Sequence[int]) -> bytes:
    """The types of a statement's parameters."""
    return message(b"t", struct.pack(f"!h{len(oids)}i", len(oids), *oids))


def row_description(columns: Sequence[Column], formats: Sequence[int], protocol: int) -> bytes:
    """The columns of a result; from protocol version 1 on with Redshift's extended metadata."""
    parts = [struct.pack("!h", len(columns))]
    for number, (column, fmt) in enumerate(zip(columns, formats, strict=True), 1):
        kind = column.type
        parts.append(cstring(column.name))
        parts.append(struct.pack("!ihihih", 0, number, kind.oid, kind.size, kind.modifier, fmt))
        if protocol >= 1:
            parts.append(cstring("") + cstring("") + cstring(column.name) + cstring(""))
            parts.append(struct.pack("!h", 1))
    return message(b"T", b"".join(parts))


class Payload:
    """Reads the fields of one received message in turn.

    Raises:
        WarehouseError: the message is shorter than its fields say (08P01).
    """

    def __init__(self, data: bytes):
        self._data = data
        self._at = 0

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if size < 0 or end > len(self._data):
            raise WarehouseError("08P01", "a message is shorter than its fields say")
        chunk = self._data[self._at : end]
        self._at = end
        return chunk

    def byte(self) -> bytes:
        """One byte."""
        return self._take(1)

    def int16(self) -> int:
        """A signed 16-bit integer."""
        return int(struct.unpack("!h", self._take(2))[0])

    def int32(self) -> int:
        """A signed 32-bit integer."""
        return int(struct.unpack("!i", self._take(4))[0])

    def value(self) -> bytes | None:
        """A length-prefixed value, None for NULL."""
        size = self.int32()
        return None if size == -1 else self._take(size)

    def text(self) -> str:
        """A zero-terminated string."""
        end = self._data.find(b"\x00", self._at)
        if end < 0:
            raise WarehouseError("08P01", "a string in a message has no end")
        chunk = self._take(end - self._at)
        self._at = end + 1
        try:
            return chunk.decode()
        except UnicodeDecodeError:
            raise WarehouseError("22021", "a string in a message is not UTF-8") from None
