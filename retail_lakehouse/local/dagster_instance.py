"""Dagster's instance on one machine: where its history lies and how it behaves.

Here: the one text of `dagster.yaml`, for the state folder (DAGSTER_HOME of `retail-lakehouse dev`)
and for the repository's root (a bare `dagster dev` reads it there). Not here: definitions.
"""

import json
from pathlib import Path

_TEMPLATE = """\
# Written by retail_lakehouse/local/dagster_instance.py; change it there.
storage:
  sqlite:
    base_dir: {home}
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
# A run starts at once; there is no queue whose daemon would have to come by first.
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
# A slow look at Kafka must not hold up the refresh of the views.
sensors:
  use_threads: true
  num_workers: 4
telemetry:
  enabled: false
nux:
  enabled: false
"""


def dagster_home(root: Path) -> Path:
    """DAGSTER_HOME of the state folder `root`."""
    return root / "dagster"


def instance_yaml(home: str) -> str:
    """The text of `dagster.yaml` for an instance that keeps its history in the folder `home`."""
    # A JSON string is a YAML string, whatever the path has in it.
    return _TEMPLATE.format(home=json.dumps(home), storage=json.dumps(f"{home}/storage"))


def write_instance(root: Path) -> Path:
    """Makes DAGSTER_HOME with its `dagster.yaml` in the state folder and returns it.

    Idempotent: a file that already says the same is left alone.
    """
    home = dagster_home(root.absolute())
    home.mkdir(parents=True, exist_ok=True)
    path, text = home / "dagster.yaml", instance_yaml(str(home))
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return home
