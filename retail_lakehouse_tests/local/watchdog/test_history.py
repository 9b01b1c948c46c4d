"""Dagster's files as Dagster itself writes them, read without it."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import (
    DagsterUserCodeUnreachableError,
    SensorExecutionError,
    user_code_error_boundary,
)
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_shared.error import SerializableErrorInfo

from retail_lakehouse.local.dagster_instance import dagster_home, write_instance
from retail_lakehouse.local.watchdog.history import (
    TICKS_READ,
    HistoryUnreadableError,
    first_error,
    read_history,
)
from retail_lakehouse.watchdog.looks import TickEnd, TickerKind
from retail_lakehouse_tests.alerts.build import fill

NOW = 1_795_000_000.25


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_instance(tmp_path / "state")


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


def origin(name: str) -> RemoteInstigatorOrigin:
    location = GrpcServerCodeLocationOrigin(host="localhost", socket="/x", location_name="here")
    return RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)


def remember(
    instance: dg.DagsterInstance, name: str, status: InstigatorStatus, is_schedule: bool = False
) -> None:
    kind = InstigatorType.SCHEDULE if is_schedule else InstigatorType.SENSOR
    data = (
        ScheduleInstigatorData("0 * * * *", None, NOW)
        if is_schedule
        else SensorInstigatorData(min_interval=15)
    )
    instance.add_instigator_state(InstigatorState(origin(name), kind, status, data))


def tick(
    instance: dg.DagsterInstance,
    name: str,
    status: TickStatus,
    at: float = NOW,
    error: SerializableErrorInfo | None = None,
) -> None:
    instance.create_tick(
        TickData(
            instigator_origin_id=origin(name).get_id(),
            instigator_name=name,
            instigator_type=InstigatorType.SENSOR,
            status=status,
            timestamp=at,
            selector_id=origin(name).get_selector().get_id(),
            error=error,
            run_ids=["run"] if status is TickStatus.SUCCESS else None,
        )
    )


def raised(error: Exception) -> SerializableErrorInfo:
    """As a sensor's own error reaches its tick: wrapped in Dagster's."""
    try:
        with user_code_error_boundary(SensorExecutionError, lambda: "Error in the sensor"):
            raise error
    except SensorExecutionError:
        return serializable_error_info_from_exc_info(sys.exc_info())


def test_heartbeats_are_read_with_their_errors_first_line(
    home: Path, instance: dg.DagsterInstance
) -> None:
    error = raised(ValueError("it broke\nand more"))
    instance.add_daemon_heartbeat(DaemonHeartbeat(NOW, "SENSOR", "one", [error]))
    instance.add_daemon_heartbeat(DaemonHeartbeat(NOW + 30, "SCHEDULER", "one", []))
    beats = {beat.thread: beat for beat in read_history(home).beats}
    assert beats["SENSOR"].at_ms == round(NOW * 1000)
    assert beats["SENSOR"].error == "ValueError: it broke"
    assert beats["SCHEDULER"].error == ""
    assert {beat.process_id for beat in beats.values()} == {"one"}


def test_switches_are_read_as_people_left_them(home: Path, instance: dg.DagsterInstance) -> None:
    remember(instance, "by_code", InstigatorStatus.DECLARED_IN_CODE)
    remember(instance, "on", InstigatorStatus.RUNNING)
    remember(instance, "off", InstigatorStatus.STOPPED)
    remember(instance, "nightly", InstigatorStatus.RUNNING, is_schedule=True)
    states = {state.name: state for state in read_history(home).states}
    assert {name: state.is_on for name, state in states.items()} == {
        "by_code": None,
        "on": True,
        "off": False,
        "nightly": True,
    }
    assert states["nightly"].kind is TickerKind.SCHEDULE
    assert states["nightly"].noted_ms == round(NOW * 1000)
    assert states["on"].kind is TickerKind.SENSOR


def test_the_latest_ticks_come_first_and_say_how_they_ended(
    home: Path, instance: dg.DagsterInstance
) -> None:
    remember(instance, "here", InstigatorStatus.RUNNING)
    remember(instance, "there", InstigatorStatus.RUNNING)
    try:
        raise DagsterUserCodeUnreachableError("Could not reach user code server")
    except DagsterUserCodeUnreachableError:
        unreached = serializable_error_info_from_exc_info(sys.exc_info())
    told = [
        (TickStatus.SUCCESS, None),
        (TickStatus.SKIPPED, None),
        (TickStatus.FAILURE, raised(KeyError("x"))),
        (TickStatus.FAILURE, unreached),
        (TickStatus.STARTED, None),
    ]
    for place, (status, error) in enumerate(told):
        tick(instance, "here", status, NOW + place * 15, error)
    (here,) = [state for state in read_history(home).states if state.name == "here"]
    assert [each.end for each in here.ticks] == [
        TickEnd.OPEN,
        TickEnd.UNREACHED,
        TickEnd.FAILED,
        TickEnd.WELL,
        TickEnd.WELL,
    ]
    assert here.ticks[2].error == "KeyError: 'x'"
    assert here.ticks[0].at_ms == round((NOW + 60) * 1000)


def test_a_long_history_costs_no_more_than_a_short_one(
    home: Path, instance: dg.DagsterInstance
) -> None:
    remember(instance, "here", InstigatorStatus.RUNNING)
    tick(instance, "here", TickStatus.SUCCESS)
    database = home / "schedules" / "schedules.db"
    with sqlite3.connect(database) as connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
            "INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body)"
            " SELECT job_origin_id, selector_id, status, type, timestamp, tick_body"
            " FROM job_ticks, n"
        )
    began = time.perf_counter()
    (here,) = read_history(home).states
    assert time.perf_counter() - began < 0.5
    assert len(here.ticks) == TICKS_READ


def test_what_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(HistoryUnreadableError, match=r"runs\.db cannot be read \(unable to open"):
        read_history(tmp_path)


def test_what_is_no_history_is_said_in_a_sentence(home: Path, instance: dg.DagsterInstance) -> None:
    remember(instance, "here", InstigatorStatus.RUNNING)
    with sqlite3.connect(home / "schedules" / "schedules.db") as connection:
        connection.execute("UPDATE instigators SET instigator_body = '{}'")
    with pytest.raises(HistoryUnreadableError, match=r"schedules\.db cannot be read"):
        read_history(home)


def test_reading_leaves_no_file_behind_and_changes_none(tmp_path: Path) -> None:
    home = write_instance(tmp_path / "state")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        remember(instance, "here", InstigatorStatus.RUNNING)
        instance.add_daemon_heartbeat(DaemonHeartbeat(NOW, "SENSOR", "one", []))
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    read_history(home)
    after = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    shared = {path for path in after if path.name.endswith(("-shm", "-wal"))}
    assert {k: v for k, v in after.items() if k not in shared} == {
        k: v for k, v in before.items() if k not in shared
    }


def test_on_a_full_disk_the_history_of_a_dead_daemon_is_read(
    small_disk: Path, tmp_path: Path
) -> None:
    """Nothing has the files open, and what readers share cannot be made any more."""
    made = write_instance(tmp_path / "state")
    with dg.DagsterInstance.from_config(str(made)) as instance:
        remember(instance, "here", InstigatorStatus.RUNNING)
        instance.add_daemon_heartbeat(DaemonHeartbeat(NOW, "SENSOR", "one", []))
    home = dagster_home(small_disk)
    for name in ("history/runs.db", "schedules/schedules.db"):
        with sqlite3.connect(made / name) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        (home / name).parent.mkdir(parents=True)
        shutil.copy(made / name, home / name)
    fill(small_disk)
    history = read_history(home)
    assert [state.name for state in history.states] == ["here"]
    assert len(history.beats) == 1


def test_the_innermost_error_is_told_and_an_empty_one_is_no_crash() -> None:
    assert first_error(None) == ("no reason is given", False)
    assert first_error({"message": " \n", "cause": {"message": "A: b\nc", "cause": None}}) == (
        "A: b",
        False,
    )
    loop: dict[str, object] = {"message": "x"}
    loop["cause"] = loop
    assert first_error(loop) == ("x", False)
