"""`retail-lakehouse jobs`: start and stop single processes of the running platform.

Belongs here: the requests and their answers. Doesn't belong here: what the supervisor does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from retail_lakehouse.commands.options import StateDir, load_settings

if TYPE_CHECKING:
    from retail_lakehouse.local.control import Action, ProcessStatus

app = typer.Typer(
    help="Start, stop and list the processes of the running platform.",
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

    told = SupervisorClient(load_settings(state_dir).root).status()
    if as_json:
        typer.echo(json.dumps({name: each.to_json() for name, each in told.items()}, indent=1))
        return
    for each in told.values():
        typer.echo(_line(each))


def _request(action: Action, name: str, state_dir: StateDir) -> None:
    from retail_lakehouse.local.control import SupervisorClient

    typer.echo(_line(SupervisorClient(load_settings(state_dir).root).request(action, name)))


def _line(status: ProcessStatus) -> str:
    pid = f"process {status.pid}" if status.pid else ""
    restarts = f"started again {status.restarts} times" if status.restarts else ""
    return f"{status.name:<20} {status.state.value:<9} {pid:<16} {restarts}".rstrip() + (
        f"\n  {status.message}" if status.message else ""
    )
