"""`retail-lakehouse doctor`: what may keep the platform from running, and the fix.

Belongs here: a line a finding. Doesn't belong here: the looks (`local/doctor.py`).
"""

from __future__ import annotations

import textwrap

import typer

from retail_lakehouse.commands.options import Assignments, Exit, StateDir, running_settings


def doctor(state_dir: StateDir = None, assignments: Assignments = None) -> None:
    """Check ports, Java, disk, memory, versions and caches, and say the fix.

    Exits 1 if there is a problem.
    """
    from retail_lakehouse.local.doctor import examine

    findings = examine(running_settings(state_dir, assignments))
    for finding in findings:
        word = "ok     " if finding.ok else "problem"
        typer.echo(f"{word}  {finding.subject:<13} {finding.seen}")
        if not finding.ok:
            for line in textwrap.wrap(finding.fix, width=70):
                typer.echo(f"         {line}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(Exit.FAILED)
