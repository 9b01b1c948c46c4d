"""`retail-lakehouse simulate`: the simulated retailer.

Belongs here: options and the closing line. Doesn't belong here: the retailer (`local/simulator/`).
"""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from retail_lakehouse.commands.options import Assignments, StateDir, running_settings
from retail_lakehouse.settings import Settings, SettingsError

# A calendar ends somewhere; what a view looks back is far less.
_MOST_HISTORY_DAYS = 3650


def simulate(
    events_per_second: Annotated[
        float | None, typer.Option(help="Records a second over the three topics.", metavar="RATE")
    ] = None,
    burst: Annotated[
        str | None,
        typer.Option(
            help="FACTOR/EVERY/FOR: 5/600/60 is 5 times the rate for 60 s in every 600 s.",
            metavar="F/E/S",
        ),
    ] = None,
    malformed_share: Annotated[
        float | None, typer.Option(help="Share of malformed records.", metavar="SHARE")
    ] = None,
    late_share: Annotated[
        float | None, typer.Option(help="Share of late events.", metavar="SHARE")
    ] = None,
    duplicate_share: Annotated[
        float | None, typer.Option(help="Share of duplicates.", metavar="SHARE")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed, the same retailer.")] = None,
    duration: Annotated[
        float | None,
        typer.Option(min=0.001, help="End after so long.", metavar="SECONDS"),
    ] = None,
    max_events: Annotated[
        int | None, typer.Option(min=1, help="End after so many.", metavar="COUNT")
    ] = None,
    history_days: Annotated[
        int,
        typer.Option(
            min=0,
            max=_MOST_HISTORY_DAYS,
            help="Instead: write past days into the tables.",
            metavar="DAYS",
        ),
    ] = 0,
    events_a_day: Annotated[
        int | None, typer.Option(min=1, help="Events of each past day.", metavar="COUNT")
    ] = None,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Produce events until stopped, and keep the ledger that `verify` reads.

    `dev` runs this itself; alone it needs the broker of a running platform. With --history-days
    it writes past days straight into the tables instead, and ends.
    """
    from retail_lakehouse.local.simulator.options import SimulatorOptions
    from retail_lakehouse.local.simulator.run import run_until_signalled

    told = {
        "simulator_events_per_second": events_per_second,
        "simulator_burst": burst,
        "simulator_seed": seed,
        "malformed_share": malformed_share,
        "late_share": late_share,
        "duplicate_share": duplicate_share,
    }
    overrides = {name: value for name, value in told.items() if value is not None}
    settings = running_settings(state_dir, assignments, overrides)
    changes = {"duration_seconds": duration, "max_events": max_events}
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if history_days:
        _write_history(settings, history_days, events_a_day)
        return
    report = run_until_signalled(SimulatorOptions.from_settings(settings, **changes))
    typer.echo(
        f"{report.records:,} records in {report.seconds:.0f} s, {report.unresolved:,} of unknown "
        "delivery."
    )


def _write_history(settings: Settings, days: int, events_a_day: int | None) -> None:
    from retail_lakehouse.commands.pause import simulator_paused
    from retail_lakehouse.local.simulator.backfill import (
        DEFAULT_EVENTS_A_DAY,
        MOST_EVENTS_A_DAY,
        backfill,
    )

    events_a_day = events_a_day or DEFAULT_EVENTS_A_DAY
    if events_a_day > MOST_EVENTS_A_DAY:
        raise SettingsError(
            f"--events-a-day {events_a_day} is more than the {MOST_EVENTS_A_DAY} that have room in "
            "a past day. Lower it, and write more days if there are to be more events."
        )
    with simulator_paused(settings.root):
        report = backfill(settings, days, events_a_day)
    typer.echo(f"{len(report.written)} tables' days written in {report.seconds:.0f} s.")
