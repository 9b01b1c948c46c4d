"""`retail-lakehouse status`: how the platform is, from any terminal.

Belongs here: the page for people. Doesn't belong here: facts and JSON (`local/status.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

import typer

from retail_lakehouse.commands.columns import columns
from retail_lakehouse.commands.options import Assignments, StateDir, running_settings


def status(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
    state_dir: StateDir = None,
    assignments: Assignments = None,
) -> None:
    """Say how the platform is, whatever of it is down.

    Always exits 0; what is wrong stands under "problems".
    """
    from retail_lakehouse.local.status import collect_status
    from retail_lakehouse.local.without_pandas import leave_pandas_out

    leave_pandas_out()
    told = collect_status(running_settings(state_dir, assignments))
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    for line in page(told):
        typer.echo(line)


def page(told: Mapping[str, object]) -> list[str]:
    """The status as lines of at most 80 columns, paths and sentences aside."""
    lines = [f"State      {told['state_dir']}"]
    supervisor = _mapping(told["supervisor"])
    if supervisor:
        lines.append(f"Running    {supervisor['phase']}, supervisor {supervisor['pid']}")
        lines.append(f"Dagster    {told['dagster_url']}")
        lines.append(f"Kafka      {told['bootstrap_servers']}")
        warehouse = _mapping(told["warehouse"])
        lines.append(f"Warehouse  {warehouse['host']}:{warehouse['port']}")
        lines += ["", _live_line(told)]
    else:
        lines.append("Running    no")
    processes = _mapping(told["processes"])
    if processes:
        process_rows = [
            (name, each["state"], each["pid"], each["restarts"]) for name, each in _items(processes)
        ]
        lines += ["", *columns(("process", "state", "pid", "restarts"), process_rows)]
    tables = [(n, t) for n, t in _items(told["tables"]) if t["kind"] == "events"]
    if tables:
        heads = ("table", "rows", "age s", "lag", "events/s", "quarantined", "dupl.")
        rows = [
            (
                name.rpartition(".")[2],
                each["rows"],
                each["age_seconds"],
                each["lag_records"],
                each["events_per_second"],
                each["quarantined"],
                each["duplicates"],
            )
            for name, each in tables
        ]
        lines += ["", *columns(heads, rows)]
    views = [
        (
            name.rpartition(".")[2],
            v["rows"],
            v["rows_age_seconds"],
            v["age_seconds"],
            v["refresh_seconds"],
        )
        for name, v in _items(told["views"])
        if v["refreshed_age_seconds"] is not None or v["rows"] is not None
    ]
    if views:
        lines += ["", *columns(("view", "rows", "counted s", "age s", "refresh s"), views)]
    problems = told["problems"]
    if isinstance(problems, list) and problems:
        lines += ["", "Problems", *(f"- {problem}" for problem in problems)]
    return lines


def _live_line(told: Mapping[str, object]) -> str:
    """The line that `dev` shows, of the same figures."""
    from retail_lakehouse.commands.display import pulse_line
    from retail_lakehouse.local.status import Pulse

    figures: dict[str, Any] = {field.name: told[field.name] for field in fields(Pulse)}
    return pulse_line(Pulse(**figures))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> list[tuple[str, Mapping[str, object]]]:
    return [(str(name), _mapping(each)) for name, each in _mapping(value).items()]
