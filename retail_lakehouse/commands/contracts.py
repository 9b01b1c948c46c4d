"""`retail-lakehouse contracts`: what producers need to know.

Belongs here: options and output. Doesn't belong here: the contracts (`contracts/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The contracts, for producers.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """The contracts, for producers."""


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.")] = Path("schemas"),
) -> None:
    """Write a JSON Schema for each event."""
    from retail_lakehouse.contracts.json_schema import export_json_schemas

    for path in export_json_schemas(folder):
        typer.echo(str(path))
