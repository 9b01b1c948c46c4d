"""Sending one message: Slack, any HTTP webhook, the log.

Here: one attempt and what came of it. Not here: when it is tried again (`delivery.py`). No attempt
raises, logs or returns a secret: what an error of a library says may hold the address, so its own
words are never passed on.
"""

from __future__ import annotations

import http.client
import json
import logging
import math
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from retail_lakehouse.alerts.message import Rendered, slack_escaped
from retail_lakehouse.alerts.opener import opener_for
from retail_lakehouse.alerts.routes import Route, RouteKind, SecretError, is_allowed_address

if TYPE_CHECKING:
    from slack_sdk.errors import SlackApiError

logger = logging.getLogger(__name__)

ATTEMPT_SECONDS = 5.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
_REFUSALS = frozenset({400, 413, 415, 422})
"""The route answers, and does not take this very message."""
_SLACK_REFUSALS = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "msg_too_long", "no_text", "invalid_arguments"}
)
_ABOUT_US = frozenset(
    {
        "channel_not_found",
        "invalid_token",
        "no_active_hooks",
        "no_service",
        "no_team",
        "team_disabled",
        "user_not_found",
    }
)
"""Slack answers 400 to some of these too: the address is wrong, which no other message mends."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt. `sentence` says why it failed, and holds no secret."""

    delivered: bool
    sentence: str = ""
    retry_after_seconds: float | None = None
    is_refused: bool = False
    """The message itself is refused: another one may pass."""


class Notifier(Protocol):
    """One route's way of sending."""

    def send(self, message: Rendered) -> Outcome:
        """Try once; returns within a few seconds unless the other end dawdles, never raises."""


DELIVERED = Outcome(True)
_NOT_SLACK = Outcome(False, "Slack answered 200 without its ok: somebody in between may have.")


def attempt(notifier: Notifier, message: Rendered) -> Outcome:
    """Sends once; what a library raises is an attempt that failed, and its words are dropped."""
    try:
        return notifier.send(message)
    except Exception as error:  # noqa: BLE001 - nobody would hear of a message whose sender died
        # Its words may hold an address with a secret.
        return Outcome(False, f"The notifier failed: {type(error).__name__}.")


def notifier_for(route: Route, attempt_seconds: float = ATTEMPT_SECONDS) -> Notifier:
    """The notifier of a route; its secrets are read when it sends."""
    if route.kind is RouteKind.LOG:
        return LogNotifier()
    if route.kind is RouteKind.WEBHOOK:
        return WebhookNotifier(route, attempt_seconds)
    return SlackNotifier(route, attempt_seconds)


class LogNotifier:
    """Writes the message to the log, which is always there."""

    def send(self, message: Rendered) -> Outcome:
        """Write it."""
        logger.warning("%s", message.text)
        return DELIVERED


class WebhookNotifier:
    """POSTs JSON. A 2xx is a delivery; a redirect is none, since it would carry the secret on."""

    def __init__(self, route: Route, attempt_seconds: float) -> None:
        """Describe it."""
        self._route = route
        self._attempt_seconds = attempt_seconds

    def send(self, message: Rendered) -> Outcome:
        """POST it; the message's id is the idempotency key."""
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Idempotency-Key": message.id,
            "User-Agent": "retail-lakehouse",
        }
        try:
            url = _address(self._route)
            if self._route.token_from:
                token = self._route.token_from.read().get_secret_value()
                headers["Authorization"] = f"Bearer {token}"
        except SecretError as error:
            return Outcome(False, str(error))
        body = {**message.body, "text": message.text}
        request = urllib.request.Request(  # noqa: S310
            url, json.dumps(body).encode(), headers, method="POST"
        )
        try:
            with opener_for(url).open(request, timeout=self._attempt_seconds):
                return DELIVERED
        except urllib.error.HTTPError as error:
            with error:
                return _answered("The webhook", error.code, dict(error.headers.items()))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Outcome(False, f"The webhook cannot be reached: {_reason(error)}.")


