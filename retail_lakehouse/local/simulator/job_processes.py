"""Which processes the streaming jobs are, so that a copy can be sent across a restart.

Here: a look at the state folder's records. Not here: what follows from it (`disturbance.py`).
"""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.local.processes import recorded

JobProcesses = Callable[[], Mapping[int, Hashable]]
"""What tells the process of each topic's job apart from the one before, by the topic's number;
topics without a known job are left out."""


def no_jobs() -> Mapping[int, Hashable]:
    """Where nobody records what the jobs are."""
    return {}


def jobs_of(root: Path) -> JobProcesses:
    """Looks into the records of a state folder, each time it is called."""
    events = [topic.event for topic in TOPICS]

    def look() -> Mapping[int, Hashable]:
        found = recorded(root, events)
        return {events.index(event): (r.pid, r.create_time) for event, r in found.items()}

    return look
