"""What people last asked of the streaming jobs, kept in Dagster's instance.

Here: writing that down, from within Dagster and from the command line, and reading it. Not here:
asking (`streaming_jobs.py`), what is made of it (`sensors/job_watch.py`). Glue remembers a stop
only on a run that lived to be stopped: between two runs it has nothing to remember it by, and the
job would be started again by itself.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import dagster as dg

from retail_lakehouse.local.dagster_instance import dagster_home
from retail_lakehouse.resources.job_runs import Verb

STAYS_ASKED = "It is remembered all the same: once this run ends none follows, until `start`."
"""Of a stop that whoever runs the job has refused."""


class WishNotKeptError(RuntimeError):
    """What was asked of a job cannot be written down where the sensor reads it."""


def note_asked(instance: dg.DagsterInstance, event: str, verb: Verb, at_ms: int) -> None:
    """Keeps what was asked of a job at `at_ms` (epoch ms), in place of what was asked before."""
    instance.daemon_cursor_storage.set_cursor_values({_key(event): f"{verb} {at_ms}"})


def note_asked_outside(root: Path, event: str, verb: Verb, at_ms: int) -> None:
    """`note_asked` for whoever is not in Dagster, on Dagster's host.

    The instance is that of DAGSTER_HOME, or of the state folder `root` where that is not set.

    Raises:
        WishNotKeptError: there is none, or it cannot be written.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or dagster_home(root)).expanduser()
    # Dagster would make one in any folder, and no sensor would ever read it.
    if not (home / "dagster.yaml").is_file():
        raise WishNotKeptError(f"Dagster's instance is not in {home}: there is no dagster.yaml.")
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            note_asked(instance, event, verb, at_ms)
    except Exception as error:
        # Its database may be any, and each has errors of its own.
        raise WishNotKeptError(f"Dagster's instance in {home} cannot be used: {error}") from error


def stops_asked(instance: dg.DagsterInstance, events: Iterable[str]) -> dict[str, int]:
    """When a stop was asked (epoch ms), by event, where nothing else was asked since."""
    by_key = {_key(event): event for event in events}
    told = instance.daemon_cursor_storage.get_cursor_values(set(by_key))
    asked = {by_key[key]: value.partition(" ") for key, value in told.items()}
    return {event: int(at_ms) for event, (verb, _, at_ms) in asked.items() if verb == "stop"}


def _key(event: str) -> str:
    return f"retail_lakehouse/job_asked/{event}"
