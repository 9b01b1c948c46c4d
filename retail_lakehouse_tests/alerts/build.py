"""What the alerts' tests are made of: verdicts, notices, a receiver on the loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from retail_lakehouse.alerts.incidents import Kind, Notice, Seen
from retail_lakehouse.contracts.service_levels import DATA_PLATFORM, Severity

NOW = 1_795_000_000_000
MINUTE = 60_000


def verdict(
    number: int = 0,
    *,
    passed: bool = False,
    at_ms: int = NOW,
    severity: Severity = Severity.CRITICAL,
    sentence: str = "7 records wait.",
) -> Seen:
    return Seen(
        asset=f"retail/table_{number}",
        check="ingest_lag",
        passed=passed,
        sentence=sentence,
        severity=severity,
        owner=DATA_PLATFORM,
        at_ms=at_ms,
        figures={"ingest_lag_seconds": 134.5},
    )


def notice(
    number: int = 0,
    kind: Kind = Kind.OPENED,
    *,
    told: int = 0,
    severity: Severity = Severity.CRITICAL,
    owner: str = DATA_PLATFORM,
    sentence: str = "7 records wait.",
    check: str = "ingest_lag",
    asset: str = "",
) -> Notice:
    return Notice(
        kind=kind,
        asset=asset or f"retail/table_{number}",
        check=check,
        severity=severity,
        owner=owner,
        sentence=sentence,
        since_ms=NOW,
        at_ms=NOW,
        told=told,
    )


@dataclass
class Received:
    """One request that arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float = field(default_factory=time.monotonic)
    """In seconds of the monotonic clock."""


@dataclass
class Receiver:
    """A real HTTP server; what it answers is a list of (status, headers, body), the last for ever.

    `hang`: seconds before it answers.
    """

    url: str
    answers: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    hang: float = 0.0
    attempts: list[Received] = field(default_factory=list)
    taken: list[Received] = field(default_factory=list)

    def answer(self) -> tuple[int, dict[str, str], str]:
        if len(self.answers) > 1:
            return self.answers.pop(0)
        return self.answers[0] if self.answers else (200, {}, '{"ok": true}')


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    found: list[Receiver] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            (told,) = found
            if "json" in self.headers["Content-Type"]:
                body = json.loads(raw)
            else:
                body = {"raw": raw.decode()}
            received = Received(self.path, dict(self.headers.items()), body)
            told.attempts.append(received)
            time.sleep(told.hang)
            status, headers, text = told.answer()
            if status == 200:
                told.taken.append(received)
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())
            except OSError:
                return

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    found.append(Receiver(f"http://127.0.0.1:{server.server_address[1]}"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def fill(folder: Path) -> None:
    """Take all the space that the folder's file system has left."""
    with (folder / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            return


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
