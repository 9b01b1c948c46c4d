"""`retail-lakehouse settings`: every setting with its value and what it is for.

Belongs here: the listing. Doesn't belong here: the settings (`settings.py`).
"""

from __future__ import annotations

import textwrap

import typer

from retail_lakehouse.commands.options import Assignments, StateDir, running_settings
from retail_lakehouse.settings import Settings

_WIDTH = 80


def settings(state_dir: StateDir = None, assignments: Assignments = None) -> None:
    """List every setting: its value, whether that is the default, what it is for.

    Those of the platform that runs on the state folder, if one does.
    """
    for line in page(running_settings(state_dir, assignments)):
        typer.echo(line)


def page(told: Settings) -> list[str]:
    """Two lines or more a setting; a value that is not the default has a star before it."""
    lines = []
    for name, field in Settings.model_fields.items():
        value = getattr(told, name)
        star = "*" if value != field.default else " "
        lines.append(f"{star} {name} = {'' if value is None else value}".rstrip())
        lines += textwrap.wrap(
            " ".join((field.description or "").split()),
            _WIDTH,
            initial_indent="      ",
            subsequent_indent="      ",
        )
    return lines
