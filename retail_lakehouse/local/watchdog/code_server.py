"""Asking Dagster's code server whether it answers, and which sensors its code has.

Here: three calls of its gRPC service over the unix socket. Not here: what silence means. Dagster's
own client takes its whole import, so the few messages, each of one text, are written by hand.
`dagster code-server start` is a process that passes each call on to a second one, which holds the
code: a call that comes back has been through both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]

from retail_lakehouse.local.watchdog.history import first_error
from retail_lakehouse.watchdog.looks import CodeServer, Declared, TickerKind

ASK_SECONDS = 5.0
LIST_SECONDS = 30.0
_ANSWER_BYTES_MOST = 64 * 1024 * 1024
_TEXT, _BYTES_TYPE, _VARINT_TYPE = 1, 2, 0


class CodeServerSilentError(RuntimeError):
    """The code server did not answer, or with an error; the sentence says why."""


class CodeBrokenError(CodeServerSilentError):
    """The code server has come up, and answers that its code cannot be loaded."""


class CodeServerAsker:
    """Asks one code server; lists its sensors when its code was loaded anew."""

    def __init__(self, socket: Path, location: str) -> None:
        """Describe it; nothing is opened before `ask`."""
        self._socket = socket
        self._location = location
        self._server_id = ""
        self._declared: tuple[Declared, ...] | None = None

    def ask(self) -> CodeServer:
        """One look; returns within `ASK_SECONDS`, or `LIST_SECONDS` where the code is new."""
        try:
            if not self._socket.exists():
                raise CodeServerSilentError("There is no socket of it.")
            options = [("grpc.max_receive_message_length", _ANSWER_BYTES_MOST)]
            with grpc.insecure_channel(f"unix:{self._socket}", options=options) as channel:
                server_id = _call(channel, "GetServerId", b"", ASK_SECONDS)
                if server_id != self._server_id or self._declared is None:
                    self._declared = tuple(_declared(channel, self._socket, self._location))
                    self._server_id = server_id
        except CodeServerSilentError as error:
            is_broken = isinstance(error, CodeBrokenError)
            return CodeServer(False, str(error), self._declared, is_broken)
        return CodeServer(True, "", self._declared)


def _declared(channel: Any, socket: Path, location: str) -> Iterator[Declared]:
    """Every sensor and schedule of the loaded code.

    Raises:
        CodeBrokenError: the code could not be loaded.
        CodeServerSilentError: the answer is not Dagster's, or there is none.
    """
    listed = _parsed(_call(channel, "ListRepositories", b"", ASK_SECONDS))
    try:
        for symbol in listed["repository_symbols"]:
            origin = {
                "__class__": "ExternalRepositoryOrigin",
                "repository_location_origin": {
                    "__class__": "GrpcServerRepositoryLocationOrigin",
                    "host": "localhost",
                    "location_name": location,
                    "port": None,
                    "socket": str(socket),
                },
                "repository_name": symbol["repository_name"],
            }
            request = message(json.dumps(origin)) + b"\x10\x01"
            told = _parsed(_call(channel, "ExternalRepository", request, LIST_SECONDS))
            yield from tickers_of(told)
    except (KeyError, TypeError, ValueError) as error:
        raise CodeServerSilentError(f"Its list of sensors cannot be read ({error!r}).") from error


def tickers_of(told: Mapping[str, Any]) -> Iterator[Declared]:
    """The sensors and schedules in Dagster's description of a repository."""
    for kind, name in (
        (TickerKind.SENSOR, "external_sensor_datas"),
        (TickerKind.SCHEDULE, "external_schedule_datas"),
    ):
        for each in told[name]:
            status = (each.get("default_status") or {}).get("__enum__", "")
            yield Declared(
                kind=kind,
                name=str(each["name"]),
                is_on=status.endswith(".RUNNING"),
                # Where it has none of its own, Dagster's default.
                interval_seconds=float(each.get("min_interval") or 30.0),
            )


def _parsed(text: str) -> dict[str, Any]:
    """An answer of Dagster's, in JSON.

    Raises:
        CodeBrokenError: it is an error.
        CodeServerSilentError: it is no JSON.
    """
    try:
        told = json.loads(text)
    except ValueError as error:
        raise CodeServerSilentError("Its answer is not Dagster's.") from error
    if not isinstance(told, dict):
        raise CodeServerSilentError("Its answer is not Dagster's.")
    fault = told if "cls_name" in told else told.get("error")
    if isinstance(fault, dict):
        raise CodeBrokenError(f"Its code cannot be loaded: {first_error(fault)[0]}")
    return told


def _call(channel: Any, method: str, request: bytes, seconds: float) -> str:
    """The first text of the answer.

    Raises:
        CodeServerSilentError: no answer, or an error.
    """
    call = channel.unary_unary(f"/api.DagsterApi/{method}")
    try:
        return first_text(call(request, timeout=seconds))
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            why = f"It took longer than {seconds:.0f} s to answer."
        else:
            words = str(error.details() or "").strip().splitlines()
            why = f"It answered {error.code().name}{f' ({words[0][:200]})' if words else ''}."
        raise CodeServerSilentError(why) from error
    except ValueError as error:
        raise CodeServerSilentError("Its answer is not Dagster's.") from error


def message(text: str) -> bytes:
    """A protobuf message whose field 1 is the text."""
    raw = text.encode()
    return bytes([_TEXT << 3 | _BYTES_TYPE]) + _varint(len(raw)) + raw


def first_text(raw: bytes) -> str:
    """Field 1 of a protobuf message of texts and integers; empty where it is absent.

    Raises:
        ValueError: it is no such message.
    """
    place = 0
    while place < len(raw):
        key, place = _read_varint(raw, place)
        if key & 7 == _VARINT_TYPE:
            _, place = _read_varint(raw, place)
            continue
        if key & 7 != _BYTES_TYPE:
            raise ValueError("neither text nor integer")
        length, place = _read_varint(raw, place)
        if place + length > len(raw):
            raise ValueError("the message is cut off")
        if key >> 3 == _TEXT:
            return raw[place : place + length].decode()
        place += length
    return ""


def _varint(number: int) -> bytes:
    raw = bytearray()
    while number > 0x7F:
        raw.append(number & 0x7F | 0x80)
        number >>= 7
    raw.append(number)
    return bytes(raw)


def _read_varint(raw: bytes, place: int) -> tuple[int, int]:
    number, shift = 0, 0
    while place < len(raw) and shift < 64:
        byte = raw[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, place
        shift += 7
    raise ValueError("the message is cut off")
