"""`retail-lakehouse topics`: the topics with their offsets.

Belongs here: the listing. Doesn't belong here: asking Kafka (`kafka/admin.py`).
"""

from __future__ import annotations

import typer

from retail_lakehouse.commands.options import Assignments, StateDir, running_settings


def topics(state_dir: StateDir = None, assignments: Assignments = None) -> None:
    """List the topics with their partitions and records."""
    from retail_lakehouse.local.facts import read_topics

    settings = running_settings(state_dir, assignments)
    typer.echo(f"{'topic':<32} {'partitions':>10} {'records':>14} {'kept':>14}")
    for topic in read_topics(settings):
        records = sum(topic.end.values())
        kept = records - sum(topic.earliest.values())
        typer.echo(f"{topic.name:<32} {len(topic.end):>10} {records:>14,} {kept:>14,}")
