"""`retail-lakehouse erase`: one customer, out of every table.

Belongs here: the question, the lines, the refresh of the views. Doesn't belong here: erasing
(`local/erase.py`, `maintenance/erasure.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from retail_lakehouse.commands.options import Assignments, Exit, StateDir, running_settings
from retail_lakehouse.settings import Settings, SettingsError

if TYPE_CHECKING:
    from retail_lakehouse.local.erase import ErasureReport
    from retail_lakehouse.maintenance.erasure import Found, TableErasure
    from retail_lakehouse.warehouse.refresh import RefreshResult

_PATIENCE_SECONDS = 120.0


def erase(
    customer: Annotated[
        str, typer.Option("--customer", help="The id as it stands in customer_id.", metavar="ID")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Erase one customer: rows, quarantined records, and the files that hold them.

    From then on readers see none of it; the last file goes after the snapshots' retention. Views
    over the tables are computed anew, in full.
    """
    settings = running_settings(state_dir, assignments)
    if not settings.is_local:
        raise SettingsError(_on_aws(customer))
    from retail_lakehouse.contracts.maintenance import MaintenanceTask
    from retail_lakehouse.job_settings import maintenance_arguments
    from retail_lakehouse.local.erase import erase_customer, find_customer
    from retail_lakehouse.maintenance.erasure import checked_customer
    from retail_lakehouse.resources.spark import SparkResource

    checked_customer(customer)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    typer.echo("Looking for the customer; Spark starts.", err=True)
    arguments = maintenance_arguments(settings, MaintenanceTask.ERASURE)
    with SparkResource.of(settings).session(arguments) as spark:
        found = find_customer(spark, settings, customer)
        for each in found:
            typer.echo(_found_line(each))
        if not any(each.places for each in found):
            typer.echo("Nothing is to be deleted. What earlier erasures left is cleaned up.")
        elif not yes and not typer.confirm("Delete them for good?"):
            typer.echo("Nothing was deleted.")
            raise typer.Exit(Exit.FAILED)
        report = erase_customer(spark, settings, customer)
    for table in report.tables:
        for line in table_lines(table):
            typer.echo(line)
    for line in closing_lines(report, settings):
        typer.echo(line)
    # Last: what a warehouse that fails leaves undone is the views alone, and its error says so.
    if any(each.places for each in found):
        left = _refresh_views(settings, [each.contract.name for each in found])
        if left:
            typer.echo(left_line(left))
            raise typer.Exit(Exit.FAILED)


def table_lines(erased: TableErasure) -> list[str]:
    """What was done to one table, in a line or two."""
    lines = []
    if erased.rows:
        lines.append(
            f"{erased.table}: {erased.rows:,} deleted, by {erased.delete_files} position delete "
            "files beside the data."
        )
    if erased.rewritten_files:
        lines.append(
            f"{erased.table}: {erased.rewritten_files} data files rewritten without them; "
            f"{erased.delete_files_left} delete files left."
        )
    return lines


def view_line(result: RefreshResult) -> str:
    """How the view followed.

    Whichever refresh first meets the delete recomputes; the platform's own may have come before.
    """
    told = f"{result.status} ({result.duration_seconds:.1f} s)"
    if not result.incremental:
        return told
    return f"the platform's own refresh came first and computed it anew, in full; this one: {told}"


def closing_lines(report: ErasureReport, settings: Settings) -> list[str]:
    """When the last of it goes, and where it is still."""
    from retail_lakehouse.contracts.maintenance import WHOLE_EVERY_HOURS
    from retail_lakehouse.contracts.topics import TOPICS
    from retail_lakehouse.maintenance.erasure import erasable_events

    gone = datetime.fromtimestamp(report.gone_after_ms / 1000, UTC)
    names = {event.topic for event in erasable_events()}
    hours = max(topic.retention_hours for topic in TOPICS if topic.name in names)
    return [
        f"The files that held it go with their snapshots, at the first expiry after {gone:%H:%M} "
        f"UTC ({settings.retention_minutes} minutes of grace for queries that run). The platform "
        f"expires every {WHOLE_EVERY_HOURS} hours at the latest; or run this again then.",
        f"Kafka keeps the records themselves until they are {hours} hours old.",
    ]


def _found_line(found: Found) -> str:
    what = "records" if found.contract.kind == "quarantine" else "rows"
    return f"{found.contract.qualified_name}: {len(found.places):,} {what}"


def views_left(results: Iterable[RefreshResult], held: Iterable[str]) -> list[str]:
    """Views that show what they showed before, the customer too."""
    return [*(each.view for each in results if not each.ok), *held]


def left_line(views: Sequence[str]) -> str:
    """What is still to be done about them."""
    names = " ".join(views)
    return (
        f"The customer is deleted, and still shown by {', '.join(views)}: mend what keeps them, "
        f"then run `retail-lakehouse views refresh {names}`."
    )


def _refresh_views(settings: Settings, tables: Sequence[str]) -> list[str]:
    """Has the views over these tables computed anew now; returns those that could not be."""
    from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
    from retail_lakehouse.local.ports import is_answering

    views = [view for view in MATERIALIZED_VIEWS if set(view.source_tables) & set(tables)]
    names = ", ".join(view.name for view in views)
    if not is_answering(settings.warehouse_port):
        typer.echo(f"The warehouse is down: its next refresh computes {names} anew, in full.")
        return [view.name for view in views]
    from retail_lakehouse.assets.views import look_before_refresh, refresh_and_record
    from retail_lakehouse.resources.iceberg import IcebergCatalogResource
    from retail_lakehouse.resources.warehouse import WarehouseResource

    told = refresh_and_record(
        views,
        WarehouseResource.of(settings),
        look_before_refresh(IcebergCatalogResource.of(settings), settings),
        settings,
        "cli:erase",
        _PATIENCE_SECONDS,
    )
    for result in told.results.values():
        typer.echo(f"{result.view}: {view_line(result)}")
    for name, hold in told.held.items():
        # It shows what was there before, the customer too: only a refresh takes it out.
        typer.echo(f"{name}: not computed anew. {hold.sentence(name)}")
    return views_left(told.results.values(), told.held)


def _on_aws(customer: str) -> str:
    import json
    import shlex

    from retail_lakehouse.contracts.maintenance import MaintenanceTask
    from retail_lakehouse.job_settings import MAINTENANCE_JOB
    from retail_lakehouse.maintenance.erasure import checked_customer

    told = {"--task": MaintenanceTask.ERASURE.value, "--customer": checked_customer(customer)}
    return (
        "On the aws profile the tables are maintained by a Glue job. Start it there: aws glue "
        f"start-job-run --job-name {MAINTENANCE_JOB} --arguments {shlex.quote(json.dumps(told))}"
    )
