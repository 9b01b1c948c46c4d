"""Rules of the maintenance assets: each table's figures are its own, and numbers that plot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retail_lakehouse.assets.maintenance import maintenance_assets
from retail_lakehouse.contracts.tables import MAINTAINED_TABLES
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.resources.fakes import Lakehouse

TOLD = """
import json
from retail_lakehouse.build import build_defs
from retail_lakehouse.settings import Settings
defs = build_defs(Settings.load())
job = defs.resolve_job_def("compact_and_expire")
result = job.execute_in_process(
    run_config={"ops": {"maintenance_compaction": {"config": {"reopened": True}}}}
)
made = [
    event.step_materialization_data.materialization
    for event in result.get_asset_materialization_events()
]
print(json.dumps({
    "/".join(each.asset_key.path): {name: value.value for name, value in each.metadata.items()}
    for each in made
}))
"""


def test_each_task_has_an_asset_for_each_maintained_table() -> None:
    keys = {key.to_user_string() for asset in maintenance_assets() for key in asset.keys}
    assert keys == {
        f"maintenance/{task}/{table.name}"
        for task in ("compaction", "expiry", "orphans")
        for table in MAINTAINED_TABLES
    }


@pytest.mark.stack
@pytest.mark.slow
def test_one_run_compacts_and_expires_every_table_and_shows_before_and_after(
    tmp_path: Path, cache_dir: Path
) -> None:
    settings = Settings.load({"state_dir": tmp_path / "state", "cache_dir": cache_dir})
    lakehouse = Lakehouse(settings)
    for _ in range(3):
        lakehouse.quarantine("inventory", [b"{", b"["])
    # In a process of its own, as Dagster runs it: it takes the process's environment for Spark.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "PYSPARK"))}
    told = subprocess.run(
        [sys.executable, "-c", TOLD],
        cwd=tmp_path,
        env=kept
        | {
            "RETAIL_LAKEHOUSE_STATE_DIR": str(settings.root),
            "RETAIL_LAKEHOUSE_CACHE_DIR": str(settings.cache),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    shown = json.loads(told.stdout.splitlines()[-1])
    assert len(shown) == 2 * len(MAINTAINED_TABLES)
    quarantine = shown["maintenance/compaction/inventory_events_quarantine"]
    assert (quarantine["files_before"], quarantine["files_after"]) == (3, 1)
    assert quarantine["replace_snapshots"] == 1
    assert quarantine["planning_ms_before"] > 0
    assert all(isinstance(v, int | float) for figures in shown.values() for v in figures.values())
    assert shown["maintenance/expiry/inventory_events_quarantine"]["disk_files_before"] > 0
