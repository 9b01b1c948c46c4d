"""Rules of the clock: maintenance runs by itself, closed hours each hour, the rest every six."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from retail_lakehouse.assets.keys import maintenance_key, table_key
from retail_lakehouse.build import build_defs
from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.tables import EVENT_TABLES, MAINTAINED_TABLES, TableContract
from retail_lakehouse.local.dagster_instance import write_instance
from retail_lakehouse.schedules import HOURLY, WHOLE_TAG, takes_everything
from retail_lakehouse_tests.resources.fakes import settings_in


def _schedule(folder: Path, name: str, left: str | None = None) -> dg.ScheduleDefinition:
    repository = build_defs(settings_in(folder), sensors_left=left).get_repository_def()
    return repository.get_schedule_def(name)


def test_every_schedule_runs_without_being_switched_on(tmp_path: Path) -> None:
    schedules = build_defs(settings_in(tmp_path)).get_repository_def().schedule_defs
    assert {each.name for each in schedules} == {"compact_closed_hours", "remove_orphan_files"}
    assert {each.default_status for each in schedules} == {dg.DefaultScheduleStatus.RUNNING}
    assert {each.execution_timezone for each in schedules} == {"UTC"}


def test_beside_make_dev_schedules_are_off_and_say_why(tmp_path: Path) -> None:
    schedule = _schedule(tmp_path, "compact_closed_hours", "It runs elsewhere.")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    tick = schedule.evaluate_tick(dg.build_schedule_context())
    assert tick.skip_message == "It runs elsewhere."


@pytest.mark.parametrize(
    "since, whole",
    [
        (None, True),
        (timedelta(hours=1), False),
        (timedelta(hours=5), False),
        # The run of six hours ago was made some seconds after its tick.
        (timedelta(hours=6, seconds=-40), True),
        (timedelta(days=2), True),
    ],
)
def test_everything_is_maintained_every_six_hours(since: timedelta | None, whole: bool) -> None:
    at = datetime(2026, 11, 23, 7, 15, tzinfo=UTC)
    assert takes_everything(at, None if since is None else at - since) is whole


def test_a_run_that_failed_or_was_missed_is_made_up_for_an_hour_later(tmp_path: Path) -> None:
    schedule = _schedule(tmp_path, "compact_closed_hours")
    home = write_instance(tmp_path / "instance")

    @dg.job(name="compact_and_expire")
    def compaction() -> None:
        return None

    with dg.DagsterInstance.from_config(str(home)) as instance:

        def asked(hours: float) -> str:
            at = datetime.now(UTC) + timedelta(hours=hours)
            with dg.build_schedule_context(
                instance=instance, scheduled_execution_time=at
            ) as context:
                (request,) = schedule.evaluate_tick(context).run_requests or []
            assert request.run_key == at.isoformat()
            told = request.tags[WHOLE_TAG]
            config = request.run_config["ops"]["maintenance_compaction"]["config"]
            assert config == {"reopened": told == "true"}
            # Each hour what was closed in it; quarantines and expiry are not told of in vain.
            assert request.asset_selection == (None if told == "true" else HOURLY)
            return told

        def ran(status: dg.DagsterRunStatus, whole: str = "true") -> None:
            tags = {WHOLE_TAG: whole}
            instance.create_run_for_job(compaction, status=status, tags=tags)

        ran(dg.DagsterRunStatus.FAILURE)
        ran(dg.DagsterRunStatus.SUCCESS, "false")
        assert asked(1) == "true"
        ran(dg.DagsterRunStatus.SUCCESS)
        assert asked(1) == "false"
        assert asked(6) == "true"


class Recorder:
    """Stands for Spark: notes what a run takes."""

    def __init__(self) -> None:
        self.taken: list[tuple[MaintenanceTask, str, bool]] = []

    def run(
        self,
        context: dg.AssetExecutionContext,
        task: MaintenanceTask,
        contracts: Iterable[TableContract],
        *,
        reopened: bool = True,
    ) -> Iterator[dg.MaterializeResult[Any]]:
        for contract in contracts:
            self.taken.append((task, contract.name, reopened))
            yield dg.MaterializeResult(asset_key=maintenance_key(task, contract))


@pytest.mark.parametrize("whole", [False, True], ids=["hourly", "whole"])
def test_what_the_schedule_asks_for_is_a_run_that_takes_it_and_nothing_else(
    tmp_path: Path, whole: bool
) -> None:
    recorder = Recorder()
    defs = build_defs(settings_in(tmp_path), maintenance=recorder)
    schedule = defs.get_repository_def().get_schedule_def("compact_closed_hours")
    job = defs.resolve_job_def("compact_and_expire")

    @dg.job(name=job.name)
    def compaction() -> None:
        return None

    home = write_instance(tmp_path / "instance")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        if not whole:
            done, tags = dg.DagsterRunStatus.SUCCESS, {WHOLE_TAG: "true"}
            instance.create_run_for_job(compaction, status=done, tags=tags)
        at = datetime.now(UTC) + timedelta(hours=1)
        with dg.build_schedule_context(instance=instance, scheduled_execution_time=at) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or []
        assert job.execute_in_process(
            request.run_config, instance, asset_selection=request.asset_selection
        ).success
    tables = MAINTAINED_TABLES if whole else EVENT_TABLES
    tasks = (MaintenanceTask.COMPACTION, *([MaintenanceTask.EXPIRY] if whole else []))
    assert sorted(recorder.taken) == sorted(
        (task, table.name, whole) for task in tasks for table in tables
    )


def test_snapshots_expire_whatever_becomes_of_a_run_s_compactions(tmp_path: Path) -> None:
    graph = build_defs(settings_in(tmp_path)).resolve_asset_graph()
    for table in MAINTAINED_TABLES:
        expiry = graph.get(maintenance_key(MaintenanceTask.EXPIRY, table))
        assert expiry.parent_keys == {table_key(table)}
        assert expiry.group_name == "maintenance"
