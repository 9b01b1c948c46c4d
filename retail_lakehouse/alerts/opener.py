"""How a message with a secret in it leaves this machine: to the address it is for, and no further.

Here: urllib's opener without redirects, and what is read of an answer. Not here: messages, what an
answer means (`notifiers.py`).
"""

from __future__ import annotations

import urllib.request
from typing import Any
from urllib.parse import urlsplit

from retail_lakehouse.alerts.routes import is_loopback

_MOST_ANSWER_BYTES = 1024 * 1024
"""Slack repeats the message in its answer; whoever sends more is somebody else."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: object, **named: object) -> None:
        """Follow none: the error handler then reports the answer as it is."""


def opener_for(url: str) -> urllib.request.OpenerDirector:
    """What opens the address: it follows no redirect, which would carry a token elsewhere.

    The loopback may be plain http, so what is for it never goes through a proxy.
    """
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if is_loopback(urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def text_of(answer: Any) -> str:
    """An answer's body, whatever character set it claims to be in."""
    raw: bytes = answer.read(_MOST_ANSWER_BYTES)
    return raw.decode("utf-8", errors="replace")
