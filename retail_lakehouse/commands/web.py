"""`retail-lakehouse web`: Dagster's pages alone, behind the guard.

Belongs here: options, and which code server and port they lead to. Doesn't belong here: the server
and its guard (`web/`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from retail_lakehouse.commands.options import Assignments, StateDir, running_settings

if TYPE_CHECKING:
    from pathlib import Path

    from retail_lakehouse.settings import Settings


def web(
    port: Annotated[
        int | None,
        typer.Option(
            min=1024, max=65535, help="Port on loopback.  [default: dagster_port]", metavar="PORT"
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="For people who only look: nothing can be started.")
    ] = False,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Serve Dagster's pages on loopback; foreign Host and Origin are refused.

    `dev` serves them too. This is for a second server beside it (--port, --read-only), or to look
    at what happened while nothing runs. Ctrl-C ends it.
    """
    settings = running_settings(state_dir, assignments)
    _serve(settings, port or settings.dagster_port, read_only)


def _serve(settings: Settings, port: int, read_only: bool) -> None:
    from retail_lakehouse.local import ports
    from retail_lakehouse.local.dagster_instance import write_instance
    from retail_lakehouse.local.dagster_workspace import CODE_LOCATION
    from retail_lakehouse.local.stack_settings import settings_environment
    from retail_lakehouse.loopback import LOOPBACK
    from retail_lakehouse.web.server import serve

    ports.require_free(port, "Dagster's web server", "--port")
    # A code server that is started along has the same settings.
    os.environ.update(settings_environment(settings))
    os.environ["DAGSTER_HOME"] = str(write_instance(settings.root))
    typer.echo(f"Dagster's pages{' to look at' if read_only else ''}: http://{LOOPBACK}:{port}")
    serve(
        port,
        _running_workspace(settings.root),
        CODE_LOCATION,
        read_only=read_only,
        more_hosts=settings.web_hosts,
    )


def _running_workspace(root: Path) -> Path | None:
    """The workspace of the `dev` that runs on the state folder, or None if none does."""
    from retail_lakehouse.local.dagster_workspace import workspace_file
    from retail_lakehouse.local.state_folder import holder_pid

    # Not the code server's socket: it is gone for a moment whenever that one is started again.
    file = workspace_file(root)
    return file if holder_pid(root) is not None and file.exists() else None
