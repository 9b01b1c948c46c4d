"""What people last asked of the streaming jobs in Dagster, kept in its instance.

Here: writing that down and reading it. Not here: asking (`streaming_jobs.py`), what is made of it
(`sensors/job_watch.py`). Glue remembers a stop only on a run that lived to be stopped: between two
runs it has nothing to remember it by, and the job would be started again by itself.
"""

from collections.abc import Iterable

import dagster as dg

from retail_lakehouse.resources.job_runs import Verb


def note_asked(instance: dg.DagsterInstance, event: str, verb: Verb, at_ms: int) -> None:
    """Keeps what was asked of a job at `at_ms` (epoch ms), in place of what was asked before."""
    instance.daemon_cursor_storage.set_cursor_values({_key(event): f"{verb} {at_ms}"})


def stops_asked(instance: dg.DagsterInstance, events: Iterable[str]) -> dict[str, int]:
    """When a stop was asked (epoch ms), by event, where nothing else was asked since."""
    by_key = {_key(event): event for event in events}
    told = instance.daemon_cursor_storage.get_cursor_values(set(by_key))
    asked = {by_key[key]: value.partition(" ") for key, value in told.items()}
    return {event: int(at_ms) for event, (verb, _, at_ms) in asked.items() if verb == "stop"}


def _key(event: str) -> str:
    return f"retail_lakehouse/job_asked/{event}"
