"""`retail-lakehouse stop`: end the running platform from another terminal.

Belongs here: asking the supervisor to end, and ending what a killed one left. Doesn't belong here:
how processes end (`local/supervisor.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

import typer

from retail_lakehouse.commands.options import Exit, StateDir, load_settings

_WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.1


def stop(state_dir: StateDir = None) -> None:
    """Stop what `dev` started, wherever it runs; the data is kept."""
    from retail_lakehouse.local.stack import PROCESS_NAMES
    from retail_lakehouse.local.supervisor import end_recorded, hold, holder_pid

    root = load_settings(state_dir).root
    pid = holder_pid(root)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _WAIT_SECONDS
        # Its lock is free a moment before it has ended.
        while holder_pid(root) is not None or _is_there(pid):
            if time.monotonic() > deadline:
                typer.echo(
                    f"Process {pid} does not end within {_WAIT_SECONDS:.0f} seconds. Look at its "
                    "terminal, or end it with kill -9 and run this again.",
                    err=True,
                )
                raise typer.Exit(Exit.FAILED)
            time.sleep(_POLL_SECONDS)
        typer.echo(f"Stopped what ran on {root}; its data is kept.")
        return
    if not root.exists():
        typer.echo(f"Nothing runs on {root}.")
        return
    with contextlib.closing(hold(root)):
        found = end_recorded(root, PROCESS_NAMES, grace_seconds=8.0)
    if found:
        typer.echo(f"Ended what a killed `dev` had left running: {', '.join(found)}.")
    else:
        typer.echo(f"Nothing runs on {root}.")


def _is_there(pid: int) -> bool:
    import psutil  # type: ignore[import-untyped]

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
