"""Dagster's own daemon for a test that cannot wait: what takes it 30 s or 5 takes a second.

`python quick_daemon.py WORKSPACE_FILE`, with DAGSTER_HOME.
"""

import sys

import dagster as dg
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon import sensor
from dagster._daemon.controller import daemon_controller_from_instance

if __name__ == "__main__":
    # How often it looks which sensors are due; heartbeats have a setting of their own.
    vars(sensor)["MIN_INTERVAL_LOOP_TIME"] = 1
    with (
        dg.DagsterInstance.get() as instance,
        daemon_controller_from_instance(
            instance, WorkspaceFileTarget([sys.argv[1]]), heartbeat_interval_seconds=1
        ) as controller,
    ):
        controller.check_daemon_loop()
