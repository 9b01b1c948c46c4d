"""`retail-lakehouse stop`: end the running platform from another terminal.

Belongs here: asking the supervisor to end, and ending what a killed one left. Doesn't belong here:
how processes end (`local/supervisor.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from retail_lakehouse.commands.options import Exit, StateDir, load_settings

if TYPE_CHECKING:
    from retail_lakehouse.local.process_record import ProcessRecord

_WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.1


def stop(state_dir: StateDir = None) -> None:
    """Stop what `dev` started, wherever it runs; the data is kept."""
    from retail_lakehouse.local.stack_units import PROCESS_NAMES
    from retail_lakehouse.local.state_folder import hold
    from retail_lakehouse.local.supervisor import end_recorded

    root = load_settings(state_dir).root
    stopped = _end_holder(root)
    if not root.exists():
        typer.echo(f"Nothing runs on {root}.")
        return
    with contextlib.closing(hold(root, "stop")):
        found = end_recorded(root, PROCESS_NAMES, grace_seconds=8.0)
    if found:
        typer.echo(f"Ended what a killed `dev` had left running: {', '.join(found)}.")
    elif stopped:
        typer.echo(f"Stopped what ran on {root}; its data is kept.")
    else:
        typer.echo(f"Nothing runs on {root}.")


def _end_holder(root: Path) -> bool:
    """Ask a running `dev` to end and wait for it; another `stop` or `reset` is only waited for.

    Returns:
        Whether a `dev` was ended.
    """
    from retail_lakehouse.local.state_folder import holder

    asked: ProcessRecord | None = None
    deadline = time.monotonic() + _WAIT_SECONDS
    # The lock of a `dev` is free a moment before its process has ended.
    while (found := holder(root)) is not None or (asked is not None and asked.is_alive()):
        if found is not None and found.role == "dev" and asked is None:
            asked = found.process
            with contextlib.suppress(ProcessLookupError):
                os.kill(asked.pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            late = asked or (found.process if found is not None else None)
            pid = late.pid if late is not None else "unknown"
            typer.echo(
                f"Process {pid} does not end within {_WAIT_SECONDS:.0f} seconds. Look at its "
                "terminal, or end it with kill -9 and run this again.",
                err=True,
            )
            raise typer.Exit(Exit.FAILED)
        time.sleep(_POLL_SECONDS)
    return asked is not None
