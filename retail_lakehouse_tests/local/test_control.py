"""The supervisor's door: what passes through it, and what its absence looks like."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from retail_lakehouse.local.control import (
    ControlError,
    ControlServer,
    ProcessState,
    ProcessStatus,
    SupervisorClient,
    SupervisorNotRunningError,
    socket_path,
)

STATUS = ProcessStatus("one", ProcessState.RUNNING, 7, 12.5, 3, "", "/logs/one.log")


def handle(action: str, request: Mapping[str, object]) -> object:
    if action == "status":
        return {"one": STATUS.to_json()}
    if action == "about":
        return {"pid": 1, "phase": "live"}
    if action == "ping":
        return "pong"
    if request.get("name") != "one":
        raise ControlError("There is no process 'two'.")
    return STATUS.to_json()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SupervisorClient]:
    server = ControlServer(tmp_path, handle)
    server.start()
    yield SupervisorClient(tmp_path)
    server.close()


def test_a_status_passes_through_unchanged(client: SupervisorClient) -> None:
    assert client.is_running()
    assert client.status() == {"one": STATUS}
    assert client.request("restart", "one") == STATUS
    assert client.about()["phase"] == "live"


def test_a_refusal_arrives_in_the_supervisors_words(client: SupervisorClient) -> None:
    with pytest.raises(ControlError, match=r"^There is no process 'two'\.$"):
        client.request("start", "two")


def test_a_fault_in_the_supervisor_reaches_the_client_as_a_sentence(tmp_path: Path) -> None:
    def fail(action: str, request: Mapping[str, object]) -> object:
        raise KeyError("one")

    server = ControlServer(tmp_path, fail)
    server.start()
    with pytest.raises(ControlError, match=r"failed at 'start' \(KeyError\('one'\)\)"):
        SupervisorClient(tmp_path).request("start", "one")
    server.close()


def test_a_line_that_is_no_request_is_answered_with_a_sentence(
    client: SupervisorClient, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(socket_path(tmp_path, "supervisor")))
        connection.sendall(b"hello\n")
        assert b"no JSON object with an action" in connection.recv(1000)


def test_nobody_else_may_use_the_socket(client: SupervisorClient, tmp_path: Path) -> None:
    mode = socket_path(tmp_path, "supervisor").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_without_a_supervisor_the_sentence_says_how_to_start_one(tmp_path: Path) -> None:
    client = SupervisorClient(tmp_path)
    assert not client.is_running()
    with pytest.raises(SupervisorNotRunningError, match="Start it with `make dev`"):
        client.status()


def test_a_socket_that_a_killed_supervisor_left_is_replaced(tmp_path: Path) -> None:
    path = socket_path(tmp_path, "supervisor")
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(SupervisorNotRunningError):
        SupervisorClient(tmp_path).status()
    server = ControlServer(tmp_path, handle)
    server.start()
    assert SupervisorClient(tmp_path).is_running()
    server.close()


def test_a_path_that_is_too_long_for_a_socket_is_avoided(tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 30)
    path = socket_path(deep, "supervisor")
    assert len(str(path)) <= 100
    assert path == socket_path(deep, "supervisor")
    server = ControlServer(deep, handle)
    server.start()
    assert SupervisorClient(deep).is_running()
    server.close()
    assert not path.exists()
