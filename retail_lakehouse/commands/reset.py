"""`retail-lakehouse reset`: empty the state folder.

Belongs here: asking, and the answer. Doesn't belong here: what is removed (`local/reset.py`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from retail_lakehouse.commands.options import Exit, StateDir, load_settings


def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove the downloads too: jars and tools.")
    ] = False,
    state_dir: StateDir = None,
) -> None:
    """Empty the state folder: events, tables, views, Dagster's history.

    Downloads are kept unless --all. Refused while `dev` runs.
    """
    from retail_lakehouse.local.reset import empty, what_stays, what_to_remove
    from retail_lakehouse.local.state_folder import require_free

    settings = load_settings(state_dir)
    require_free(settings.root)
    found = what_to_remove(settings, everything=everything)
    downloads, strangers = what_stays(settings, everything=everything)
    if found:
        typer.echo(f"This removes from {settings.root}: {', '.join(each.name for each in found)}")
    else:
        typer.echo(f"There is nothing to remove in {settings.root}.")
    if downloads:
        names = ", ".join(each.name for each in downloads)
        typer.echo(f"It keeps the downloads: {names}. Remove them too with --all.")
    if strangers:
        names = ", ".join(each.name for each in strangers)
        typer.echo(f"It keeps what the platform did not make: {names}.")
    if not found:
        return
    if not yes and not typer.confirm("Remove it?"):
        typer.echo("Nothing was removed.")
        raise typer.Exit(Exit.FAILED)
    freed = empty(settings, everything=everything)
    typer.echo(f"Removed {freed / 1024**2:,.0f} MB.")
