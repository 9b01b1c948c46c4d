"""A history that Dagster's default storage left is taken over; a new one is made by one process."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from retail_lakehouse.local.dagster_instance import (
    InstanceError,
    dagster_home,
    event_log_file,
    make_instance,
    write_instance,
)

DIMENSION = dg.AssetKey(["retail_db", "dim_store"])


def test_the_history_of_the_default_storage_is_taken_over(tmp_path: Path) -> None:
    home = dagster_home(tmp_path)
    home.mkdir()
    (home / "dagster.yaml").write_text(f"storage:\n  sqlite:\n    base_dir: '{home}'\n")
    with dg.DagsterInstance.from_config(str(home)) as before:
        before.report_runless_asset_event(dg.AssetMaterialization(DIMENSION))
        before.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=DIMENSION, check_name="rows", passed=False)
        )
        told = before.get_latest_materialization_event(DIMENSION)
    write_instance(tmp_path)
    assert not (home / "history" / "runs").exists()
    with dg.DagsterInstance.from_config(str(home)) as after:
        assert after.get_latest_materialization_event(DIMENSION) == told
        key = dg.AssetCheckKey(DIMENSION, "rows")
        found = after.event_log_storage.get_latest_asset_check_execution_by_key([key])
        assert found[key].status.value == "FAILED"
        after.report_runless_asset_event(dg.AssetMaterialization(DIMENSION))
        assert len(after.fetch_materializations(DIMENSION, limit=9).records) == 2
    # What is there is not taken over again.
    written = event_log_file(home).read_bytes()
    write_instance(tmp_path)
    assert event_log_file(home).read_bytes() == written


def test_the_files_are_there_before_the_processes_that_share_them(tmp_path: Path) -> None:
    home = make_instance(tmp_path)
    for name in ("history/event_log.db", "history/runs.db", "schedules/schedules.db"):
        assert (home / name).exists()
    written = event_log_file(home).stat().st_mtime_ns
    assert make_instance(tmp_path) == home
    assert event_log_file(home).stat().st_mtime_ns == written


def test_a_history_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    home = write_instance(tmp_path)
    (home / "history").write_text("a file where a folder should be")
    with pytest.raises(InstanceError, match=r"cannot be made; it said: .*Move that folder away"):
        make_instance(tmp_path)
