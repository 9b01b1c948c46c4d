"""The workspace of the running stack: one code server that Dagster's other processes share.

Belongs here: the code server's socket and the file that points at it. Doesn't belong here:
Dagster's instance (`dagster_instance.py`), how its processes are started (`stack.py`).
"""

from __future__ import annotations

from pathlib import Path

from retail_lakehouse.local.control import socket_path
from retail_lakehouse.local.dagster_instance import dagster_home

CODE_LOCATION = "retail_lakehouse"

_WORKSPACE = """\
# Written by `retail-lakehouse dev`; changes made here are lost.
load_from:
  - grpc_server:
      socket: "{socket}"
      location_name: {location}
"""


def code_server_socket(root: Path) -> Path:
    """Where the code server listens."""
    return socket_path(root, "dagster-code-server")


def workspace_file(root: Path) -> Path:
    """The workspace that points at the code server."""
    return dagster_home(root) / "workspace.yaml"


def write_workspace(root: Path) -> None:
    """Write the workspace's file."""
    path = workspace_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_WORKSPACE.format(socket=code_server_socket(root), location=CODE_LOCATION))
