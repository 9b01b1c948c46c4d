"""Rules of `jobs`: what is asked of the supervisor, and a process in a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.local.control import (
    ControlError,
    ControlServer,
    ProcessState,
    ProcessStatus,
)

RUNS = ProcessStatus("inventory", ProcessState.RUNNING, 77, 12.5, 0, "", "/logs/inventory.log")
DIED = ProcessStatus("simulator", ProcessState.WAITING, None, None, 3, "It died.", "/logs/s.log")


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[list[tuple[str, object]]]:
    """A supervisor that knows two processes, and what it was asked."""
    requests: list[tuple[str, object]] = []
    known = {each.name: each for each in (RUNS, DIED)}

    def answer(action: str, request: Mapping[str, object]) -> object:
        requests.append((action, request.get("name")))
        if action == "status":
            return {name: each.to_json() for name, each in known.items()}
        name = str(request["name"])
        if name not in known:
            raise ControlError(f"There is no process {name!r}.")
        return known[name].to_json()

    server = ControlServer(tmp_path, answer)
    server.start()
    yield requests
    server.close()


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_each_verb_asks_for_itself_and_tells_what_came_of_it(
    tmp_path: Path, asked: list[tuple[str, object]], verb: str
) -> None:
    answer = CliRunner().invoke(app, ["jobs", verb, "inventory", "--state-dir", str(tmp_path)])
    assert asked == [(verb, "inventory")]
    assert answer.exit_code == 0
    assert answer.output.split() == ["inventory", "running", "process", "77"]


def test_the_list_has_a_line_for_each_and_why_one_does_not_run(
    tmp_path: Path, asked: list[tuple[str, object]]
) -> None:
    answer = CliRunner().invoke(app, ["jobs", "status", "--state-dir", str(tmp_path)])
    runs, died, why = answer.output.splitlines()
    assert runs.split() == ["inventory", "running", "process", "77"]
    assert died.split() == ["simulator", "waiting", "started", "again", "3", "times"]
    assert why == "  It died."


def test_the_list_as_json_is_what_passes_through_the_door(
    tmp_path: Path, asked: list[tuple[str, object]]
) -> None:
    answer = CliRunner().invoke(app, ["jobs", "status", "--json", "--state-dir", str(tmp_path)])
    assert json.loads(answer.stdout) == {each.name: each.to_json() for each in (RUNS, DIED)}


def test_what_the_supervisor_refuses_is_no_success(
    tmp_path: Path, asked: list[tuple[str, object]]
) -> None:
    answer = CliRunner().invoke(app, ["jobs", "stop", "nobody", "--state-dir", str(tmp_path)])
    assert isinstance(answer.exception, ControlError)
    assert answer.exit_code == 1
