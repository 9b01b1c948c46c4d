"""What is deleted of a real instance's history, and what never is."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus

from retail_lakehouse.assets.history import HISTORY_KEY, history_asset, prune_and_measure
from retail_lakehouse.history import prune
from retail_lakehouse.history.prune import HistorySchemaError, event_rows, prune_history
from retail_lakehouse.history.space import give_back, history_files, space_of
from retail_lakehouse.local.dagster_instance import dagster_home, event_log_file, write_instance
from retail_lakehouse.sensors.history import history_sensor
from retail_lakehouse.settings import Settings

A, B = dg.AssetKey(["retail_db", "a"]), dg.AssetKey(["retail_db", "b"])
CHECK = dg.AssetCheckKey(A, "lag")
KEEP = timedelta(days=14)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"state_dir": tmp_path / "state"})


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    home = write_instance(settings.root)
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


def report(instance: dg.DagsterInstance, count: int = 3) -> None:
    for n in range(count):
        tags = {"dagster/data_version": str(n)}
        instance.report_runless_asset_event(dg.AssetMaterialization(A, tags=tags))
        instance.report_runless_asset_event(dg.AssetObservation(A, tags=tags))
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=A, check_name="lag", passed=n % 2 == 0)
        )


def pruned(instance: dg.DagsterInstance, days_later: float, budget: float = 60.0) -> prune.Pruned:
    return prune_history(instance, KEEP, datetime.now(UTC) + timedelta(days=days_later), budget)


def test_what_is_younger_than_the_retention_stays(instance: dg.DagsterInstance) -> None:
    report(instance)
    runs = [run_asset(instance, B) for _ in range(2)]
    told = pruned(instance, days_later=13.9)
    assert (told.events, told.check_results, told.runs, told.finished) == (0, 0, 0, True)
    assert not told.anything
    assert all(instance.get_run_by_id(run_id) is not None for run_id in runs)


def test_the_latest_of_each_asset_and_check_stays_whatever_its_age(
    instance: dg.DagsterInstance,
) -> None:
    report(instance)
    instance.report_runless_asset_event(dg.AssetMaterialization(B, partition="x"))
    instance.report_runless_asset_event(dg.AssetMaterialization(B, partition="y"))
    latest = instance.get_latest_materialization_event(A)
    told = pruned(instance, days_later=400)
    assert (told.events, told.check_results) == (6, 2)
    assert event_rows(instance) == 5
    assert instance.get_latest_materialization_event(A) == latest
    assert len(instance.fetch_materializations(A, limit=9).records) == 1
    assert len(instance.fetch_observations(A, limit=9).records) == 1
    assert instance.get_materialized_partitions(B) == {"x", "y"}
    (result,) = instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=9)
    assert result.status.value == "SUCCEEDED"
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECK])
    assert records[CHECK].id == result.id
    assert set(instance.all_asset_keys()) == {A, B}
    # Nothing more goes the second time.
    assert not pruned(instance, days_later=400).anything


def test_the_newest_result_stays_beside_a_newer_one_that_is_merely_planned(
    instance: dg.DagsterInstance,
) -> None:
    report(instance)
    with sqlite3.connect(event_log_file(Path(instance.root_directory))) as connection:
        connection.execute(
            "UPDATE asset_check_executions SET execution_status = 'PLANNED' "
            "WHERE id = (SELECT max(id) FROM asset_check_executions)"
        )
    assert pruned(instance, days_later=400).check_results == 1
    with sqlite3.connect(event_log_file(Path(instance.root_directory))) as connection:
        left = connection.execute(
            "SELECT execution_status FROM asset_check_executions ORDER BY id"
        ).fetchall()
    assert left == [("FAILED",), ("PLANNED",)]


def test_the_tags_of_deleted_events_go_with_them(instance: dg.DagsterInstance) -> None:
    report(instance, 4)
    pruned(instance, days_later=400)
    file = event_log_file(Path(instance.root_directory))
    with sqlite3.connect(file) as connection:
        rows = connection.execute(
            "SELECT count(*) FROM asset_event_tags AS t LEFT JOIN event_logs AS e "
            "ON e.id = t.event_id WHERE e.id IS NULL"
        ).fetchone()
        kept = connection.execute("SELECT count(*) FROM asset_event_tags").fetchone()
    assert (rows[0], kept[0]) == (0, 2)


def test_no_id_is_given_out_again_so_that_no_cursor_steps_over_an_event(
    instance: dg.DagsterInstance,
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(A))
    for passed in (True, False, True):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=A, check_name="lag", passed=passed)
        )
    greatest = instance.event_log_storage.get_maximum_record_id()
    pruned(instance, days_later=400)
    instance.report_runless_asset_event(dg.AssetMaterialization(A))
    assert greatest is not None
    assert instance.fetch_materializations(A, limit=1).records[0].storage_id > greatest


def test_a_sensors_cursor_survives(instance: dg.DagsterInstance) -> None:
    report(instance)
    seen = instance.fetch_materializations(A, limit=2, ascending=True)
    report(instance, 2)
    pruned(instance, days_later=400)
    later = instance.fetch_materializations(A, limit=9, cursor=seen.cursor, ascending=True)
    versions = [
        dict(each.asset_materialization.tags or {})
        for each in later.records
        if each.asset_materialization
    ]
    assert versions == [{"dagster/data_version": "1"}]


def test_large_histories_are_deleted_in_steps_and_a_budget_ends_early(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "BATCH_ROWS", 7)
    report(instance, 12)
    cut = pruned(instance, days_later=400, budget=0.0)
    assert (cut.events, cut.finished) == (0, False)
    whole = pruned(instance, days_later=400)
    assert (whole.events, whole.check_results, whole.finished) == (33, 11, True)


def test_an_event_from_a_clock_that_was_ahead_does_not_keep_those_behind_it(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "BATCH_ROWS", 7)
    report(instance, 12)
    with sqlite3.connect(event_log_file(Path(instance.root_directory))) as connection:
        connection.execute("UPDATE event_logs SET timestamp = '2999-01-01 00:00:00' WHERE id = 3")
    assert pruned(instance, days_later=400).events == 32


def test_a_history_that_others_hold_is_left_to_the_next_time_without_an_error(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    report(instance)

    def failing(told: str) -> None:
        def delete(*_: object) -> int:
            raise OperationalError("DELETE", {}, sqlite3.OperationalError(told))

        monkeypatch.setattr(prune, "_delete_check_results", delete)

    failing("database is locked")
    told = pruned(instance, days_later=400)
    assert (told.events, told.check_results, told.finished) == (6, 0, False)
    failing("disk I/O error")
    with pytest.raises(OperationalError, match="disk I/O error"):
        pruned(instance, days_later=400)


def run_asset(instance: dg.DagsterInstance, key: dg.AssetKey) -> str:
    @dg.asset(key=key)
    def made() -> None:
        return None

    return dg.materialize([made], instance=instance).run_id


def test_old_runs_go_with_their_events_and_those_that_hold_the_latest_stay(
    instance: dg.DagsterInstance,
) -> None:
    first, second = run_asset(instance, A), run_asset(instance, A)
    output = Path(instance.root_directory) / "storage"
    for run_id in (first, second):
        (output / run_id / "compute_logs").mkdir(parents=True, exist_ok=True)
    told = pruned(instance, days_later=400)
    assert told.runs == 1
    assert instance.get_run_by_id(first) is None
    assert instance.all_logs(first) == []
    assert not (output / first).exists()
    assert (output / second / "compute_logs").exists()
    assert instance.get_run_by_id(second) is not None
    assert len(instance.all_logs(second)) > 5
    latest = instance.get_latest_materialization_event(A)
    assert latest is not None
    assert latest.run_id == second


def test_a_run_that_is_under_way_stays(instance: dg.DagsterInstance) -> None:
    @dg.job
    def nothing() -> None:
        return None

    run = instance.create_run_for_job(nothing)
    assert pruned(instance, days_later=400).runs == 0
    assert instance.get_run_by_id(run.run_id) is not None


def test_an_unknown_schema_is_refused_in_a_sentence_and_nothing_is_deleted(
    instance: dg.DagsterInstance,
) -> None:
    report(instance)
    with sqlite3.connect(event_log_file(Path(instance.root_directory))) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
    with pytest.raises(HistorySchemaError, match="has the schema ffffffffffff, and known are"):
        pruned(instance, days_later=400)
    with sqlite3.connect(event_log_file(Path(instance.root_directory))) as connection:
        assert connection.execute("SELECT count(*) FROM event_logs").fetchone() == (9,)


def test_ticks_that_reported_nothing_are_kept_for_hours_and_others_are_not_touched(
    instance: dg.DagsterInstance,
) -> None:
    now = time.time()
    # An instigator's state is what ticks are found by.
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import (
        InstigatorState,
        InstigatorStatus,
        SensorInstigatorData,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="m"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "r"), "watch")
    state = InstigatorState(
        origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData()
    )
    instance.add_instigator_state(state)
    for hours, status in ((7, "SKIPPED"), (5, "SKIPPED"), (7, "STARTED")):
        instance.create_tick(
            TickData(
                state.instigator_origin_id,
                "watch",
                InstigatorType.SENSOR,
                TickStatus[status],
                now - hours * 3600,
                selector_id=state.selector_id,
            )
        )
    pruned(instance, days_later=0)
    left = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    assert sorted(tick.status.value for tick in left) == ["SKIPPED", "STARTED"]


def test_space_is_given_back_in_steps_while_others_write(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    files = history_files(dagster_home(settings.root))
    assert {file.name for file in files} == {"event_log.db", "runs.db", "schedules.db"}
    give_back(files, 5)
    big = {"text": "x" * 100_000}
    for _ in range(60):
        instance.report_runless_asset_event(dg.AssetMaterialization(A, metadata=big))
    pruned(instance, days_later=400)
    before = space_of(files)
    assert before.free_bytes > 5_000_000
    writer = sqlite3.connect(event_log_file(dagster_home(settings.root)), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    # Held by another for the whole time: no error, and left for the next time.
    from retail_lakehouse.history import space

    original, space._BUSY_SECONDS = space._BUSY_SECONDS, 0.1
    try:
        give_back(files, 5)
    finally:
        space._BUSY_SECONDS = original
    writer.execute("ROLLBACK")
    writer.close()
    assert space_of(files).free_bytes >= before.free_bytes
    # A megabyte a step: a page a step gives back one of these six in that time, at the most.
    give_back(files, 5.0)
    assert space_of(files).free_bytes < 2_000_000


def test_the_sensor_reports_once_a_day_and_says_what_it_did(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    sensor = history_sensor(settings)
    with dg.build_sensor_context(instance=instance) as context:
        first = sensor(context)
    assert isinstance(first, dg.SensorResult)
    (event,) = first.asset_events
    assert event.asset_key == HISTORY_KEY
    assert event.metadata["days_kept"].value == 14
    assert "Nothing is old enough to be deleted" in str(first.skip_reason)
    with dg.build_sensor_context(instance=instance, cursor=first.cursor) as context:
        second = sensor(context)
    assert isinstance(second, dg.SensorResult)
    assert second.asset_events == []


def test_the_button_prunes_and_shows_before_and_after(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    report(instance)
    assert dg.materialize([history_asset(settings)], instance=instance).success
    record = instance.fetch_materializations(HISTORY_KEY, limit=1).records[0]
    assert record.asset_materialization is not None
    told = {name: v.value for name, v in record.asset_materialization.metadata.items()}
    assert told["events_deleted"] == 0
    assert told["finished"] is True
    assert int(str(told["size_bytes"])) > 100_000


def test_on_postgres_no_file_is_looked_at(instance: dg.DagsterInstance) -> None:
    from retail_lakehouse_tests.streaming.test_arguments import AWS

    told = prune_and_measure(instance, Settings.load(AWS), 5)
    assert (told.before.size_bytes, told.after.size_bytes) == (0, 0)


def test_the_newest_event_of_all_stays_though_it_is_of_no_asset_and_no_check(
    instance: dg.DagsterInstance,
) -> None:
    @dg.op
    def nothing() -> None:
        return None

    @dg.job
    def alone() -> None:
        nothing()

    assert alone.execute_in_process(instance=instance).success
    greatest = instance.event_log_storage.get_maximum_record_id()
    assert pruned(instance, days_later=400).runs == 0
    assert instance.event_log_storage.get_maximum_record_id() == greatest
