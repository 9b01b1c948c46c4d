"""The real server, asked over real sockets as a browser, a program and a foreign page would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from retail_lakehouse.local.dagster_instance import write_instance
from retail_lakehouse.local.dagster_workspace import write_workspace
from retail_lakehouse.local.ports import free_ports, is_answering
from retail_lakehouse.local.stack import Stack
from retail_lakehouse.local.state_folder import hold
from retail_lakehouse.settings import Settings

pytestmark = pytest.mark.stack

START_SECONDS = 120
READ_LOGS = (
    'subscription { pipelineRunLogs(runId: "none") { __typename '
    "... on PipelineRunLogsSubscriptionFailure { message } } }"
)
SWITCH_ON = (
    'mutation { startSensor(sensorSelector: {repositoryLocationName: "retail_lakehouse", '
    'repositoryName: "__repository__", sensorName: "watch_stream"}) { __typename } }'
)


@dataclass
class Server:
    """A running `retail-lakehouse web`."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def raw(self, request: str) -> str:
        """The first line of the answer to these bytes, and a line of what follows its headers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request.replace("\n", "\r\n").encode())
            told = b""
            while chunk := connection.recv(65536):
                told += chunk
        return told.decode(errors="replace")

    def status(self, path: str = "/", version: str = "1.1", **headers: str) -> int:
        lines = [f"{name.replace('_', '-')}: {value}\n" for name, value in headers.items()]
        told = self.raw(f"GET {path} HTTP/{version}\n{''.join(lines)}Connection: close\n\n")
        return int(told.split()[1])

    def graphql(self, query: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://{self.host}/graphql",
            json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json", "Origin": f"http://{self.host}"},
        )
        with urllib.request.urlopen(request, timeout=60) as told:
            data: dict[str, Any] = json.load(told)["data"]
        return data

    def members(self) -> list[psutil.Process]:
        return [self.process, *psutil.Process(self.process.pid).children(recursive=True)]


def _started(folder: Path, *options: str) -> Iterator[Server]:
    port, *others = free_ports(4)
    names = ("broker_port", "controller_port", "warehouse_port")
    told = [f"--set={name}={other}" for name, other in zip(names, others, strict=True)]
    command = [sys.executable, "-m", "retail_lakehouse.cli", "web", "--port", str(port), *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--state-dir", str(folder / "state"), *told],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    server = Server(port, process, folder / "log")
    deadline = time.monotonic() + START_SECONDS
    while not is_answering(port):
        if time.monotonic() > deadline or process.poll() is not None:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"No answer on {port}:\n{server.log.read_text()[-3000:]}")
        time.sleep(0.2)
    yield server
    left = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    try:
        process.wait(30)
        _, alive = psutil.wait_procs(left, timeout=20)
        assert not alive, "the code server outlives the web server"
    finally:
        for each in [*left, psutil.Process(process.pid)] if process.poll() is None else left:
            if each.is_running():
                each.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _started(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A second server, beside the code server of a `dev`."""
    folder = tmp_path_factory.mktemp("look")
    root = folder / "state"
    units = {unit.name: unit for unit in Stack(Settings.load({"state_dir": root})).units()}
    with contextlib.closing(hold(root, "dev")):
        write_instance(root)
        write_workspace(root)
        code_server = units["dagster-code-server"]
        code_server.start()
        try:
            yield from _started(folder, "--read-only")
        finally:
            code_server.stop(5.0, threading.Event())


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_http_without_host_is_refused_and_with_a_foreign_one_or_a_foreign_origin_too(
    server: Server, version: str
) -> None:
    assert server.status(version=version) == 400
    assert server.status(version=version, Host="rebind.example") == 403
    assert server.status(version=version, Host=f"rebind.example:{server.port}") == 403
    assert server.status(version=version, Host=server.host, Origin="https://evil.example") == 403
    assert server.status(version=version, Host=server.host, Origin="null") == 403
    assert server.status(version=version, Host=server.host) == 200


def test_two_hosts_and_an_absolute_target_do_not_get_past(server: Server) -> None:
    doubled = f"GET / HTTP/1.1\nHost: {server.host}\nHost: evil\nConnection: close\n\n"
    assert server.raw(doubled).split()[1] == "400"
    absolute = f"GET http://{server.host}/ HTTP/1.1\nHost: evil.example\nConnection: close\n\n"
    assert server.raw(absolute).split()[1] == "403"


def test_the_page_is_served_with_its_scripts(server: Server) -> None:
    request = f"GET /overview HTTP/1.1\nHost: {server.host}\nConnection: close\n\n"
    page = server.raw(request)
    assert "text/html" in page
    assert "__NEXT_DATA__" in page
    script = next(part for part in page.split('"') if part.endswith(".js"))
    assert server.status(script, Host=server.host) == 200


