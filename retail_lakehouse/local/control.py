"""The supervisor's door: other processes ask it for its state, or to start and stop a process.

Belongs here: the unix socket, the lines that pass through it, both ends. Doesn't belong here: what
a request does (`supervisor.py`). Light to import: sensors use the client.

One request a connection: a JSON object in one line, answered by a JSON object in one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import socketserver
import stat
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

logger = logging.getLogger(__name__)

Action = Literal["start", "stop", "restart"]
Handler = Callable[[str, Mapping[str, object]], object]

# A stop waits for a batch to end; start and restart include one.
REQUEST_TIMEOUT_SECONDS = 60.0
_STATUS_TIMEOUT_SECONDS = 5.0
_MAX_LINE_BYTES = 4 * 1024 * 1024
# macOS allows 104 bytes for the path of a unix socket, Linux 108.
_SOCKET_PATH_LIMIT = 100


class SupervisorNotRunningError(RuntimeError):
    """No supervisor answers for the state folder."""

    def __init__(self, root: Path) -> None:
        """Say so, and how to start it."""
        super().__init__(
            f"Nothing runs for the state folder {root}. Start it with `make dev` "
            "(or name the folder with --state-dir)."
        )


class ControlError(RuntimeError):
    """The supervisor refused a request; the sentence is its own."""


class ProcessState(StrEnum):
    """Where a supervised process is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    WAITING = "waiting"
    """It died and is started again after a pause."""
    CRASHING = "crashing"
    """It died several times in a row; still tried again, at longer pauses."""
    HALTED = "halted"
    """It ended and said that starting it again is no use: a person has to decide."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One supervised process.

    `started_at` is in seconds since 1970; `restarts` counts the starts after a death since the
    supervisor began, none that was asked for; `message` says in a sentence why it is not running,
    and is empty when there is nothing to say.
    """

    name: str
    state: ProcessState
    pid: int | None
    started_at: float | None
    restarts: int
    message: str
    log: str

    def to_json(self) -> dict[str, object]:
        """As it passes through the socket."""
        return {
            "name": self.name,
            "state": self.state.value,
            "pid": self.pid,
            "started_at": self.started_at,
            "restarts": self.restarts,
            "message": self.message,
            "log": self.log,
        }

    @staticmethod
    def from_json(told: Mapping[str, object]) -> ProcessStatus:
        """What `to_json` wrote."""
        pid, started_at = told.get("pid"), told.get("started_at")
        return ProcessStatus(
            name=str(told["name"]),
            state=ProcessState(str(told["state"])),
            pid=pid if isinstance(pid, int) else None,
            started_at=float(started_at) if isinstance(started_at, int | float) else None,
            restarts=int(str(told["restarts"])),
            message=str(told["message"]),
            log=str(told["log"]),
        )


def socket_path(root: Path, name: str) -> Path:
    """Where a unix socket of the state folder lies: in `run/`, unless that path is too long.

    Then it lies in the system's temporary folder, under a name made from the folder's.
    """
    path = root / "run" / f"{name}.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"retail-lakehouse-{os.getuid()}-{digest}-{name}.sock"


class _Door(socketserver.ThreadingUnixStreamServer):
    # Who finds the queue full is refused at once, and 5 clients may well come in one moment.
    request_queue_size = 64
    daemon_threads = True
    # Threads that still wait for a process to stop must not hold up the supervisor's end.
    block_on_close = False


