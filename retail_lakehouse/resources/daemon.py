"""Whose code this is: that of a running `retail-lakehouse dev`, or of a `dagster dev` beside it.

Here: the sentence for the latter, and for one that runs alone. Not here: who holds the state folder
(`local/state_folder.py`).
"""

from retail_lakehouse.settings import Settings


def other_daemon(settings: Settings) -> str | None:
    """Why this process should leave the sensors alone; None when they are its own to tick.

    They are a process's own when it belongs to the `dev` that holds the state folder, when nobody
    holds it, and on AWS.
    """
    if not settings.is_local:
        return None
    from retail_lakehouse.local.state_folder import holder_beside

    pid = holder_beside(settings.root)
    if pid is None:
        return None
    return (
        f"`make dev` runs here already, as process {pid}: this daemon leaves the sensors to it. "
        "When it has ended, reload this code location, and they are on here."
    )


def nobody_is_told(settings: Settings) -> str | None:
    """Why people are told of nothing by this process; None where it is its own to tell them.

    It is so where a `dev` holds the state folder, and on AWS: without a `dev` nothing of the
    platform is meant to run, and that it does not is no news.
    """
    if not settings.is_local:
        return None
    from retail_lakehouse.local.state_folder import holder_pid

    if holder_pid(settings.root) is not None:
        return None
    return (
        "No `make dev` runs here, so what is down is meant to be down: nobody is told of it from "
        "here. Where `make dev` runs, this sensor tells people."
    )
