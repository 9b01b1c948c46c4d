"""`retail-lakehouse topics`: the topics with their offsets.

Belongs here: the listing. Doesn't belong here: asking Kafka (`kafka/admin.py`).
"""

from __future__ import annotations

import typer

from retail_lakehouse.commands.columns import columns
from retail_lakehouse.commands.options import Assignments, StateDir, require_kafka, running_settings


def topics(state_dir: StateDir = None, assignments: Assignments = None) -> None:
    """List the topics with their partitions and records."""
    from retail_lakehouse.local.facts import read_topics

    settings = running_settings(state_dir, assignments)
    require_kafka(settings)
    rows = [
        (each.name, len(each.end), records, records - sum(each.earliest.values()))
        for each in read_topics(settings)
        for records in (sum(each.end.values()),)
    ]
    for line in columns(("topic", "partitions", "records", "kept"), rows):
        typer.echo(line)
