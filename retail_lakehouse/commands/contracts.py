"""`retail-lakehouse contracts`: what producers, and readers of the warehouse, need to know.

Belongs here: options and output. Doesn't belong here: the contracts (`contracts/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="The contracts, for producers and readers.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """The contracts, for producers and readers."""


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.")] = Path(
        "build/contracts"
    ),
) -> None:
    """Write a JSON Schema for each event, and each table's columns as Redshift lists them."""
    from retail_lakehouse.contracts.json_schema import export_json_schemas
    from retail_lakehouse.contracts.redshift_types import export_external_columns

    for path in (*export_json_schemas(folder), *export_external_columns(folder)):
        typer.echo(str(path))
