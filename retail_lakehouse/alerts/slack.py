"""`slack_sdk`'s two clients, with an opener of ours and no word in any log.

Here: what they do differently. By themselves they follow redirects, with the bot's token, take
whatever page a redirect ends at for an answer, and log the webhook's whole address. Not here: what
is sent, what an answer means (`notifiers.py`). Imported when something is sent, and not before.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.request import Request

from slack_sdk import WebClient
from slack_sdk.webhook import WebhookClient, WebhookResponse

from retail_lakehouse.alerts.opener import opener_for, text_of


class OneWebhook(WebhookClient):
    """An incoming webhook, asked once."""

    def __init__(self, url: str, seconds: int) -> None:
        """Describe it."""
        super().__init__(url, timeout=seconds, logger=_muted(), retry_handlers=[])

    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        with opener_for(url).open(req, timeout=self.timeout) as answer:
            return WebhookResponse(
                url=url,
                status_code=answer.status,
                body=text_of(answer),
                headers=dict(answer.headers.items()),
            )


class OneBot(WebClient):
    """A bot, who asks once."""

    def __init__(self, token: str, base_url: str, seconds: int) -> None:
        """Describe it; `base_url` is Slack's own where it is empty."""
        super().__init__(
            token=token,
            base_url=f"{(base_url or WebClient.BASE_URL).rstrip('/')}/",
            timeout=seconds,
            logger=_muted(),
            retry_handlers=[],
        )

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        with opener_for(url).open(req, timeout=self.timeout) as answer:
            return {"status": answer.status, "headers": answer.headers, "body": text_of(answer)}


def is_ok(body: str) -> bool:
    """Whether a webhook's answer is Slack's, and not a page of somebody in between."""
    if body.strip() == "ok":
        return True
    try:
        told = json.loads(body)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("ok") is True


def _muted() -> logging.Logger:
    return logging.Logger("retail_lakehouse.muted", level=logging.CRITICAL + 1)
