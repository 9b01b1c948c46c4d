"""Rules of `jobs`: what is asked of the supervisor, and a process in a line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.local.control import (
    ControlError,
    ControlServer,
    ProcessState,
    ProcessStatus,
)
from retail_lakehouse.resources.glue_jobs import GlueJobs
from retail_lakehouse.resources.job_runs import JobRequestError
from retail_lakehouse.resources.job_wishes import stops_asked
from retail_lakehouse.settings import ENV_PREFIX
from retail_lakehouse_tests.resources.test_glue_jobs import FakeGlue
from retail_lakehouse_tests.watchdog.test_cloudwatch import AWS

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


@pytest.fixture
def glue(monkeypatch: pytest.MonkeyPatch) -> FakeGlue:
    """The aws profile, and Glue as a test sets it."""
    for name, value in AWS.items():
        monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", value)
    fake = FakeGlue()
    monkeypatch.setattr(GlueJobs, "_client", lambda _self: fake)
    return fake


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance, as it is found on Dagster's host."""
    (tmp_path / "dagster.yaml").touch()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as made:
        found = contextlib.nullcontext(made)
        monkeypatch.setattr(dg.DagsterInstance, "from_config", staticmethod(lambda _home: found))
        yield made


@pytest.mark.parametrize(
    "verb, state, asked", [("start", "FAILED", "start"), ("stop", "RUNNING", "stop")]
)
def test_on_aws_glue_is_asked(
    glue: FakeGlue, instance: dg.DagsterInstance, verb: str, state: str, asked: str
) -> None:
    glue.state = state
    answer = CliRunner().invoke(app, ["jobs", verb, "inventory"])
    assert answer.exit_code == 0, answer.output
    assert "inventory_streaming is" in answer.output
    assert glue.asked == [asked]


def test_on_aws_a_stop_between_two_runs_is_remembered_until_somebody_says_start(
    glue: FakeGlue, instance: dg.DagsterInstance
) -> None:
    glue.state = "FAILED"
    stopped = CliRunner().invoke(app, ["jobs", "stop", "inventory"])
    assert (stopped.exit_code, glue.asked) == (0, [])
    assert "has no run to be stopped" in stopped.output
    assert list(stops_asked(instance, ["inventory", "transactions"])) == ["inventory"]
    assert CliRunner().invoke(app, ["jobs", "start", "inventory"]).exit_code == 0
    assert stops_asked(instance, ["inventory"]) == {}


def test_on_aws_a_stop_that_nobody_can_remember_is_asked_for_and_no_success(
    glue: FakeGlue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    where = ["--state-dir", str(tmp_path)]
    stopped = CliRunner().invoke(app, ["jobs", "stop", "inventory", *where])
    assert glue.asked == ["stop"]
    assert isinstance(stopped.exception, JobRequestError)
    assert "Dagster starts inventory again by itself" in str(stopped.exception)
    # What is started shows by itself.
    glue.state = "STOPPED"
    assert CliRunner().invoke(app, ["jobs", "start", "inventory", *where]).exit_code == 0


def test_on_aws_half_a_restart_and_a_job_that_is_none_are_no_success(
    glue: FakeGlue, instance: dg.DagsterInstance
) -> None:
    half = CliRunner().invoke(app, ["jobs", "restart", "inventory"])
    assert isinstance(half.exception, JobRequestError)
    unknown = CliRunner().invoke(app, ["jobs", "stop", "simulator"])
    assert isinstance(unknown.exception, JobRequestError)
    assert "There is no event 'simulator'" in str(unknown.exception)
    assert glue.asked == ["stop"]


def test_on_aws_the_list_is_of_glues_newest_runs(glue: FakeGlue) -> None:
    lines = CliRunner().invoke(app, ["jobs", "status"]).output.splitlines()
    assert lines[0].split() == ["inventory", "running"]
    assert lines[1] == "  Glue's newest run of inventory_streaming, jr_1, is RUNNING."
    told = json.loads(CliRunner().invoke(app, ["jobs", "status", "--json"]).stdout)
    assert told["clickstream"]["run_id"] == "jr_1"
    assert told["clickstream"]["state"] == "running"
