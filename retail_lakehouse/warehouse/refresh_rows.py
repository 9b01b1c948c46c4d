"""Counting the rows of plain views in a session that is open for a refresh anyway.

Here: the counts of one session. Not here: which views are due for one (the control plane), and a
materialized view's rows, which its refresh tells (`refresh.py`).
"""

import logging
import time
from collections.abc import Callable, Iterable

from retail_lakehouse.contracts.view_contract import ViewContract
from retail_lakehouse.warehouse.client import Session, statement
from retail_lakehouse.warehouse.errors import WarehouseRefused, WarehouseUnreachable
from retail_lakehouse.warehouse.query import named

COUNT_TIMEOUT_SECONDS = 30
"""For all the counts of a session: they are for display, and must not hold up the next refresh."""

_log = logging.getLogger(__name__)


def count_rows(
    session: Session,
    views: Iterable[ViewContract],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, int | None]:
    """Rows of each view by its name; None where the warehouse did not count them.

    Raises nothing: what was refreshed before must not be lost for a count. The session keeps the
    short timeout, so counting is the last that is done with it.
    """
    counts: dict[str, int | None] = {view.name: None for view in views}
    timeout_seconds = min(COUNT_TIMEOUT_SECONDS, session.config.statement_timeout_seconds)
    deadline = clock() + timeout_seconds
    try:
        for name in counts:
            left_ms = round((deadline - clock()) * 1000)
            if left_ms <= 0:
                _log.warning("The time for counting was over before %s.", name)
                break
            session.setting("statement_timeout", str(left_ms))
            counts[name] = _count(session, name)
    except (WarehouseRefused, WarehouseUnreachable) as error:
        _log.warning("The plain views were not all counted: %s", error)
    return counts


def _count(session: Session, name: str) -> int | None:
    try:
        ((rows,),) = session.rows(named(statement("select_row_count"), name))
    except WarehouseRefused as error:
        _log.warning("The rows of %s were not counted: %s", name, error)
        return None
    return int(rows)
