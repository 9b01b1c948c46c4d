"""`retail-lakehouse alerts`: what is open, silences, and a test of every route.

Belongs here: options and output. Doesn't belong here: incidents, silences, routes (`alerts/`).
"""

from __future__ import annotations

import getpass
import json
import re
from typing import TYPE_CHECKING, Annotated

import typer

from retail_lakehouse.commands.options import (
    Assignments,
    Exit,
    StateDir,
    load_settings,
    running_settings,
)

if TYPE_CHECKING:
    from retail_lakehouse.settings import Settings

app = typer.Typer(
    help="List, silence and test the alerts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_UNITS = {"m": 60, "h": 3600, "d": 86_400}


@app.command(name="list")
def list_alerts(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """List open alerts, what waits to be sent, routes and silences.

    What the watchdog has open stands in its log, logs/watchdog.log of the state folder.
    """
    from retail_lakehouse.alerts.listing import listed

    told = listed(running_settings(state_dir, assignments))
    if as_json:
        typer.echo(json.dumps(told.to_json(), indent=1))
        return
    for line in told.lines():
        typer.echo(line)


@app.command()
def silence(
    pattern: Annotated[
        str, typer.Argument(help="Of names as `alerts list` shows them; * for any part.")
    ],
    duration: Annotated[
        str, typer.Option("--for", help="For how long: 30m, 2h or 1d.", metavar="DURATION")
    ],
    why: Annotated[str, typer.Option("--why", help="The reason, for the others.")],
    who: Annotated[str | None, typer.Option("--who", help="Your name.  [default: user]")] = None,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Tell nobody of matching alerts for a while; what is open then is told after it."""
    from retail_lakehouse.alerts.delivery import now_ms
    from retail_lakehouse.alerts.listing import open_names
    from retail_lakehouse.alerts.message import moment
    from retail_lakehouse.alerts.silences import add_silence

    found = re.fullmatch(r"(\d{1,6})([mhd])", duration.strip())
    if found is None:
        raise typer.BadParameter(f"{duration} is no duration; write 30m, 2h or 1d.")
    settings = running_settings(state_dir, assignments)
    new = add_silence(
        settings.alerts_dir,
        pattern,
        int(found[1]) * _UNITS[found[2]],
        who if who is not None else getpass.getuser(),
        why,
        now_ms(),
    )
    typer.echo(f"Silence {new.id}: {new.pattern} until {moment(new.until_ms)}.")
    covered = [name for name in open_names(settings) if new.covers(name, new.since_ms)]
    if covered:
        typer.echo(f"Open now, and silenced: {', '.join(covered)}.")
    else:
        typer.echo("Nothing that `alerts list` shows as open has such a name.")


@app.command()
def unsilence(
    number: Annotated[int, typer.Argument(help="Its number, as `alerts list` shows it.")],
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """End a silence now."""
    from retail_lakehouse.alerts.delivery import now_ms
    from retail_lakehouse.alerts.silences import remove_silence

    settings = running_settings(state_dir, assignments)
    gone = remove_silence(settings.alerts_dir, number, now_ms())
    typer.echo(f"Silence {gone.id} has ended: {gone.pattern}.")


@app.command(name="test")
def send_test(
    route: Annotated[
        str | None, typer.Option("--route", help="This route alone.", metavar="NAME")
    ] = None,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Send a test message to every route, whatever its owners and severity.

    Exits 1 if one does not take it.
    """
    settings = running_settings(state_dir, assignments)
    if not _all_take_it(settings, route):
        raise typer.Exit(Exit.FAILED)


@app.command()
def cloudwatch(
    actions: Annotated[
        list[str] | None,
        typer.Option("--action", help="ARN told of both edges; may be repeated.", metavar="ARN"),
    ] = None,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Print the alarms that stand in for the watchdog on AWS, as JSON for PutMetricAlarm.

    One document an alarm: `aws cloudwatch put-metric-alarm --cli-input-json`.
    """
    from retail_lakehouse.watchdog.cloudwatch import alarm_documents

    settings = load_settings(state_dir, assignments)
    if settings.is_local:
        raise typer.BadParameter(
            "on one machine the watchdog itself tells; set RETAIL_LAKEHOUSE_PROFILE to aws."
        )
    typer.echo(json.dumps(alarm_documents(settings, actions or []), indent=1))


def _all_take_it(settings: Settings, wished: str | None) -> bool:
    from retail_lakehouse.alerts.delivery import now_ms
    from retail_lakehouse.alerts.desk import links_of
    from retail_lakehouse.alerts.incidents import rehearsal
    from retail_lakehouse.alerts.message import render
    from retail_lakehouse.alerts.notifiers import attempt, notifier_for
    from retail_lakehouse.alerts.routes import read_routes

    routes = read_routes(settings.routes_file)
    chosen = [route for route in routes if wished in (None, route.name)]
    if not chosen:
        names = ", ".join(route.name for route in routes)
        raise typer.BadParameter(f"There is no route {wished}. Those there are: {names}.")
    at_ms = now_ms()
    notice = rehearsal(at_ms)
    message = render(notice.id, [notice], links_of(settings), 0, at_ms)
    all_take_it = True
    for route in chosen:
        outcome = attempt(notifier_for(route), message)
        all_take_it = all_take_it and outcome.delivered
        told = "delivered" if outcome.delivered else outcome.sentence
        typer.echo(f"{route.name:<20} {route.kind.value:<14} {told}")
    return all_take_it
