"""Pausing the simulator while its ledger is read or written by another verb.

Belongs here: asking the supervisor to stop it and to start it again. Doesn't belong here: the
verbs that need it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import typer

from retail_lakehouse.commands.termination import exit_on_termination
from retail_lakehouse.local.control import (
    ControlError,
    ProcessState,
    SupervisorClient,
    SupervisorNotRunningError,
)

_IDLE = (ProcessState.STOPPED, ProcessState.STOPPING)


@contextlib.contextmanager
def simulator_paused(root: Path, *, quiet: bool = False) -> Iterator[None]:
    """Have the simulator of the running platform stopped for the block; not if it is idle.

    `quiet` keeps what goes well to itself. A platform that was stopped meanwhile has no simulator
    that could go on: that is said, and is no error of the verb. SIGTERM and SIGHUP end the block,
    and the simulator goes on.

    Raises:
        ControlError: It did not stop in time.
        SystemExit: SIGTERM or SIGHUP came.
    """
    with exit_on_termination(), _paused(SupervisorClient(root), quiet=quiet):
        yield


@contextlib.contextmanager
def _paused(client: SupervisorClient, *, quiet: bool) -> Iterator[None]:
    paused = False
    try:
        with contextlib.suppress(SupervisorNotRunningError):
            paused = client.status()["simulator"].state not in _IDLE
            if paused:
                # Whatever comes of the request: one that stops too late would stay stopped.
                client.request("stop", "simulator")
                if not quiet:
                    typer.echo("The simulator is paused.", err=True)
        yield
    finally:
        if paused:
            try:
                client.request("start", "simulator")
            except (SupervisorNotRunningError, ControlError) as error:
                typer.echo(f"The simulator does not go on: {error}", err=True)
            else:
                if not quiet:
                    typer.echo("The simulator goes on.", err=True)
