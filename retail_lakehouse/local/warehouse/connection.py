"""One client's conversation in PostgreSQL's protocol.

Here: startup, password, simple and extended query, cancel. Not here: what a statement does
(`session.py`), the bytes of a message (`wire.py`), or the listening socket (`server.py`).
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import secrets
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import duckdb

from retail_lakehouse.local.warehouse import wire
from retail_lakehouse.local.warehouse.datatypes import UNKNOWN_OID, decode_parameter, encoders
from retail_lakehouse.local.warehouse.datatypes import data_row as encode_row
from retail_lakehouse.local.warehouse.engine import Engine
from retail_lakehouse.local.warehouse.errors import WarehouseError, from_duckdb
from retail_lakehouse.local.warehouse.grammar import split
from retail_lakehouse.local.warehouse.results import Prepared, Result
from retail_lakehouse.local.warehouse.session import SERVER_VERSION, Session

_log = logging.getLogger(__name__)
_ROWS_A_FETCH = 2_000
_NEWEST_PROTOCOL = 2
_T = TypeVar("_T")


@dataclass(slots=True)
class _Portal:
    """A bound statement: its values, its result once it runs, and the formats asked for."""

    prepared: Prepared
    values: list[object]
    formats: list[int]
    result: Result | None = None


@dataclass(slots=True)
class Connection:
    """A client, from its first byte to its last. `process_id` and `secret` let it cancel."""

    engine: Engine
    pool: ThreadPoolExecutor
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    process_id: int
    password_file: Path
    secret: int = field(default_factory=lambda: secrets.randbits(31))
    protocol: int = 0
    session: Session | None = None
    statements: dict[str, Prepared] = field(default_factory=dict)
    portals: dict[str, _Portal] = field(default_factory=dict)
    skipping: bool = False
    """After an error of the extended protocol: until the next Sync."""

    @property
    def _live(self) -> Session:
        if self.session is None:
            raise WarehouseError("08003", "the session has ended")
        return self.session

    async def serve(self, connections: dict[int, "Connection"]) -> None:
        """Talks to the client until it leaves.

        Raises:
            ConnectionError: it went away, or sent what is no message of the protocol.
        """
        parameters = await self._startup(connections)
        if parameters is None:
            return
        if not await self._log_in(parameters):
            return
        connections[self.process_id] = self
        self.session = await self._work(lambda: Session(self.engine, self.process_id))
        self._greet(parameters)
        while True:
            code = await self.reader.readexactly(1)
            payload = await self._payload()
            if code == b"X":
                return
            await self._handle(code, payload)
            await self.writer.drain()

    def interrupt(self) -> None:
        """Stops the statement that runs, if any."""
        if self.session is not None:
            self.session.cursor.interrupt()

    def close(self) -> None:
        """Ends the session in its own thread."""
        if self.session is not None:
            with contextlib.suppress(RuntimeError):
                # RuntimeError: the pool is gone with the server, and the engine closes the rest.
                self.pool.submit(_end_session, self.session)
            self.session = None

    async def _work(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, function)

    async def _payload(self) -> bytes:
        size = struct.unpack("!i", await self.reader.readexactly(4))[0]
        if not 4 <= size <= wire.MAX_MESSAGE_BYTES:
            raise ConnectionError("a message of an impossible size")
        return await self.reader.readexactly(size - 4)

    async def _startup(self, connections: dict[int, "Connection"]) -> dict[str, str] | None:
        while True:
            payload = wire.Payload(await self._payload())
            code = payload.int32()
            if code in (wire.SSL_REQUEST, wire.GSS_REQUEST):
                self.writer.write(b"N")
                await self.writer.drain()
                continue
            if code == wire.CANCEL_REQUEST:
                target = connections.get(payload.int32())
                if target is not None and target.secret == payload.int32():
                    target.interrupt()
                return None
            if code != wire.PROTOCOL_3:
                self._fatal("0A000", f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}")
                return None
            parameters: dict[str, str] = {}
            while name := payload.text():
                parameters[name] = payload.text()
            return parameters

    def _fatal(self, sqlstate: str, text: str) -> None:
        self.writer.write(wire.error(WarehouseError(sqlstate, text, severity="FATAL")))

    async def _log_in(self, parameters: dict[str, str]) -> bool:
        user = parameters.get("user", "")
        salt = secrets.token_bytes(4)
        self.writer.write(wire.authentication_md5(salt))
        await self.writer.drain()
        if await self.reader.readexactly(1) != b"p":
            self._fatal("08P01", "a password message was expected")
            return False
        given = (await self._payload()).rstrip(b"\x00")
        try:
            password = self.password_file.read_text().strip()
        except OSError:
            _log.warning("The password file %s cannot be read.", self.password_file)
            self._fatal("28000", f"the password file {self.password_file} cannot be read")
            return False
        expected = _md5_answer(password, self.engine.settings.user, salt)
        same_password = hmac.compare_digest(given, expected)
        same_user = hmac.compare_digest(user.encode(), self.engine.settings.user.encode())
        if not (same_password and same_user):
            self._fatal("28000", f'password authentication failed for user "{user}"')
            return False
        database = parameters.get("database") or user
        if database != self.engine.settings.database:
            self._fatal("3D000", f'database "{database}" does not exist')
            return False
        return True

    def _greet(self, parameters: dict[str, str]) -> None:
        wanted = parameters.get("client_protocol_version", "")
        self.protocol = min(int(wanted), _NEWEST_PROTOCOL) if wanted.isdigit() else 0
        statuses = {
            "client_encoding": "UTF8",
            "DateStyle": "ISO, MDY",
            "integer_datetimes": "on",
            "is_superuser": "on",
            "server_encoding": "UTF8",
            "server_version": SERVER_VERSION,
            "session_authorization": self.engine.settings.user,
            "standard_conforming_strings": "on",
            "TimeZone": "UTC",
        }
        if wanted:
            statuses["server_protocol_version"] = str(self.protocol)
        self.writer.write(wire.AUTHENTICATION_OK)
        for name, value in statuses.items():
            self.writer.write(wire.parameter_status(name, value))
        self.writer.write(wire.backend_key(self.process_id, self.secret))
        self.writer.write(wire.ready("I"))

    async def _handle(self, code: bytes, data: bytes) -> None:
        if code == b"S":
            self.skipping = False
            self._ready()
            return
        if code == b"H" or (self.skipping and code != b"Q"):
            return
        try:
            payload = wire.Payload(data)
            handler = {
                b"Q": self._simple,
                b"P": self._parse,
                b"B": self._bind,
                b"D": self._describe,
                b"E": self._execute,
                b"C": self._close,
            }.get(code)
            if handler is None:
                raise WarehouseError("08P01", f"unexpected message {code!r}")
            await handler(payload)
        except WarehouseError as error:
            self._failed(error, code)
        except duckdb.Error as error:
            self._failed(from_duckdb(error), code)
        except Exception as error:  # noqa: BLE001 - one bad statement must not end the session
            _log.exception("A statement failed in a way that nobody foresaw.")
            self._failed(WarehouseError("XX000", f"internal error: {error!r}"), code)

    def _failed(self, error: WarehouseError, code: bytes) -> None:
        if self._live.status == "T":
            self._live.status = "E"
        self._notices()
        self.writer.write(wire.error(error))
        if code == b"Q":
            self._ready()
        else:
            self.skipping = True

    def _ready(self) -> None:
        self.writer.write(wire.ready(self._live.status))

    def _notices(self) -> None:
        for text in self._live.notices:
            self.writer.write(wire.notice(text))
        self._live.notices.clear()

    async def _simple(self, payload: wire.Payload) -> None:
        session = self._live
        texts = split(payload.text())
        if not texts:
            self.writer.write(wire.EMPTY_QUERY)
        for text in texts:
            prepared = await self._work(lambda text=text: session.prepare(text))  # type: ignore[misc]
            columns = await self._work(lambda p=prepared: session.describe(p))  # type: ignore[misc]
            portal = _Portal(prepared, [], [0] * len(columns or ()))
            if columns:
                self.writer.write(wire.row_description(columns, portal.formats, self.protocol))
            await self._run(portal, 0)
        self._ready()

    async def _parse(self, payload: wire.Payload) -> None:
        session = self._live
        name, text = payload.text(), payload.text()
        oids = [payload.int32() or UNKNOWN_OID for _ in range(payload.int16())]
        self.statements[name] = await self._work(lambda: session.prepare(text, oids))
        self.writer.write(wire.PARSE_COMPLETE)

    async def _bind(self, payload: wire.Payload) -> None:
        portal_name, statement_name = payload.text(), payload.text()
        prepared = self._prepared(statement_name)
        formats = [payload.int16() for _ in range(payload.int16())]
        raw = [payload.value() for _ in range(payload.int16())]
        asked = [payload.int16() for _ in range(payload.int16())]
        values: list[object] = []
        for number, value in enumerate(raw):
            fmt = _spread(formats, number)
            oid = prepared.oids[number] if number < len(prepared.oids) else UNKNOWN_OID
            values.append(decode_parameter(oid, fmt, value))
        columns = prepared.columns or ()
        portal = _Portal(prepared, values, [_spread(asked, i) for i in range(len(columns))])
        if not columns and asked:
            portal.formats = asked
        self.portals[portal_name] = portal
        self.writer.write(wire.BIND_COMPLETE)

    def _prepared(self, name: str) -> Prepared:
        prepared = self.statements.get(name)
        if prepared is None:
            raise WarehouseError("26000", f'prepared statement "{name}" does not exist')
        return prepared

    async def _describe(self, payload: wire.Payload) -> None:
        session = self._live
        kind, name = payload.byte(), payload.text()
        if kind == b"S":
            prepared = self._prepared(name)
            columns = await self._work(lambda: session.describe(prepared))
            self.writer.write(wire.parameter_description(prepared.oids))
            formats = [0] * len(columns or ())
        else:
            portal = self._portal(name)
            columns = await self._work(lambda: session.describe(portal.prepared))
            portal.formats = formats = [
                _spread(portal.formats, i) for i in range(len(columns or ()))
            ]
        if columns is None:
            self.writer.write(wire.NO_DATA)
        else:
            self.writer.write(wire.row_description(columns, formats, self.protocol))

    def _portal(self, name: str) -> _Portal:
        portal = self.portals.get(name)
        if portal is None:
            raise WarehouseError("34000", f'portal "{name}" does not exist')
        return portal

    async def _execute(self, payload: wire.Payload) -> None:
        portal = self._portal(payload.text())
        await self._run(portal, payload.int32())

    async def _run(self, portal: _Portal, limit: int) -> None:
        limit_seconds = self._live.timeout_seconds
        if limit_seconds is None:
            await self._run_and_send(portal, limit)
            return
        timer = asyncio.get_running_loop().call_later(limit_seconds, self.interrupt)
        try:
            await self._run_and_send(portal, limit)
        finally:
            timer.cancel()

    async def _run_and_send(self, portal: _Portal, limit: int) -> None:
        session = self._live
        if portal.result is None:
            portal.result = await self._work(
                lambda: session.execute(portal.prepared, portal.values)
            )
            self._notices()
        result = portal.result
        if result.columns:
            formats = [_spread(portal.formats, i) for i in range(len(result.columns))]
            encode = encoders(result.columns, formats, self.protocol)
            sent = 0
            while not limit or sent < limit:
                count = min(_ROWS_A_FETCH, limit - sent) if limit else _ROWS_A_FETCH

                def chunk(count: int = count) -> tuple[int, bytes]:
                    rows = result.fetch(count)
                    return len(rows), b"".join(encode_row(row, encode) for row in rows)

                got, data = await self._work(chunk)
                if not got:
                    break
                sent += got
                self.writer.write(data)
                await self.writer.drain()
            if limit and sent == limit:
                self.writer.write(wire.PORTAL_SUSPENDED)
                return
        if result.tag:
            self.writer.write(wire.command_complete(result.tag))
        else:
            self.writer.write(wire.EMPTY_QUERY)

    async def _close(self, payload: wire.Payload) -> None:
        kind, name = payload.byte(), payload.text()
        if kind == b"S":
            self.statements.pop(name, None)
        else:
            self.portals.pop(name, None)
        self.writer.write(wire.CLOSE_COMPLETE)


def _end_session(session: Session) -> None:
    try:
        session.close()
    except duckdb.Error as error:
        _log.debug("A session's cursor was closed already: %s", error)


def _spread(formats: list[int], number: int) -> int:
    """The format of value `number`: none means text, one holds for all."""
    if not formats:
        return 0
    return formats[0] if len(formats) == 1 else formats[number]


def _md5_answer(password: str, user: str, salt: bytes) -> bytes:
    # The protocol's own choice of hash; it never leaves loopback.
    inner = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    outer = hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest()
    return b"md5" + outer.encode()