class SlackNotifier:
    """Posts through `slack_sdk`, with a bot's token or to an incoming webhook."""

    def __init__(self, route: Route, attempt_seconds: float) -> None:
        """Describe it."""
        self._route = route
        self._attempt_seconds = max(1, math.ceil(attempt_seconds))

    def send(self, message: Rendered) -> Outcome:
        """Post it. A message whose blocks Slack refuses is posted again as text alone."""
        from slack_sdk.errors import SlackClientError

        try:
            outcome = self._post(message, list(message.blocks))
            if outcome.is_refused:
                outcome = self._post(message, None)
        except SecretError as error:
            return Outcome(False, str(error))
        except SlackClientError as error:
            return Outcome(False, f"Slack was not reached: {type(error).__name__}.")
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Outcome(False, f"Slack cannot be reached: {_reason(error)}.")
        return outcome

    def _post(self, message: Rendered, blocks: list[dict[str, object]] | None) -> Outcome:
        if self._route.kind is RouteKind.SLACK_WEBHOOK:
            return self._post_to_webhook(message, blocks)
        return self._post_as_bot(message, blocks)

    def _post_to_webhook(
        self, message: Rendered, blocks: list[dict[str, object]] | None
    ) -> Outcome:
        from retail_lakehouse.alerts.slack import OneWebhook, is_ok

        answer = OneWebhook(_address(self._route), self._attempt_seconds).send(
            text=slack_escaped(message.text), blocks=blocks, unfurl_links=False, unfurl_media=False
        )
        if answer.status_code == http.HTTPStatus.OK:
            return DELIVERED if is_ok(answer.body) else _NOT_SLACK
        return _answered("Slack", answer.status_code, answer.headers, _code(answer.body))

    def _post_as_bot(self, message: Rendered, blocks: list[dict[str, object]] | None) -> Outcome:
        from slack_sdk.errors import SlackApiError

        from retail_lakehouse.alerts.slack import OneBot

        token = self._route.token_from.read().get_secret_value()
        client = OneBot(token, self._route.api_url, self._attempt_seconds)
        try:
            client.chat_postMessage(
                channel=self._route.channel,
                text=slack_escaped(message.text),
                blocks=blocks,
                unfurl_links=False,
                unfurl_media=False,
                # Slack has no idempotency key: whoever reads the channel finds the id here.
                metadata={"event_type": "lakehouse_alert", "event_payload": {"id": message.id}},
            )
        except SlackApiError as error:
            return _slack_answered(error)
        return DELIVERED


def _address(route: Route) -> str:
    """The route's address.

    Raises:
        SecretError: there is none, or it is neither https nor on the loopback.
    """
    if not route.url_from:
        return route.url
    url = route.url_from.read().get_secret_value()
    if not is_allowed_address(url):
        raise SecretError(
            f"The address of the route {route.name} is neither https nor http on the loopback."
        )
    return url


def _answered(who: str, status: int, headers: Mapping[str, str], code: str = "") -> Outcome:
    told = f"{who} answered {status}{f' ({code})' if code else ''}."
    return Outcome(
        False,
        told,
        _retry_after(headers),
        is_refused=code in _SLACK_REFUSALS or (status in _REFUSALS and code not in _ABOUT_US),
    )


def _slack_answered(error: SlackApiError) -> Outcome:
    response = error.response
    # Without a JSON answer the SDK hands over a plain mapping.
    status = int(getattr(response, "status_code", 0) or 0)
    headers = getattr(response, "headers", None) or {}
    data = getattr(response, "data", None)
    code = _code(str(data.get("error", "")) if isinstance(data, dict) else "")
    refused = code in _SLACK_REFUSALS
    outcome = _answered("Slack", status, headers, code)
    return Outcome(False, outcome.sentence, outcome.retry_after_seconds, refused)


def _retry_after(headers: Mapping[str, object]) -> float | None:
    for name, value in headers.items():
        if name.lower() == "retry-after":
            # slack_sdk has lists of values in places.
            told = str(value[0] if isinstance(value, list) and value else value).strip()
            if re.fullmatch(r"\d{1,9}(\.\d+)?", told):
                return min(float(told), LONGEST_RETRY_AFTER_SECONDS)
    return None


def _code(text: str) -> str:
    """Slack's word for what is wrong; anything longer is a page of somebody in between."""
    told = text.strip()
    return told if re.fullmatch(r"[a-z_]{2,40}", told) else ""


def _reason(error: BaseException) -> str:
    """Why nothing came back, in words that cannot hold an address."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({inner.verify_message})"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return type(inner).__name__
