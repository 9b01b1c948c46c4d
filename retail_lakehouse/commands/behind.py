"""`dev --until-live --keep`: the platform is left running, apart from this terminal.

Belongs here: starting `dev` as a process of its own and waiting for it. Doesn't belong here: what
`dev` does.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import typer

from retail_lakehouse.commands.options import Exit
from retail_lakehouse.commands.termination import exit_on_termination
from retail_lakehouse.local.control import (
    ControlError,
    SupervisorClient,
    SupervisorNotRunningError,
)
from retail_lakehouse.local.processes import log_path
from retail_lakehouse.local.stack_settings import settings_environment
from retail_lakehouse.local.stack_units import PROCESS_NAMES
from retail_lakehouse.local.state_folder import hold, holder_pid
from retail_lakehouse.local.supervisor import end_recorded
from retail_lakehouse.settings import Settings

_POLL_SECONDS = 0.5
_STOP_SECONDS = 30.0
_ORPHANS_GRACE_SECONDS = 5.0


def start_behind(settings: Settings, timeout_seconds: float, *, with_simulator: bool) -> Exit:
    """Start `dev` as a process of its own and wait until it is live; it stays then.

    One that does not get live in time is stopped again, and so is one that is not waited for to
    the end, whatever breaks off the waiting: Ctrl-C, SIGTERM, a terminal or a pipe that is closed.

    Raises:
        SystemExit: SIGTERM or SIGHUP came.
    """
    if (pid := holder_pid(settings.root)) is not None:
        typer.echo(
            f"`retail-lakehouse dev` already runs on {settings.root} as process {pid}. Use that "
            "one, or stop it with `retail-lakehouse stop`.",
            err=True,
        )
        return Exit.REFUSED
    log = log_path(settings.root, "supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "retail_lakehouse.cli", "dev"]
    argv += [] if with_simulator else ["--no-simulator"]
    with exit_on_termination():
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603
                argv,
                env={**os.environ, **settings_environment(settings), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            code = _until_live(process, settings, log, timeout_seconds)
        except BaseException as error:
            # Nobody has been told of what would go on.
            _stop(process, settings.root)
            if isinstance(error, KeyboardInterrupt):
                return Exit.INTERRUPTED
            raise
        if code is Exit.NOT_LIVE:
            _stop(process, settings.root)
    return code


_CODES = frozenset(code.value for code in Exit)


def _until_live(
    process: subprocess.Popen[bytes], settings: Settings, log: Path, timeout_seconds: float
) -> Exit:
    """Wait until it is live, or has ended, or the time is over, and show its log meanwhile."""
    client = SupervisorClient(settings.root)
    deadline = time.monotonic() + timeout_seconds
    shown = 0
    while time.monotonic() < deadline:
        shown = _show(log, shown)
        if process.poll() is not None:
            _show(log, shown)
            return Exit(process.returncode) if process.returncode in _CODES else Exit.FAILED
        if _phase(client) == "live":
            _show(log, shown)
            typer.echo(f"It goes on as process {process.pid}; end it: retail-lakehouse stop")
            return Exit.DONE
        time.sleep(_POLL_SECONDS)
    typer.echo(_why_not(settings, timeout_seconds), err=True)
    return Exit.NOT_LIVE


def _phase(client: SupervisorClient) -> str:
    try:
        return str(client.about().get("phase", ""))
    except (SupervisorNotRunningError, ControlError):
        return ""


def _show(log: Path, position: int) -> int:
    """Print what the log has since the position; returns the new one."""
    with log.open("rb") as file:
        file.seek(position)
        told = file.read()
    whole = told[: told.rfind(b"\n") + 1]
    if whole:
        typer.echo(whole.decode(errors="replace"), nl=False)
    return position + len(whole)


def _why_not(settings: Settings, timeout_seconds: float) -> str:
    from retail_lakehouse.local.live import what_is_missing
    from retail_lakehouse.local.status import collect_status

    now_ms = time.time() * 1000
    status = collect_status(settings)
    why = what_is_missing(status, now_ms - timeout_seconds * 1000, now_ms)
    return f"Not live after {timeout_seconds:.0f} seconds: {why}"


def _stop(process: subprocess.Popen[bytes], root: Path) -> None:
    """End the supervisor; what one that had to be killed leaves is ended here, and named."""
    process.terminate()
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        with contextlib.closing(hold(root, "stop")):
            found = end_recorded(root, PROCESS_NAMES, grace_seconds=_ORPHANS_GRACE_SECONDS)
        typer.echo(
            f"Process {process.pid} did not end within {_STOP_SECONDS:.0f} seconds and was killed; "
            f"what it left has been ended: {', '.join(found) or 'nothing'}.",
            err=True,
        )
