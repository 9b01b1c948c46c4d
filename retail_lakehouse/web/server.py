"""Dagster's web server as the platform starts it: on loopback, behind the guard.

Here: what `dagster-webserver` does at its start (`dagster_webserver/cli.py` of 1.13), with the
guard around its application. Not here: who is let in (`guard.py`), options (`commands/web.py`).

Dagster offers no place to put an application around its own, so its parts are put together here;
they are not public, and fit the minor version that `pyproject.toml` pins.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from retail_lakehouse.loopback import LOOPBACK
from retail_lakehouse.web.guard import Guard
from retail_lakehouse.web.hosts import AllowedHosts, Authority

logger = logging.getLogger(__name__)

DEFINITIONS = "retail_lakehouse.definitions"
_POLL_MILLISECONDS = 2000
"""How often an open page asks for news; Dagster's own default."""
_STOP_SECONDS = 2
"""Open subscriptions would hold up the end for as long as their page is open."""


def serve(
    port: int,
    workspace: Path | None,
    location: str,
    *,
    read_only: bool = False,
    more_hosts: Sequence[Authority] = (),
) -> None:
    """Serve the pages of the instance in DAGSTER_HOME until a signal ends the process.

    Args:
        port: The port on loopback; no other address is bound.
        workspace: The file that names a running code server; without one, a code server is
            started along, which listens on a unix socket.
        location: The code location's name, where it is started along.
        read_only: Whether mutations (runs, switches of sensors) are refused.
        more_hosts: Names beside those of loopback under which the server may be asked.
    """
    import uvicorn
    from dagster import DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import ModuleTarget, WorkspaceFileTarget
    from dagster._utils.log import configure_loggers
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.cli import (
        DEFAULT_DB_STATEMENT_TIMEOUT,
        DEFAULT_POOL_MAX_OVERFLOW,
        DEFAULT_POOL_RECYCLE,
        _lifespan,
    )
    from dagster_webserver.version import __version__

    configure_loggers(formatter="colored", log_level="INFO")
    target = (
        WorkspaceFileTarget([str(workspace)])
        if workspace is not None
        else ModuleTarget(DEFINITIONS, None, None, location)
    )
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW
        )
        with WorkspaceProcessContext(
            instance, version=__version__, read_only=read_only, workspace_load_target=target
        ) as context:
            app = create_app_from_workspace_process_context(
                context, "", _POLL_MILLISECONDS, lifespan=_lifespan
            )
            uvicorn.run(
                Guard(app, AllowedHosts.of(port, more_hosts)),
                host=LOOPBACK,
                port=port,
                log_level="warning",
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
