"""`retail-lakehouse verify`: does everything that was sent stand in the tables, once and as sent?

Belongs here: options, the report's lines, the exit code. Doesn't belong here: the checks
(`local/verify/`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from retail_lakehouse.commands.options import (
    Assignments,
    Exit,
    StateDir,
    require_kafka,
    running_settings,
)


def verify(
    wait: Annotated[
        float, typer.Option(min=0, help="How long the tables may catch up.", metavar="SECONDS")
    ] = 120.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only what does not hold.")] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="A topic without a record is no failure.")
    ] = False,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Compare the simulator's ledger with Kafka, the marks and the tables.

    A running simulator is paused meanwhile. Exits 1 if a check does not hold.
    """
    settings = running_settings(state_dir, assignments)
    require_kafka(settings)
    from retail_lakehouse.commands.pause import simulator_paused
    from retail_lakehouse.local.verify import verify as compare

    with simulator_paused(settings.root, quiet=quiet):
        report = compare(settings, wait_seconds=wait, allow_empty=allow_empty)
        # Before the simulator is asked to go on: whatever becomes of that, the report is there.
        for line in map(str, report.failed) if quiet else report.lines():
            typer.echo(line)
    if not report.ok:
        raise typer.Exit(Exit.FAILED)
