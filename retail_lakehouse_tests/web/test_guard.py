"""Who is let in, told by headers alone; no server is started."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from retail_lakehouse.settings import Settings, SettingsError
from retail_lakehouse.web.guard import Guard, Message, Receive, Scope, Send
from retail_lakehouse.web.hosts import AllowedHosts, Authority, HostNameError, parse_hosts

PORT = 3000
MINE = ("Host", "localhost:3000")
Headers = Sequence[tuple[str, str]]


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})
    else:
        await send({"type": "lifespan.startup.complete"})


def asked(
    headers: Headers, path: str = "/", method: str = "GET", kind: str = "http", more: str = ""
) -> list[Message]:
    """What is sent back to one connection."""
    scope: Scope = {"type": kind, "path": path, "method": method}
    scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in headers]
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": f"{kind}.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    guard = Guard(_app, AllowedHosts.of(PORT, parse_hosts(more)))
    asyncio.run(guard(scope, receive, send))
    return sent


def status(headers: Headers, path: str = "/", method: str = "GET", more: str = "") -> int:
    return int(asked(headers, path, method, more=more)[0]["status"])


@pytest.mark.parametrize(
    "host", ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "LOCALHOST:3000"]
)
def test_the_loopback_names_with_the_port_are_served(host: str) -> None:
    assert status([("Host", host)]) == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebind.example:3000",
        "rebind.example",
        "localhost",
        "localhost:3001",
        "localhost.:3000",
        "127.0.0.1.:3000",
        "[::1]",
        "[::1%25lo]:3000",
        "[::ffff:127.0.0.1]:3000",
        "localhost:03000x",
        "localhost:3000:3000",
        "localhost.rebind.example:3000",
        "127.0.0.1.nip.io:3000",
        "user@localhost:3000",
        "localhost:3000/",
        "0.0.0.0:3000",
        "[::]:3000",
        "2130706433:3000",
        " localhost:3000",
        "localhost:3000\n",
        "lоcalhost:3000",
    ],
)
def test_a_foreign_host_is_refused(host: str) -> None:
    assert status([("Host", host)]) == 403


@pytest.mark.parametrize("headers", [[], [("Host", "")], [MINE, MINE], [MINE, ("Host", "evil")]])
def test_a_missing_empty_or_doubled_host_is_refused(headers: Headers) -> None:
    assert status(headers) == 400


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://127.0.0.1:3000", "http://[::1]:3000"]
)
def test_the_servers_own_origin_is_served(origin: str) -> None:
    assert status([MINE, ("Origin", origin)], method="POST") == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://localhost:8888",
        "http://localhost",
        "http://localhost:3000.evil.example",
        "http://localhost:3000@evil.example",
        "http://localhost:3000/path",
        "file://",
        "chrome-extension://localhost:3000",
        "localhost:3000",
        "http://localhost:3000, http://evil.example",
        "http://[::1",
    ],
)
def test_a_foreign_origin_is_refused(origin: str) -> None:
    assert status([MINE, ("Origin", origin)], method="POST") == 403
    assert asked([MINE, ("Origin", origin)], "/graphql", kind="websocket") == [
        {"type": "websocket.close", "code": 1008}
    ]


def test_one_foreign_origin_among_two_is_refused() -> None:
    headers = [MINE, ("Origin", "http://localhost:3000"), ("Origin", "https://evil.example")]
    assert status(headers) == 403


@pytest.mark.parametrize("headers", [[], [("Host", "evil.example:3000")]])
def test_a_websocket_with_no_or_a_foreign_host_is_closed_before_it_is_accepted(
    headers: Headers,
) -> None:
    assert [sent["type"] for sent in asked(headers, kind="websocket")] == ["websocket.close"]


def test_a_websocket_of_its_own_page_is_accepted() -> None:
    headers = [MINE, ("Origin", "http://localhost:3000"), ("Sec-Fetch-Site", "same-origin")]
    assert asked(headers, "/graphql", kind="websocket") == [{"type": "websocket.accept"}]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something-new"])
@pytest.mark.parametrize("dest", ["image", "script", "iframe", "empty"])
def test_what_a_foreign_page_embeds_is_refused(site: str, dest: str) -> None:
    mode = "navigate" if dest == "iframe" else "no-cors"
    headers = [MINE, ("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest)]
    assert status(headers, "/runs") == 403


def test_a_link_from_another_site_is_followed_but_not_to_graphql_and_not_by_a_form() -> None:
    link = [
        MINE,
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Accept", "text/html"),
    ]
    assert status(link, "/assets/retail_db/inventory_events") == 200
    assert status(link, "/graphql") == 403
    assert status(link, "/report_asset_materialization/a", "POST") == 403


def test_graphql_is_json_by_post_alone_so_that_no_address_executes_a_mutation() -> None:
    json = ("Content-Type", "application/json; charset=utf-8")
    assert status([MINE, json], "/graphql", "POST") == 200
    assert status([MINE], "/graphql", "GET") == 405
    assert status([MINE], "/graphql/", "GET") == 405
    assert status([MINE, ("Accept", "text/html")], "/graphql", "GET") == 200
    two = [("Accept", "application/json"), ("Accept", "text/html")]
    assert status([MINE, *two], "/graphql", "GET") == 405, "Dagster would execute it"
    assert status([MINE], "/graphql", "POST") == 415
    for kind in ("text/plain", "application/x-www-form-urlencoded", "text/plain;application/json"):
        assert status([MINE, ("Content-Type", kind)], "/graphql", "POST") == 415


def test_a_name_from_the_settings_is_served_with_its_port_or_with_ours_or_none() -> None:
    more = "dagster.example.com, localhost:8080,secure.example.com:443"
    for host in ("dagster.example.com", "dagster.example.com:3000", "localhost:8080"):
        assert status([("Host", host)], more=more) == 200
    for host in ("dagster.example.com:8080", "secure.example.com", "example.com"):
        assert status([("Host", host)], more=more) == 403
    proxied = [("Host", "dagster.example.com"), ("Origin", "https://dagster.example.com")]
    assert status(proxied, more=more) == 200
    told_alike = [("Host", "secure.example.com:443"), ("Origin", "https://secure.example.com")]
    assert status(told_alike, more=more) == 200


def test_what_is_neither_http_nor_websocket_is_refused_but_the_servers_own_start() -> None:
    assert asked([MINE], kind="lifespan") == [{"type": "lifespan.startup.complete"}]
    assert asked([MINE], kind="carrier-pigeon")[0]["status"] == 403


def test_a_refusal_says_why_and_cuts_what_the_stranger_sent() -> None:
    start, body = asked([("Host", "x" * 500)])
    assert dict(start["headers"])[b"content-type"] == b"text/plain; charset=utf-8"
    assert b"web_allowed_hosts" in body["body"]
    assert len(body["body"]) < 300


def test_a_refusal_is_one_line_of_the_log_whatever_the_stranger_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked([("Host", "evil\nhost")], "/a\nRefused nothing: all is well." + "x" * 500)
    (told,) = [each.getMessage() for each in caplog.records if each.name.endswith("web.guard")]
    assert told.startswith("Refused http '/a")
    assert "\n" not in told
    assert len(told) < 400


def test_a_wrong_name_in_the_settings_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match="web_allowed_hosts: 'http://x' is no host name"):
        Settings.load({"web_allowed_hosts": "good.example,http://x"})
    told = Settings.load({"web_allowed_hosts": " A.example:81 , b ,"}).web_hosts
    assert told == (Authority("a.example", 81), Authority("b", None))
    with pytest.raises(HostNameError):
        parse_hosts("name:70000")


def test_a_second_content_type_beside_json_is_refused() -> None:
    both = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    assert status([MINE, *both], "/graphql", "POST") == 415
