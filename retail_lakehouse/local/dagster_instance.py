"""Dagster's instance on one machine: where its history lies and how it behaves.

Here: the one text of `dagster.yaml`, for the state folder (DAGSTER_HOME of `retail-lakehouse dev`)
and for the repository's root (a bare `dagster dev` reads it there); and taking over the history of
a state folder from when its text was another. Not here: definitions, what is kept of the history
(`retail_lakehouse/history/`).
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

_MAKE_SECONDS = 120.0
_TEMPLATE = """\
# Written by retail_lakehouse/local/dagster_instance.py; change it there.
run_storage:
  module: dagster._core.storage.runs
  class: SqliteRunStorage
  config:
    base_dir: {history}
# One file for all events. Dagster's default keeps one for each run and copies what concerns an
# asset into another: what is reported without a run, as nearly all of ours, is written twice.
event_log_storage:
  module: dagster._core.storage.event_log
  class: ConsolidatedSqliteEventLogStorage
  config:
    base_dir: {history}
schedule_storage:
  module: dagster._core.storage.schedules
  class: SqliteScheduleStorage
  config:
    base_dir: {schedules}
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config:
    base_dir: {home}
compute_logs:
  module: dagster._core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config:
    base_dir: {storage}
{scheduler}# A run starts at once; there is no queue whose daemon would have to come by first.
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
# Ticks come every few seconds and most of them say "nothing new".
retention:
  sensor:
    purge_after_days:
      skipped: 1
      success: 2
      failure: 7
      started: 1
  schedule:
    purge_after_days:
      skipped: 7
      success: 30
      failure: 30
      started: 7
# A slow look at Kafka must not hold up the refresh of the views.
sensors:
  use_threads: true
  num_workers: 4
telemetry:
  enabled: false
nux:
  enabled: false
"""


_NO_SCHEDULER = """\
# Schedules tick where `make dev` runs: retail_lakehouse/no_scheduler.py says why.
scheduler:
  module: retail_lakehouse.no_scheduler
  class: NoScheduler
"""


class InstanceError(RuntimeError):
    """Dagster's instance cannot be made."""


def dagster_home(root: Path) -> Path:
    """DAGSTER_HOME of the state folder `root`."""
    return root / "dagster"


def instance_yaml(home: str, *, is_bare: bool = False) -> str:
    """The text of `dagster.yaml` for an instance that keeps its history in the folder `home`.

    `is_bare`: the one of the repository's root, for a bare `dagster dev`.
    """
    # A JSON string is a YAML string, whatever the path has in it.
    folders = {name: f"{home}/{name}" for name in ("history", "schedules", "storage")}
    told = {name: json.dumps(folder) for name, folder in folders.items()}
    scheduler = _NO_SCHEDULER if is_bare else ""
    return _TEMPLATE.format(home=json.dumps(home), scheduler=scheduler, **told)


def write_instance(root: Path) -> Path:
    """Makes DAGSTER_HOME with its `dagster.yaml` in the state folder and returns it.

    Idempotent: a file that already says the same is left alone.
    """
    home = dagster_home(root.absolute())
    home.mkdir(parents=True, exist_ok=True)
    _take_over_history(home)
    path, text = home / "dagster.yaml", instance_yaml(str(home))
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return home


def make_instance(root: Path) -> Path:
    """Makes DAGSTER_HOME and the files of its history, before the processes that share them.

    Raises:
        InstanceError: they cannot be made.
    """
    home = write_instance(root)
    if event_log_file(home).exists():
        return home
    made = subprocess.run(
        [sys.executable, "-m", "retail_lakehouse.history.made"],
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_MAKE_SECONDS,
        check=False,
    )
    if made.returncode != 0:
        said = made.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise InstanceError(
            f"Dagster's history in {home} cannot be made; it said: {said[0]}. Move that folder "
            "away and start again: what is in it is history, and none of the data."
        )
    return home


def event_log_file(home: Path) -> Path:
    """The file of all events of the instance in `home`."""
    return home / "history" / "event_log.db"


def _take_over_history(home: Path) -> None:
    """Makes the event log of what Dagster's default storage left in `home`.

    Its index has the same tables as the one file, and of each event that concerns an asset or a
    check its copy; what only a run's own page shows is in a file for each run, and goes.
    """
    shards = home / "history" / "runs"
    index, target = shards / "index.db", event_log_file(home)
    if target.exists() or not index.exists():
        return
    beside = target.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(index)) as source,
        contextlib.closing(sqlite3.connect(beside)) as copy,
    ):
        # Whatever a process that was killed left beside the file, in its log, is read too.
        source.backup(copy)
        # Said before a file has content, or by making it anew: space can be given back later.
        copy.execute("PRAGMA auto_vacuum = INCREMENTAL")
        copy.execute("VACUUM")
        copy.execute("PRAGMA journal_mode = WAL")
    beside.replace(target)
    shutil.rmtree(shards)