def test_no_address_executes_a_mutation(server: Server) -> None:
    path = "/graphql?query=mutation%7BwipeAssets(assetPartitionRanges:%5B%5D)%7B__typename%7D%7D"
    assert server.status(path, Host=server.host) == 405
    assert server.status(f"/%67raphql{path[8:]}", Host=server.host) == 405
    cross = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Accept": "text/html"}
    assert server.status(path, Host=server.host, **cross) == 403


def test_its_own_page_asks_graphql_and_gets_the_platforms_assets(server: Server) -> None:
    told = server.graphql("{ assetNodes { id } }")
    assert len(told["assetNodes"]) > 20


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (None, "https://evil.example"),
        (None, "null"),
        (None, "http://localhost:1"),
        ("rebind.example", None),
        ("rebind.example", "http://rebind.example"),
    ],
)
def test_a_websocket_upgrade_of_a_foreign_page_is_refused(
    server: Server, host: str | None, origin: str | None
) -> None:
    headers = {"Host": host} if host else {}
    with pytest.raises(InvalidStatus) as refused:
        _subscribe(server, headers, origin)
    assert refused.value.response.status_code == 403


def test_a_websocket_upgrade_without_host_is_refused(server: Server) -> None:
    told = server.raw(
        "GET /graphql HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\n"
        "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n"
        "Sec-WebSocket-Protocol: graphql-ws\n\n"
    )
    assert told.split()[1].startswith("4")
    assert "101" not in told.split("\r\n")[0]


@pytest.mark.parametrize("with_origin", [True, False])
def test_the_pages_subscription_is_acknowledged(server: Server, with_origin: bool) -> None:
    acknowledged, subscribed = _subscribe(
        server, {}, f"http://{server.host}" if with_origin else None
    )
    assert acknowledged == {"type": "connection_ack"}
    # The instance has no such run, and says so over the subscription.
    assert subscribed["id"] == "1"
    assert subscribed["type"] == "data"
    assert "PipelineRunLogsSubscriptionFailure" in json.dumps(subscribed)


def test_no_websocket_executes_a_mutation(server: Server) -> None:
    _, told = _subscribe(server, {}, f"http://{server.host}", SWITCH_ON)
    assert told["type"] == "error"
    assert "startSensor" in json.dumps(told["payload"])


def test_no_process_of_it_listens_but_on_loopback_and_the_code_server_on_no_port(
    server: Server,
) -> None:
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for member in server.members()
        for connection in psutil.Process(member.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", server.port)}
    code_server = [member for member in server.members() if "grpc" in _line(member)]
    assert any("--socket" in _line(member) for member in code_server)


def test_a_port_that_is_taken_is_one_sentence(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "retail_lakehouse.cli", "web", "--port", str(server.port)]
    answer = subprocess.run(
        [*command, "--state-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 1
    assert f"Port {server.port}, which Dagster's web server needs, is taken by" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_beside_a_dev_the_one_code_server_is_shared(read_only: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    # The code server was started a moment ago, and may not have loaded yet.
    while not read_only.graphql("{ assetNodes { id } }")["assetNodes"]:
        assert time.monotonic() < deadline, read_only.log.read_text()[-3000:]
        time.sleep(0.5)
    assert psutil.Process(read_only.process.pid).children() == []


def test_who_only_looks_changes_nothing(read_only: Server) -> None:
    assert read_only.graphql(SWITCH_ON)["startSensor"] == {"__typename": "UnauthorizedError"}
    told = read_only.raw(
        f"POST /report_asset_materialization/a HTTP/1.1\nHost: {read_only.host}\n"
        "Content-Type: application/json\nContent-Length: 2\nConnection: close\n\n{}"
    )
    assert told.split()[1] in ("401", "403")


def _subscribe(
    server: Server, headers: dict[str, str], origin: str | None, query: str = READ_LOGS
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers to a subscription's first two messages."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        name = headers.get("Host", server.host)
        with connect(
            f"ws://{name}/graphql",
            sock=connection,
            origin=Origin(origin) if origin else None,
            subprotocols=[Subprotocol("graphql-ws")],
            open_timeout=20,
        ) as page:
            page.send(json.dumps({"type": "connection_init", "payload": {}}))
            acknowledged = json.loads(page.recv(timeout=20))
            start = {"id": "1", "type": "start", "payload": {"query": query}}
            page.send(json.dumps(start))
            return acknowledged, json.loads(page.recv(timeout=20))


def _line(process: psutil.Process | subprocess.Popen[bytes]) -> str:
    return " ".join(psutil.Process(process.pid).cmdline())