class ControlServer:
    """Answers requests in threads of its own, from `start` to `close`."""

    def __init__(self, root: Path, handler: Handler) -> None:
        """Describe the server.

        Args:
            root: The state folder.
            handler: Called with a request's action and the request; its result is the answer. A
                `ControlError` that it raises reaches the client as that.
        """
        self._path = socket_path(root, "supervisor")
        self._handler = handler
        self._server: _Door | None = None

    def start(self) -> None:
        """Listen. What another supervisor left behind is replaced: the caller holds the lock."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        handler = self._handler

        class Connection(socketserver.StreamRequestHandler):
            timeout = REQUEST_TIMEOUT_SECONDS

            def handle(self) -> None:
                # A client that went away while it was answered needs no answer.
                with contextlib.suppress(OSError):
                    line = self.rfile.readline(_MAX_LINE_BYTES)
                    self.wfile.write(_answer(handler, line) + b"\n")

        previous = os.umask(0o177)
        try:
            self._server = _Door(str(self._path), Connection)
        finally:
            os.umask(previous)
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="control",
            daemon=True,
        ).start()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self._path.unlink(missing_ok=True)


class SupervisorClient:
    """Asks the supervisor of one state folder."""

    def __init__(self, root: Path) -> None:
        """Describe the client; nothing is opened before a request."""
        self._root = root
        self._path = socket_path(root, "supervisor")

    def is_running(self) -> bool:
        """Whether a supervisor answers."""
        try:
            self._ask({"action": "ping"}, _STATUS_TIMEOUT_SECONDS)
        except (SupervisorNotRunningError, ControlError):
            return False
        return True

    def status(self) -> dict[str, ProcessStatus]:
        """The state of every process, by name.

        Raises:
            SupervisorNotRunningError: No supervisor answers.
            ControlError: It refused.
        """
        told = self._ask({"action": "status"}, _STATUS_TIMEOUT_SECONDS)
        if not isinstance(told, dict):
            raise ControlError("The supervisor's answer cannot be read. Start it again.")
        return {str(name): ProcessStatus.from_json(each) for name, each in told.items()}

    def about(self) -> dict[str, object]:
        """The supervisor itself: `pid`, `started_at_ms`, `phase`, `live_after_seconds`.

        Raises:
            SupervisorNotRunningError: No supervisor answers.
            ControlError: It refused.
        """
        told = self._ask({"action": "about"}, _STATUS_TIMEOUT_SECONDS)
        return dict(told) if isinstance(told, dict) else {}

    def request(
        self, action: Action, name: str, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS
    ) -> ProcessStatus:
        """Have a process started, stopped or restarted; answers once that is done.

        A process that is already as wished is left alone.

        Raises:
            SupervisorNotRunningError: No supervisor answers.
            ControlError: It knows no such process, or the process did not follow; in its words.
        """
        told = self._ask({"action": action, "name": name}, timeout_seconds)
        if not isinstance(told, dict):
            raise ControlError("The supervisor's answer cannot be read. Start it again.")
        return ProcessStatus.from_json(told)

    def _ask(self, request: Mapping[str, object], timeout_seconds: float) -> object:
        line = self._exchange(json.dumps(request).encode() + b"\n", timeout_seconds)
        try:
            answer = json.loads(line)
            if "error" in answer:
                raise ControlError(str(answer["error"]))
            result: object = answer["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise ControlError(
                f"The supervisor's answer cannot be read ({line[:80]!r}). Start it again."
            ) from error
        return result

    def _exchange(self, line: bytes, timeout_seconds: float) -> bytes:
        try:
            if not _is_ours(self._path):
                raise FileNotFoundError(str(self._path))
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout_seconds)
                connection.connect(str(self._path))
                connection.sendall(line)
                with connection.makefile("rb") as answer:
                    return answer.readline(_MAX_LINE_BYTES)
        except TimeoutError as error:
            raise ControlError(
                f"The supervisor of {self._root} did not answer within {timeout_seconds:.0f} "
                "seconds. Look at its terminal."
            ) from error
        except BlockingIOError as error:
            raise ControlError(
                f"Too many ask the supervisor of {self._root} at once. Try again in a moment; if "
                "it stays so, look at its terminal."
            ) from error
        except OSError as error:
            raise SupervisorNotRunningError(self._root) from error


def _is_ours(path: Path) -> bool:
    """Whether the socket is this user's own: the temporary folder is everybody's."""
    told = path.stat()
    return stat.S_ISSOCK(told.st_mode) and told.st_uid == os.getuid()


def _answer(handler: Handler, line: bytes) -> bytes:
    try:
        request = json.loads(line)
        action = str(request["action"])
    except (ValueError, KeyError, TypeError):
        return json.dumps({"error": "The request is no JSON object with an action."}).encode()
    try:
        return json.dumps({"result": handler(action, request)}).encode()
    except ControlError as error:
        return json.dumps({"error": str(error)}).encode()
    except Exception as error:  # an empty answer would tell the client nothing
        logger.exception("The request %s failed.", action)
        told = f"The supervisor failed at {action!r} ({error!r}). Look at its terminal."
        return json.dumps({"error": told}).encode()
