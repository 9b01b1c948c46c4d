"""`retail-lakehouse jobs`: start and stop single processes of the running platform.

Belongs here: the requests and their answers. Doesn't belong here: what the supervisor does, or
Glue, which runs the streaming jobs on the aws profile.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from retail_lakehouse.commands.options import StateDir, load_settings

if TYPE_CHECKING:
    from retail_lakehouse.local.control import Action, ProcessStatus
    from retail_lakehouse.resources.job_runs import JobRun
    from retail_lakehouse.settings import Settings

app = typer.Typer(
    help="Start, stop and list the processes of the platform; on AWS its streaming jobs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="A process, as `jobs status` lists them.")]


@app.command()
def start(name: Name, state_dir: StateDir = None) -> None:
    """Start a process."""
    _request("start", name, state_dir)


@app.command()
def stop(name: Name, state_dir: StateDir = None) -> None:
    """Stop a process; it stays stopped until it is started."""
    _request("stop", name, state_dir)


@app.command()
def restart(name: Name, state_dir: StateDir = None) -> None:
    """Stop a process, and start it again."""
    _request("restart", name, state_dir)


@app.command()
def status(
    state_dir: StateDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the processes."""
    from retail_lakehouse.local.control import SupervisorClient

    settings = load_settings(state_dir)
    if not settings.is_local:
        _list_runs(settings, as_json=as_json)
        return
    told = SupervisorClient(settings.root).status()
    if as_json:
        typer.echo(json.dumps({name: each.to_json() for name, each in told.items()}, indent=1))
        return
    for each in told.values():
        typer.echo(_line(each))


def _request(action: Action, name: str, state_dir: StateDir) -> None:
    from retail_lakehouse.local.control import SupervisorClient

    settings = load_settings(state_dir)
    if settings.is_local:
        typer.echo(_line(SupervisorClient(settings.root).request(action, name)))
    else:
        _ask_glue(settings, action, name)


def _ask_glue(settings: Settings, action: Action, name: str) -> None:
    from retail_lakehouse.contracts.events import event_named
    from retail_lakehouse.resources.glue_jobs import GlueJobs
    from retail_lakehouse.resources.job_runs import JobRequestError
    from retail_lakehouse.resources.job_wishes import (
        STAYS_ASKED,
        WishNotKeptError,
        note_asked_outside,
    )

    try:
        event = event_named(name).name
    except KeyError as error:
        raise JobRequestError(f"{error.args[0]} On AWS there are only their jobs.") from error
    unkept: WishNotKeptError | None = None
    try:
        # First: no tick of Dagster in between may start what is to be stopped.
        note_asked_outside(settings.root, event, action, time.time_ns() // 1_000_000)
    except WishNotKeptError as error:
        unkept = error
    try:
        typer.echo(GlueJobs(settings.aws_region).request(action, event))
    except JobRequestError as error:
        if action != "stop" or unkept is not None:
            raise
        raise JobRequestError(f"{error} {STAYS_ASKED}") from error
    # What was started is seen as soon as it lives, whether that was written down or not.
    if unkept is not None and action == "stop":
        raise JobRequestError(
            f"{unkept} A run that Glue stops stays stopped all the same; but where none lives at "
            f"this moment, Dagster starts {name} again by itself. Stop it on Dagster's host, with "
            "its DAGSTER_HOME or --state-dir, or with Dagster's job `stop_streaming_jobs`."
        )


def _list_runs(settings: Settings, *, as_json: bool) -> None:
    from retail_lakehouse.contracts.events import EVENTS
    from retail_lakehouse.resources.glue_jobs import GlueJobs

    runs = GlueJobs(settings.aws_region).runs(tuple(event.name for event in EVENTS))
    if as_json:
        typer.echo(json.dumps({name: _as_json(run) for name, run in runs.items()}, indent=1))
        return
    for name, run in runs.items():
        typer.echo(f"{name:<20} {run.state.value}\n  {run.sentence}")


def _as_json(run: JobRun) -> dict[str, object]:
    return {
        "name": run.event,
        "state": run.state.value,
        "run_id": run.run_id,
        "started_at_ms": run.started_at_ms,
        "message": run.sentence,
        "url": run.url,
    }


def _line(status: ProcessStatus) -> str:
    pid = f"process {status.pid}" if status.pid else ""
    restarts = f"started again {status.restarts} times" if status.restarts else ""
    return f"{status.name:<20} {status.state.value:<9} {pid:<16} {restarts}".rstrip() + (
        f"\n  {status.message}" if status.message else ""
    )
