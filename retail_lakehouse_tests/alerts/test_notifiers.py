import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from retail_lakehouse.alerts.message import Links, Rendered, render
from retail_lakehouse.alerts.notifiers import Outcome, attempt, notifier_for
from retail_lakehouse.alerts.routes import LOG_ROUTE, Route, RouteKind, SecretSource
from retail_lakehouse_tests.alerts.build import Receiver, notice, receiver

SECRET = "T0-B0-hunter2"
MESSAGE = render("abc", [notice()], Links("http://127.0.0.1:3000"))


@pytest.fixture(autouse=True)
def _a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback is reached directly, whatever proxy the environment names."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def other_end() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture(params=[RouteKind.WEBHOOK, RouteKind.SLACK_WEBHOOK, RouteKind.SLACK_BOT])
def route(request: pytest.FixtureRequest, tmp_path: Path, other_end: Receiver) -> Route:
    """Each kind of route, its secret in a file."""
    return route_to(request.param, other_end.url, tmp_path)


def route_to(kind: RouteKind, url: str, folder: Path) -> Route:
    token, address = folder / "token", folder / "address"
    token.write_text(SECRET)
    address.write_text(f"{url}/services/{SECRET}")
    if kind is RouteKind.SLACK_BOT:
        source = SecretSource(file=str(token))
        return Route("r", kind, channel="#c", token_from=source, api_url=url)
    bearer = SecretSource(file=str(token)) if kind is RouteKind.WEBHOOK else SecretSource()
    return Route("r", kind, url_from=SecretSource(file=str(address)), token_from=bearer)


def send(route: Route, seconds: float = 1.0) -> Outcome:
    return notifier_for(route, seconds).send(MESSAGE)


def test_a_message_arrives_with_its_id_and_its_secret_where_it_belongs(
    route: Route, other_end: Receiver
) -> None:
    assert send(route) == Outcome(True)
    (taken,) = other_end.taken
    if route.kind is RouteKind.SLACK_BOT:
        assert taken.path == "/chat.postMessage"
        assert taken.headers["Authorization"] == f"Bearer {SECRET}"
        body = taken.body
        if "raw" in body:
            body = {name: value[0] for name, value in parse_qs(body["raw"]).items()}
        assert body["channel"] == "#c"
        assert "abc" in str(body["metadata"])
    else:
        assert taken.path == f"/services/{SECRET}"
    if route.kind is RouteKind.WEBHOOK:
        assert taken.headers["Idempotency-Key"] == "abc"
        assert taken.headers["Authorization"] == f"Bearer {SECRET}"
        assert taken.body["alerts"][0]["check"] == "ingest_lag"
    if route.kind is RouteKind.SLACK_WEBHOOK:
        assert taken.body["blocks"][0]["type"] == "header"
        assert "alert abc" in taken.body["text"]


@pytest.mark.parametrize("status", [500, 503, 404, 403, 401, 302])
def test_any_other_answer_is_no_delivery(route: Route, other_end: Receiver, status: int) -> None:
    other_end.answers = [(status, {"Location": f"{other_end.url}/elsewhere"}, "")] * 2
    outcome = send(route)
    assert not outcome.delivered
    assert not outcome.is_refused
    if route.kind is RouteKind.WEBHOOK:
        assert outcome.sentence == f"The webhook answered {status}."
        assert len(other_end.attempts) == 1


def test_a_redirect_is_no_delivery_and_nothing_is_asked_of_where_it_leads(
    route: Route, other_end: Receiver
) -> None:
    with receiver() as elsewhere:
        other_end.answers = [(302, {"Location": f"{elsewhere.url}/log-in"}, "")]
        outcome = send(route)
        assert not outcome.delivered
        assert "answered 302" in outcome.sentence
        assert elsewhere.attempts == []


def test_retry_after_is_passed_on_and_bounded(route: Route, other_end: Receiver) -> None:
    other_end.answers = [(429, {"Retry-After": "37"}, '{"ok": false, "error": "ratelimited"}')]
    outcome = send(route)
    assert (outcome.delivered, outcome.retry_after_seconds) == (False, 37.0)
    assert not outcome.is_refused, "the message itself is good"
    assert "429" in outcome.sentence
    other_end.answers = [(429, {"retry-after": "99999999"}, "{}")]
    assert send(route).retry_after_seconds == 3600.0
    other_end.answers = [(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "{}")]
    assert send(route).retry_after_seconds is None


def test_an_end_that_hangs_is_given_up_in_time(route: Route, other_end: Receiver) -> None:
    other_end.hang = 2.5
    began = time.monotonic()
    outcome = send(route, 1.0)
    assert not outcome.delivered
    assert time.monotonic() - began < 2.2


def test_what_slack_s_api_refuses_with_200_is_no_delivery(
    tmp_path: Path, other_end: Receiver
) -> None:
    route = route_to(RouteKind.SLACK_BOT, other_end.url, tmp_path)
    other_end.answers = [(200, {}, '{"ok": false, "error": "invalid_auth"}')]
    outcome = send(route)
    assert outcome == Outcome(False, "Slack answered 200 (invalid_auth).")


@pytest.mark.parametrize("kind", [RouteKind.SLACK_BOT, RouteKind.SLACK_WEBHOOK])
@pytest.mark.parametrize("page", ["<html>Log in first</html>", "", "[]", "{", '{"ok": 0}'])
def test_a_page_of_somebody_in_between_is_no_delivery_to_slack(
    page: str, kind: RouteKind, tmp_path: Path, other_end: Receiver
) -> None:
    other_end.answers = [(200, {}, page)]
    outcome = send(route_to(kind, other_end.url, tmp_path))
    assert not outcome.delivered
    assert outcome.sentence.startswith("Slack answered")


