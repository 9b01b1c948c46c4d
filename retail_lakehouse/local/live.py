"""Whether the stack is live: a figure in the warehouse comes from an event of this start.

Belongs here: that question, and naming what is in the way. Doesn't belong here: showing it.
"""

from __future__ import annotations

from retail_lakehouse.contracts.tables import EVENT_TABLES
from retail_lakehouse.contracts.views import STOCK_NOW
from retail_lakehouse.local.facts import read_views
from retail_lakehouse.settings import Settings


class LiveProbe:
    """Asks until the answer is yes, once; then remembers it."""

    def __init__(self, settings: Settings, started_ms: float) -> None:
        """Describe the probe.

        Args:
            settings: Those of the stack.
            started_ms: When the start began, in epoch milliseconds.
        """
        self._settings = settings
        self._started_ms = started_ms

    def is_live(self) -> bool:
        """Whether a row of a view was made by an event that was produced after the start.

        The warehouse is asked only once a refresh has reported such an event: every query bills
        on Redshift, so nothing connects just to look.

        Raises:
            WarehouseError: A refresh has reported one, but the warehouse does not answer.
        """
        sources = [
            view.newest_ms
            for view in read_views(self._settings.root)
            if view.name == STOCK_NOW.qualified_name
        ]
        if not any(newest is not None and newest > self._started_ms for newest in sources):
            return False
        from retail_lakehouse.warehouse.client import WarehouseClient
        from retail_lakehouse.warehouse.query import view_freshness

        with WarehouseClient.from_settings(self._settings).session("dev:live") as session:
            newest = view_freshness(session, STOCK_NOW).newest_event_ms
        return newest is not None and newest > self._started_ms


def what_is_missing(status: dict[str, object], started_ms: float, now_ms: float) -> str:
    """Say in one sentence how far the events of this start came.

    Args:
        status: What `collect_status` gave.
        started_ms: When the start began, in epoch milliseconds.
        now_ms: The time now, in epoch milliseconds.
    """
    problems = status.get("problems")
    if isinstance(problems, list) and problems:
        return str(problems[0])
    since_seconds = (now_ms - started_ms) / 1000
    tables, views = status.get("tables"), status.get("views")
    for contract in EVENT_TABLES:
        table = tables.get(contract.qualified_name) if isinstance(tables, dict) else None
        age = table.get("age_seconds") if isinstance(table, dict) else None
        if age is None or age > since_seconds:
            return (
                f"No event of this start has landed in {contract.qualified_name} yet; see "
                f"logs/{contract.event}.log and logs/simulator.log in {status.get('state_dir')}."
            )
    view = views.get(STOCK_NOW.qualified_name) if isinstance(views, dict) else None
    refreshed = view.get("refreshed_age_seconds") if isinstance(view, dict) else None
    if refreshed is None or refreshed > since_seconds:
        return (
            f"The events are in the tables, but {STOCK_NOW.qualified_name} has not been refreshed "
            f"yet; see logs/dagster-daemon.log in {status.get('state_dir')}."
        )
    return f"{STOCK_NOW.qualified_name} has been refreshed, but shows no event of this start yet."
