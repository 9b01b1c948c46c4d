"""The status of a stack that runs, or that a killed supervisor left: what is told, and as what."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.kafka.connection import KafkaRefusedError
from retail_lakehouse.local import processes, status
from retail_lakehouse.local.control import ControlError, ControlServer, ProcessState, ProcessStatus
from retail_lakehouse.local.facts import TableReader, TopicFacts
from retail_lakehouse.local.process_record import read_record
from retail_lakehouse.local.status import collect_status
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.resources.fakes import TOPIC_ID, Lakehouse

Serve = Callable[..., None]
FAMILY = "sh -c 'sleep 60; :' & wait"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"state_dir": tmp_path})


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A supervisor that tells of the given processes."""
    servers: list[ControlServer] = []

    def answer_with(*told: ProcessStatus) -> None:
        def answer(action: str, _: Mapping[str, object]) -> object:
            if action == "about":
                return {"pid": 1, "phase": "live"}
            return {each.name: each.to_json() for each in told}

        servers.append(ControlServer(tmp_path, answer))
        servers[-1].start()

    yield answer_with
    for server in servers:
        server.close()


def process(
    name: str,
    state: ProcessState = ProcessState.RUNNING,
    message: str = "",
    pid: int | None = None,
    restarts: int = 0,
) -> ProcessStatus:
    return ProcessStatus(name, state, pid, 1.0, restarts, message, f"/{name}.log")


def told(settings: Settings) -> dict[str, Any]:
    return dict(collect_status(settings))


def test_a_process_that_does_not_run_is_a_problem_in_its_own_words(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "read_topics", lambda _: pytest.fail("there is no broker of ours"))
    serve(
        process("broker", ProcessState.CRASHING, "broker has died 3 times in a row."),
        process("inventory", ProcessState.WAITING, "inventory ended.", restarts=2),
        process("simulator", ProcessState.STOPPED),
        process("warehouse"),
    )
    answer = told(settings)
    assert answer["problems"][:3] == [
        "broker has died 3 times in a row.",
        "inventory ended.",
        "simulator is stopped.",
    ]
    assert not any("warehouse is" in each for each in answer["problems"])
    assert answer["supervisor"] == {"pid": 1, "phase": "live"}
    job = answer["jobs"]["inventory"]
    assert (job["state"], job["message"], job["restarts"]) == ("waiting", "inventory ended.", 2)
    assert answer["jobs"]["clickstream"]["state"] == "stopped"


def test_what_a_topic_has_beyond_its_tables_mark_is_the_jobs_lag(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse = Lakehouse(settings)
    lakehouse.commit("inventory", 90, quarantined=8, duplicates=2)
    other = TopicFacts("another_topic", TOPIC_ID, {0: 0}, {0: 7})
    topic = TopicFacts(INVENTORY.topic, TOPIC_ID, {0: 60, 1: 0, 2: 0}, {0: 130, 1: 5, 2: 0})
    monkeypatch.setattr(status, "read_topics", lambda _: [other, topic])
    serve(process("broker"), process("inventory"))
    answer = told(settings)
    assert answer["topics"][INVENTORY.topic]["records"] == 135
    assert answer["topics"][INVENTORY.topic]["partitions"] == 3
    table = answer["tables"][event_table("inventory").qualified_name]
    assert answer["jobs"]["inventory"]["lag_records"] == table["lag_records"] == 35
    assert answer["jobs"]["transactions"]["lag_records"] is None
    assert (table["rows"], table["read"], table["landed"]) == (90, 100, 90)
    assert (table["quarantined"], table["duplicates"]) == (8, 2)
    assert answer["warehouse"]["ssl"] is False


def test_a_broker_that_refuses_is_a_sentence_among_the_problems(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Settings) -> None:
        raise KafkaRefusedError("Kafka refused to answer.")

    monkeypatch.setattr(status, "read_topics", refuse)
    serve(process("broker"))
    answer = told(settings)
    assert "Kafka refused to answer." in answer["problems"]
    assert answer["topics"] == {}


def test_a_supervisor_that_refuses_is_a_sentence_among_the_problems(settings: Settings) -> None:
    def refuse(action: str, _: Mapping[str, object]) -> object:
        raise ControlError(f"No {action} now.")

    server = ControlServer(settings.root, refuse)
    server.start()
    answer = told(settings)
    server.close()
    assert answer["problems"][0] == "No about now."
    assert answer["supervisor"] is None


def test_views_that_are_late_are_a_problem_only_while_the_platform_runs(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "late_views", lambda *_: ["These views are late."])
    assert "These views are late." not in told(settings)["problems"]
    serve(process("warehouse"))
    assert "These views are late." in told(settings)["problems"]


def test_what_a_killed_supervisor_left_is_listed_with_all_its_processes(
    settings: Settings, tmp_path: Path
) -> None:
    command = processes.Command(["/bin/sh", "-c", FAMILY])
    left = processes.spawn(tmp_path, "inventory", command)
    ended = processes.spawn(tmp_path, "simulator", processes.Command(["/bin/sh", "-c", "exit 0"]))
    ended.wait(timeout=5)
    record = read_record(processes.record_path(tmp_path, "inventory"))
    assert record is not None
    deadline = time.monotonic() + 10
    while len(processes.session_members(record)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    answer = told(settings)
    members = {each.pid for each in processes.session_members(record)}
    processes.kill_session(record)
    left.wait(timeout=5)
    assert answer["processes"].keys() == {"inventory"}
    assert answer["processes"]["inventory"]["state"] == "running"
    assert set(answer["jobs"]["inventory"]["pids"]) == members
    assert len(members) == 3
    assert any("inventory still run though their super" in each for each in answer["problems"])
    assert not psutil.pid_exists(left.pid)


def test_a_process_that_ended_meanwhile_has_no_processes(settings: Settings, serve: Serve) -> None:
    serve(process("inventory", pid=2**22 + 1))
    assert told(settings)["jobs"]["inventory"]["pids"] == []


def test_a_table_is_as_fresh_as_the_newest_that_any_commit_brought(settings: Settings) -> None:
    lakehouse, reader = Lakehouse(settings), TableReader(settings)
    contract = event_table("inventory")
    lakehouse.commit("inventory", 3, age_seconds=5)
    (first,) = reader.read([contract])
    lakehouse.commit("inventory", 4, age_seconds=500, duplicates=1)
    (second,) = reader.read([contract])
    assert second.newest_ms == first.newest_ms
    assert (first.rows, second.rows) == (3, 7)
    assert (second.read, second.landed, second.duplicates) == (8, 7, 1)
    assert first.committed_ms is not None
    assert second.committed_ms is not None
    assert second.committed_ms > first.committed_ms
    assert second.events_per_second > 0.0
    (third,) = reader.read([contract])
    assert third.events_per_second > 0.0


def test_a_table_that_is_not_there_hides_none_of_the_others(settings: Settings) -> None:
    lakehouse = Lakehouse(settings)
    first, second = event_table("inventory"), event_table("transactions")
    lakehouse.catalog.drop_table(first.identifier)
    found = TableReader(settings).read([first, second])
    assert [each.name for each in found] == [second.qualified_name]
