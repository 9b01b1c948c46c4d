"""Dagster's own daemon with a heartbeat a second instead of every 30, for a test that cannot wait.

`python quick_daemon.py WORKSPACE_FILE`, with DAGSTER_HOME.
"""

import sys

import dagster as dg
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.controller import daemon_controller_from_instance

if __name__ == "__main__":
    with (
        dg.DagsterInstance.get() as instance,
        daemon_controller_from_instance(
            instance, WorkspaceFileTarget([sys.argv[1]]), heartbeat_interval_seconds=1
        ) as controller,
    ):
        controller.check_daemon_loop()
