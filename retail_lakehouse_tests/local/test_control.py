"""The supervisor's door: what passes through it, and what its absence looks like."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import time
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


@pytest.mark.parametrize("state", ProcessState)
def test_a_status_without_figures_passes_through_unchanged(state: ProcessState) -> None:
    bare = ProcessStatus("one", state, None, None, 0, "It died.", "/logs/one.log")
    assert ProcessStatus.from_json(bare.to_json()) == bare


def test_a_request_that_takes_long_holds_up_neither_another_one_nor_the_end(
    tmp_path: Path,
) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def slow(action: str, request: Mapping[str, object]) -> object:
        if action == "stop":
            begun.set()
            let_go.wait(20)
        return STATUS.to_json()

    server = ControlServer(tmp_path, slow)
    server.start()
    client = SupervisorClient(tmp_path)
    answers: list[ProcessStatus] = []
    asking = threading.Thread(target=lambda: answers.append(client.request("stop", "one")))
    asking.start()
    assert begun.wait(5)
    began = time.monotonic()
    assert client.is_running()
    server.close()
    assert time.monotonic() - began < 5
    assert not client.is_running()
    let_go.set()
    asking.join(5)
    assert answers == [STATUS]


def test_many_who_ask_in_one_moment_are_all_answered(
    client: SupervisorClient, tmp_path: Path
) -> None:
    path = str(socket_path(tmp_path, "supervisor"))
    with contextlib.ExitStack() as open_ones:
        waiting = [open_ones.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(50)]
        for each in waiting:
            each.setblocking(False)
            each.connect(path)
        for each in waiting:
            each.settimeout(10)
            each.sendall(b'{"action": "ping"}\n')
        answers = {each.recv(1000) for each in waiting}
    assert answers == {b'{"result": "pong"}\n'}


def test_a_supervisor_that_too_many_ask_is_not_taken_for_none(tmp_path: Path) -> None:
    path = socket_path(tmp_path, "supervisor")
    path.parent.mkdir()
    with contextlib.ExitStack() as open_ones:
        listening = open_ones.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(path))
        listening.listen(0)
        with contextlib.suppress(BlockingIOError):
            for _ in range(20):
                waiting = open_ones.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        with pytest.raises(ControlError, match=r"Too many ask the supervisor of .* at once\."):
            SupervisorClient(tmp_path).status()


def test_an_answer_that_does_not_come_in_time_is_a_sentence(tmp_path: Path) -> None:
    let_go = threading.Event()
    server = ControlServer(tmp_path, lambda action, request: let_go.wait(20))
    server.start()
    with pytest.raises(ControlError, match=r"did not answer within 0 seconds\. Look at its"):
        SupervisorClient(tmp_path).request("stop", "one", timeout_seconds=0.2)
    let_go.set()
    server.close()


def test_a_client_that_went_away_is_no_trouble(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answered = threading.Event()

    def long(action: str, request: Mapping[str, object]) -> object:
        if action == "away":
            time.sleep(0.2)
            answered.set()
        return "x" * 1_000_000

    server = ControlServer(tmp_path, long)
    server.start()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(socket_path(tmp_path, "supervisor")))
        connection.sendall(b'{"action": "away"}\n')
    assert answered.wait(5)
    assert SupervisorClient(tmp_path).is_running()
    server.close()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("answer", [b"", b"hello\n", b"[]\n", b"{}\n", b'"error"\n', b"7\n"])
def test_an_answer_that_is_none_is_a_sentence(tmp_path: Path, answer: bytes) -> None:
    path = socket_path(tmp_path, "supervisor")
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def reply() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        replying = threading.Thread(target=reply)
        replying.start()
        with pytest.raises(ControlError, match="The supervisor's answer cannot be read"):
            SupervisorClient(tmp_path).request("stop", "one")
        replying.join(5)


def test_a_result_of_another_kind_is_a_sentence_too(tmp_path: Path) -> None:
    server = ControlServer(tmp_path, lambda action, request: "pong")
    server.start()
    client = SupervisorClient(tmp_path)
    for ask in (client.status, lambda: client.request("stop", "one")):
        with pytest.raises(ControlError, match="The supervisor's answer cannot be read"):
            ask()
    assert client.about() == {}
    server.close()


def test_what_is_no_socket_is_not_spoken_to(tmp_path: Path) -> None:
    path = socket_path(tmp_path, "supervisor")
    path.parent.mkdir()
    path.write_text("a file")
    with pytest.raises(SupervisorNotRunningError):
        SupervisorClient(tmp_path).status()


def test_two_folders_with_long_paths_have_two_sockets(tmp_path: Path) -> None:
    one, two = (socket_path(tmp_path / (letter * 120), "supervisor") for letter in "ab")
    assert one != two
    assert str(os.getuid()) in one.name


def test_other_files_keep_the_mode_that_the_user_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        server = ControlServer(tmp_path, handle)
        server.start()
        server.close()
    finally:
        after = os.umask(before)
    assert after == 0o027
