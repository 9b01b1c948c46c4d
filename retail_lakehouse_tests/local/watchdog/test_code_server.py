"""Asking Dagster's code server by hand: the messages, the list of sensors, and a server that fails.

The real one is asked in `test_watchdog_stack.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import grpc  # type: ignore[import-untyped]
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._grpc.__generated__ import dagster_api_pb2 as pb
from dagster._serdes import serialize_value

from retail_lakehouse.build import build_defs
from retail_lakehouse.local.watchdog import code_server
from retail_lakehouse.local.watchdog.code_server import (
    CodeServerAsker,
    first_text,
    message,
    tickers_of,
)
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.looks import Declared, TickerKind

Answer = Callable[[str, bytes], bytes]


class Served:
    """A gRPC server on a unix socket that answers as it is told."""

    def __init__(self, socket: Path, answer: Answer) -> None:
        self.calls: list[str] = []
        self._answer = answer

        class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
            def service(handler, details: Any) -> Any:  # noqa: N805
                name = str(details.method).rpartition("/")[2]
                self.calls.append(name)
                return grpc.unary_unary_rpc_method_handler(lambda raw, _: self._answer(name, raw))

        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers([Handler()])
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Answer], Served]]:
    started: list[Served] = []

    def start(answer: Answer) -> Served:
        started.append(Served(tmp_path / "s.sock", answer))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def listed(names: Sequence[str]) -> str:
    symbols = [{"repository_name": name, "attribute": name} for name in names]
    return json.dumps({"__class__": "ListRepositoriesResponse", "repository_symbols": symbols})


def repository(*sensors: str) -> str:
    datas = [
        {"name": name, "min_interval": 15, "default_status": {"__enum__": "X.RUNNING"}}
        for name in sensors
    ]
    return json.dumps({"external_sensor_datas": datas, "external_schedule_datas": []})


def test_our_messages_are_dagsters() -> None:
    text = "ä" * 300
    request = pb.ExternalRepositoryRequest(
        serialized_repository_python_origin=text, defer_snapshots=True
    )
    assert message(text) + b"\x10\x01" == request.SerializeToString()
    reply = pb.PingReply(echo=text, serialized_server_utilization_metrics="m" * 200)
    assert first_text(reply.SerializeToString()) == text
    assert first_text(pb.GetServerIdReply(server_id="abc").SerializeToString()) == "abc"
    assert first_text(b"") == ""


@pytest.mark.parametrize("raw", [b"\x0a\x05ab", b"\x0a", b"\xff\xff", b"\x0d1234"])
def test_what_is_no_message_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(ValueError):
        first_text(raw)


def described(defs: dg.Definitions) -> dict[str, Declared]:
    """As our reader finds it in Dagster's own description of the definitions."""
    told = RepositorySnap.from_def(defs.get_repository_def(), defer_snapshots=True)
    return {each.name: each for each in tickers_of(json.loads(serialize_value(told)))}


def test_the_sensors_of_our_own_code_are_read_from_dagsters_description() -> None:
    defs = build_defs(Settings.load())
    found = {n: each for n, each in described(defs).items() if each.kind is TickerKind.SENSOR}
    assert found == {
        sensor.name: Declared(
            TickerKind.SENSOR,
            sensor.name,
            is_on=True,
            interval_seconds=float(getattr(sensor, "minimum_interval_seconds", 0)),
        )
        for sensor in defs.sensors or []
    }


def test_schedules_and_what_the_code_leaves_off_are_read_too() -> None:
    @dg.op
    def nothing() -> None:
        return

    job = dg.GraphDefinition(name="all", node_defs=[nothing]).to_job()
    off = dg.ScheduleDefinition(name="off", job=job, cron_schedule="0 * * * *")
    nightly = dg.ScheduleDefinition(
        name="nightly",
        job=job,
        cron_schedule="0 3 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    found = described(dg.Definitions(jobs=[job], schedules=[off, nightly]))
    assert {name: each.is_on for name, each in found.items()} == {"off": False, "nightly": True}
    assert {each.kind for each in found.values()} == {TickerKind.SCHEDULE}


def test_the_list_is_asked_for_only_when_the_code_is_new(
    serve: Callable[[Answer], Served], tmp_path: Path
) -> None:
    server_id = ["one"]
    sensors = {"one": ("a", "b"), "two": ("a",)}

    def answer(name: str, raw: bytes) -> bytes:
        if name == "GetServerId":
            return message(server_id[0])
        if name == "ListRepositories":
            return message(listed(["__repository__"]))
        asked = json.loads(pb.ExternalRepositoryRequest.FromString(raw).SerializeToString()[3:-2])
        assert asked["repository_name"] == "__repository__"
        return message(repository(*sensors[server_id[0]]))

    served = serve(answer)
    asker = CodeServerAsker(tmp_path / "s.sock", "here")
    for _ in range(3):
        told = asker.ask()
        assert told.answers, told.why
        assert [each.name for each in told.declared or ()] == ["a", "b"]
    assert served.calls.count("ExternalRepository") == 1
    server_id[0] = "two"
    assert [each.name for each in asker.ask().declared or ()] == ["a"]


def test_code_that_cannot_be_loaded_is_told_with_its_error(
    serve: Callable[[Answer], Served], tmp_path: Path
) -> None:
    error = {
        "__class__": "SerializableErrorInfo",
        "cls_name": "DagsterUserCodeLoadError",
        "message": "Error loading\n",
        "cause": {"cls_name": "ImportError", "message": "ImportError: no x\n", "cause": None},
    }
    serve(lambda name, raw: message("one" if name == "GetServerId" else json.dumps(error)))
    told = CodeServerAsker(tmp_path / "s.sock", "here").ask()
    assert not told.answers
    assert told.why == "Its code cannot be loaded: ImportError: no x"
    assert told.is_broken


def test_a_server_that_raises_hangs_or_is_no_dagster_is_told_in_a_sentence(
    serve: Callable[[Answer], Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doing = ["raise"]

    def answer(name: str, raw: bytes) -> bytes:
        if doing[0] == "raise":
            raise RuntimeError("the inner server is gone")
        if doing[0] == "hang":
            time.sleep(1)
        return b"\xff\xff"

    serve(answer)
    asker = CodeServerAsker(tmp_path / "s.sock", "here")
    told = asker.ask()
    assert not told.answers
    assert told.why.startswith("It answered UNKNOWN (Exception calling application: the inner")
    assert not told.is_broken
    doing[0] = "hang"
    monkeypatch.setattr(code_server, "ASK_SECONDS", 0.2)
    assert asker.ask().why == "It took longer than 0 s to answer."
    doing[0] = "nonsense"
    monkeypatch.setattr(code_server, "ASK_SECONDS", 5.0)
    assert asker.ask().why == "Its answer is not Dagster's."


def test_a_server_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    asker = CodeServerAsker(tmp_path / "s.sock", "here")
    assert asker.ask().why == "There is no socket of it."
    (tmp_path / "s.sock").touch()
    assert asker.ask().why.startswith("It answered UNAVAILABLE")
