"""The guard before Dagster's web server: who may ask it, over HTTP and over WebSocket.

Here: an ASGI application around another. Not here: the server (`server.py`), names (`hosts.py`).

Dagster 1.13 asks nobody who he is and takes any Host and any Origin, and it executes a mutation
from the address of a GET. So any web page that a developer has open could start a run (code, with
a configuration of its choice): by a request across origins, or by a name that it makes point to
127.0.0.1 (DNS rebinding). What a browser says of where a request comes from cannot be forged by a
page, and is enough to tell: Host, Origin and Sec-Fetch-Site. Programs without a browser send
neither of the last two and are let in by Host alone: who runs a program on this machine needs no
web page. Documented for people in `docs/access.md`.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from retail_lakehouse.web.hosts import AllowedHosts

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY_VIOLATION = 1008
"""WebSocket's close code for it (RFC 6455, 7.4.1); before the accept the server answers 403."""
GRAPHQL_PATH = "/graphql"
_SAME_SITE = frozenset({"same-origin", "none"})
_READING = frozenset({"GET", "HEAD"})
_TOLD_MAX = 80


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in, as a sentence and as HTTP says it."""

    status: HTTPStatus
    sentence: str


class Guard:
    """Lets through what this server's own pages and this machine's programs ask."""

    def __init__(self, app: Application, hosts: AllowedHosts) -> None:
        """Stand before `app`, which is asked under the names `hosts`."""
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI 3 has it."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self.refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        path = _cut(str(scope.get("path", "")))
        logger.warning("Refused %s %s: %s", kind, path, refusal.sentence)
        if kind == "websocket":
            # The handshake has to be taken before it can be refused.
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        await _answer(send, refusal)

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why this connection is not let in; None if it is."""
        # What comes neither over HTTP nor over WebSocket has no headers to be told apart by.
        if scope["type"] not in ("http", "websocket"):
            return Refusal(HTTPStatus.FORBIDDEN, "Only HTTP and WebSocket are served here.")
        headers = _Headers(scope)
        return (
            self._by_host(headers)
            or self._by_origin(headers)
            or _by_site(scope, headers)
            or _by_form(scope, headers)
        )

    def _by_host(self, headers: "_Headers") -> Refusal | None:
        told = headers.all("host")
        if len(told) != 1 or not told[0]:
            many = "several Host headers" if len(told) > 1 else "no Host header"
            return Refusal(HTTPStatus.BAD_REQUEST, f"The request has {many}; it needs one.")
        if self._hosts.host_is_ours(told[0]):
            return None
        return Refusal(
            HTTPStatus.FORBIDDEN,
            f"This server is not asked as {_cut(told[0])}. Ask it as localhost, or allow the name "
            "with the setting web_allowed_hosts.",
        )

    def _by_origin(self, headers: "_Headers") -> Refusal | None:
        for origin in headers.all("origin"):
            if not self._hosts.origin_is_ours(origin):
                return Refusal(
                    HTTPStatus.FORBIDDEN, f"A page of {_cut(origin)} may not ask this server."
                )
        return None


def _by_site(scope: Scope, headers: "_Headers") -> Refusal | None:
    """An image, a script or a frame of a foreign page has no Origin, but says where it is from.

    A link to a page is followed: alerts have them.
    """
    sites = headers.all("sec-fetch-site")
    if all(site in _SAME_SITE for site in sites):
        return None
    follows_a_link = (
        scope.get("method") in _READING
        and headers.all("sec-fetch-mode") == ["navigate"]
        and headers.all("sec-fetch-dest") == ["document"]
        and not _is_graphql(scope)
    )
    if follows_a_link:
        return None
    return Refusal(
        HTTPStatus.FORBIDDEN, "A page of another site may link to this server, and nothing else."
    )


def _by_form(scope: Scope, headers: "_Headers") -> Refusal | None:
    """GraphQL comes as JSON by POST, which no page sends to another site without asking first."""
    if scope["type"] != "http" or not _is_graphql(scope):
        return None
    if scope["method"] == "POST":
        kinds = [kind.partition(";")[0].strip().lower() for kind in headers.all("content-type")]
        if kinds == ["application/json"]:
            return None
        return Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "GraphQL is taken as Content-Type: application/json and no other.",
        )
    # Dagster then answers with its page to type queries on, whatever the address says. It looks at
    # the first of these headers alone.
    if scope["method"] in _READING and "text/html" in "".join(headers.all("accept")[:1]):
        return None
    return Refusal(
        HTTPStatus.METHOD_NOT_ALLOWED, "GraphQL is taken by POST: a GET would execute mutations."
    )


def _is_graphql(scope: Scope) -> bool:
    return str(scope.get("path", "")).rstrip("/") == GRAPHQL_PATH


class _Headers:
    """The headers of a connection; a name may come several times."""

    def __init__(self, scope: Scope) -> None:
        self._told: list[tuple[bytes, bytes]] = list(scope["headers"])

    def all(self, name: str) -> list[str]:
        wanted = name.encode()
        return [value.decode("latin-1") for key, value in self._told if key.lower() == wanted]


def _cut(text: str) -> str:
    """What a stranger sent, fit for a log and a sentence."""
    return repr(text[:_TOLD_MAX])


async def _answer(send: Send, refusal: Refusal) -> None:
    body = f"{refusal.sentence}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        # What is left of a body that nobody reads must not be taken for the next request.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
