"""`retail-lakehouse views`: list, refresh and release the views, check them against raw rows.

Belongs here: options and output. Doesn't belong here: refreshing, which is the function that
Dagster's button and sensor call too (`assets/views.py`); comparing (`local/recompute/`).
"""

from __future__ import annotations

import getpass
import time
from typing import Annotated

import typer

from retail_lakehouse.commands.columns import columns
from retail_lakehouse.commands.options import (
    Assignments,
    Exit,
    StateDir,
    require_warehouse,
    running_settings,
)

app = typer.Typer(
    help="List the views of the warehouse, refresh, release and check them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_PATIENCE_SECONDS = 60.0


@app.command(name="list")
def list_views(state_dir: StateDir = None, assignments: Assignments = None) -> None:
    """List the views as their last refresh left them; asks no warehouse.

    Seconds are those since its rows were counted (not with every refresh), since its newest
    event, and since its last refresh. Below stands what is held, since when and why.
    """
    from retail_lakehouse.local.facts import read_views
    from retail_lakehouse.local.status import held_views

    now_ms = time.time() * 1000
    views = read_views(running_settings(state_dir, assignments).root)
    rows = [
        (
            view.name.rpartition(".")[2],
            "materialized" if view.materialized else "plain",
            view.rows,
            *(_age(ms, now_ms) for ms in (view.counted_ms, view.newest_ms, view.refreshed_ms)),
        )
        for view in views
    ]
    heads = ("view", "kind", "rows", "counted s", "age s", "refreshed s")
    for line in columns(heads, rows):
        typer.echo(line)
    for sentence in held_views(views):
        typer.echo(sentence)


@app.command()
def refresh(
    names: Annotated[
        list[str] | None, typer.Argument(help="Views by name; all materialized ones if none.")
    ] = None,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Refresh views now, in one warehouse session."""
    settings = running_settings(state_dir, assignments)
    require_warehouse(settings)
    began = time.monotonic()
    typer.echo("Refreshing; one that runs already is waited for.", err=True)
    from retail_lakehouse.assets.views import look_before_refresh, refresh_and_record
    from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS, view_named
    from retail_lakehouse.resources.iceberg import IcebergCatalogResource
    from retail_lakehouse.resources.warehouse import WarehouseResource

    wished = [view_named(name) for name in names or ()]
    told = refresh_and_record(
        wished or MATERIALIZED_VIEWS,
        WarehouseResource.of(settings),
        look_before_refresh(IcebergCatalogResource.of(settings), settings),
        settings,
        "cli:views-refresh",
        _PATIENCE_SECONDS,
    )
    for result in told.results.values():
        rows = "-" if result.rows is None else f"{result.rows:,}"
        typer.echo(
            f"{result.view:<28} {result.outcome.value:<10} {result.duration_seconds:>6.1f} s "
            f"{rows:>12} rows"
        )
        if not result.ok:
            typer.echo(f"  {result.status}")
    for name, hold in told.held.items():
        typer.echo(f"{name:<28} held\n  {hold.sentence(name)}")
    typer.echo(f"{len(told.results)} views in {time.monotonic() - began:.1f} s.", err=True)
    if told.held or not all(result.ok for result in told.results.values()):
        raise typer.Exit(Exit.FAILED)


@app.command()
def release(
    name: Annotated[str, typer.Argument(help="A view, or a table: all views over it.")],
    findings: Annotated[
        list[str] | None,
        typer.Option("--finding", help="By its code; may be repeated.  [default: all]"),
    ] = None,
    who: Annotated[str | None, typer.Option("--who", help="Your name.  [default: user]")] = None,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Let held views go: what was found holds them no more, something new would.

    The next refresh folds what is there by then.
    """
    from retail_lakehouse.contracts.views import VIEWS, materialized_under
    from retail_lakehouse.warehouse.holds import release as let_go

    subject = name.rpartition(".")[2]
    plain = [view for view in VIEWS if view.name == subject and not view.is_materialized]
    for view in plain:
        under = ", ".join(sorted(materialized_under(view)))
        raise typer.BadParameter(f"{subject} shows what {under} holds: release what is held there.")
    settings = running_settings(state_dir, assignments)
    by = who if who is not None else getpass.getuser()
    at_ms = time.time_ns() // 1_000_000
    for each in let_go(settings.root, subject, findings or (), by, at_ms):
        views = ", ".join(each.views) or "no view was held"
        typer.echo(f"Released {each.code} by {each.by}: {views}\n  {each.sentence}")


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Views by name; all that can be checked if none.")
    ] = None,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Compare views with a recomputation from the raw rows they have folded.

    Exits 1 if one differs.
    """
    from retail_lakehouse.local.recompute.check import RECOMPUTED, check_views

    wished = tuple(name.rpartition(".")[2] for name in names or ()) or RECOMPUTED
    unknown = [name for name in wished if name not in RECOMPUTED]
    if unknown:
        raise typer.BadParameter(
            f"{', '.join(unknown)} cannot be checked. The views that can: {', '.join(RECOMPUTED)}."
        )
    settings = running_settings(state_dir, assignments)
    require_warehouse(settings)
    parities = check_views(settings, wished)
    for parity in parities:
        verdict = "equal" if parity.equal else "different"
        typer.echo(
            f"{parity.view:<28} {verdict:<10} {parity.rows:>10,} rows {parity.seconds:.1f} s"
        )
        if not parity.equal:
            typer.echo(
                f"  {parity.missing} rows missing, {parity.unexpected} unexpected; the first: "
                f"{parity.example}"
            )
    if not all(parity.equal for parity in parities):
        raise typer.Exit(Exit.FAILED)


def _age(then_ms: int | None, now_ms: float) -> float | None:
    return None if then_ms is None else max(0.0, now_ms - then_ms) / 1000