@pytest.mark.parametrize("kind", [RouteKind.SLACK_BOT, RouteKind.SLACK_WEBHOOK])
def test_a_message_whose_blocks_slack_refuses_is_sent_as_text(
    kind: RouteKind, tmp_path: Path, other_end: Receiver
) -> None:
    is_bot = kind is RouteKind.SLACK_BOT
    refusal = '{"ok": false, "error": "invalid_blocks"}' if is_bot else "invalid_blocks"
    other_end.answers = [(200 if is_bot else 400, {}, refusal), (200, {}, '{"ok": true}')]
    assert send(route_to(kind, other_end.url, tmp_path)).delivered
    first, second = other_end.attempts
    assert "blocks" in str(first.body)
    assert "blocks" not in str(second.body)


def test_an_end_that_refuses_the_message_itself_is_told_apart(
    tmp_path: Path, other_end: Receiver
) -> None:
    other_end.answers = [(422, {}, "")]
    assert send(route_to(RouteKind.WEBHOOK, other_end.url, tmp_path)).is_refused


@pytest.mark.parametrize(
    "code, is_refused",
    [
        ("no_service", False),
        ("user_not_found", False),
        ("team_disabled", False),
        ("invalid_payload", True),
        ("<html>", True),
    ],
)
def test_a_wrong_slack_address_is_no_fault_of_the_message(
    code: str, is_refused: bool, tmp_path: Path, other_end: Receiver
) -> None:
    other_end.answers = [(400, {}, code)]
    outcome = send(route_to(RouteKind.SLACK_WEBHOOK, other_end.url, tmp_path))
    assert (outcome.delivered, outcome.is_refused) == (False, is_refused)
    assert len(other_end.attempts) == (2 if is_refused else 1), "then it is tried as text alone"


@pytest.mark.parametrize("kind", [RouteKind.WEBHOOK, RouteKind.SLACK_WEBHOOK, RouteKind.SLACK_BOT])
@pytest.mark.parametrize("fault", ["closed port", "500", "not HTTP", "bad address", "hangs"])
def test_no_fault_shows_a_secret(
    kind: RouteKind,
    fault: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("slack_sdk", "slack_sdk.webhook.client", "slack_sdk.web.base_client", "urllib3"):
        caplog.set_level(logging.DEBUG, name)
    with (
        receiver() as end,
        socket.socket() as closed,
        socket.create_server(("127.0.0.1", 0)) as odd,
    ):
        closed.bind(("127.0.0.1", 0))
        url = {
            "closed port": f"http://127.0.0.1:{closed.getsockname()[1]}",
            "not HTTP": f"http://127.0.0.1:{odd.getsockname()[1]}",
            "bad address": "http://evil.example",
        }.get(fault, end.url)
        end.answers = [(500, {}, f"what is {SECRET}?")]
        end.hang = 1.5 if fault == "hangs" else 0.0
        route = route_to(kind, url, tmp_path)
        if fault == "bad address" and kind is RouteKind.SLACK_BOT:
            pytest.skip("A bot's address is no secret: the routes' file refuses a wrong one.")
        if fault == "not HTTP":
            threading.Thread(target=_talk_ssh, args=(odd,), daemon=True).start()
        notifier = notifier_for(route, 1.0)
        outcome = notifier.send(MESSAGE)
    assert not outcome.delivered
    shown = capfd.readouterr()
    for text in (repr(outcome), repr(route), repr(notifier), caplog.text, shown.out, shown.err):
        assert "hunter2" not in text


def _talk_ssh(server: socket.socket) -> None:
    server.settimeout(5)
    connection, _ = server.accept()
    with connection:
        connection.recv(100)
        connection.sendall(b"SSH-2.0 " + SECRET.encode() + b"\r\n\r\n")


def test_a_secret_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    source = SecretSource(env="NOT_SET_HERE")
    for route in (
        Route("r", RouteKind.SLACK_BOT, channel="#c", token_from=source),
        Route("r", RouteKind.SLACK_WEBHOOK, url_from=source),
        Route("r", RouteKind.WEBHOOK, url="http://127.0.0.1:9/", token_from=source),
    ):
        outcome = send(route)
        assert "There is no secret in the variable NOT_SET_HERE" in outcome.sentence


def test_whatever_a_library_raises_is_an_attempt_that_failed_and_its_words_are_dropped() -> None:
    class Raising:
        def send(self, message: Rendered) -> Outcome:
            raise LookupError(f"https://hooks.example/{SECRET}")

    assert attempt(Raising(), MESSAGE) == Outcome(False, "The notifier failed: LookupError.")


def test_the_log_takes_everything(caplog: pytest.LogCaptureFixture) -> None:
    assert send(LOG_ROUTE).delivered
    assert "Records wait too long to land" in caplog.text


def test_a_webhooks_own_word_for_it_is_a_delivery(tmp_path: Path, other_end: Receiver) -> None:
    other_end.answers = [(200, {}, "ok")]
    assert send(route_to(RouteKind.SLACK_WEBHOOK, other_end.url, tmp_path)).delivered


@pytest.mark.parametrize("code", ["invalid_token", "no_service", "no_team", "channel_not_found"])
def test_an_address_that_slack_knows_no_more_makes_nobody_give_up_a_message(
    code: str, tmp_path: Path, other_end: Receiver
) -> None:
    other_end.answers = [(400, {}, code)]
    outcome = send(route_to(RouteKind.SLACK_WEBHOOK, other_end.url, tmp_path))
    assert outcome == Outcome(False, f"Slack answered 400 ({code}).")
