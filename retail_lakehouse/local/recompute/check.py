"""Whether the views equal a recomputation from the raw rows, to the last digit.

Here: the comparison, and what differs. Not here: reading either side (`pinned.py`).
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

from retail_lakehouse.contracts.view_contract import for_each_event
from retail_lakehouse.local.recompute.digest import DIGESTED, digest_recomputed, digest_shown
from retail_lakehouse.local.recompute.pinned import (
    SnapshotGone,
    folded_snapshots,
    one_moment,
    raw_rows,
    shown_rows,
)
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.client import Session, WarehouseClient

if TYPE_CHECKING:
    import duckdb

RECOMPUTED = (
    "mv_inventory_realtime",
    "stock_now",
    "stock_by_category",
    "net_available_by_store",
    "sales_by_store_category",
    "sales_reporting_currency",
    "web_funnel",
    "pipeline_lag",
    "pipeline_age",
)
"""The plain views over materialized ones; together they show every column that is folded.

Not `quarantine`, which reads the tables themselves: what is in it is for `verify` to prove.
"""
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ViewParity:
    """One view against its recomputation. `rows` is what the warehouse showed.

    `missing` counts rows that the recomputation has and the view has not, `unexpected` the other
    way round; `example` is one of either, for a person.
    """

    view: str
    rows: int
    missing: int
    unexpected: int
    example: str
    seconds: float

    @property
    def equal(self) -> bool:
        """True when not one digit differs."""
        return not (self.missing or self.unexpected)


def check_views(settings: Settings, views: Iterable[str] = RECOMPUTED) -> list[ViewParity]:
    """Compares the views with the raw rows of the snapshots they have folded.

    Raises:
        SnapshotGone: snapshots expire faster than they can be read.
        WarehouseError: the warehouse does not answer.
    """
    with WarehouseClient.from_settings(settings).session("recompute") as session:
        return check_in(session, settings, tuple(views))


def check_in(
    session: Session, settings: Settings, views: tuple[str, ...] = RECOMPUTED
) -> list[ViewParity]:
    """As `check_views`, in a session that is open."""
    for attempt in range(1, _ATTEMPTS + 1):
        with one_moment(session):
            try:
                with raw_rows(settings, folded_snapshots(session)) as raw:
                    return [_compare(session, raw, view) for view in views]
            except SnapshotGone:
                if attempt == _ATTEMPTS:
                    raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _compare(session: Session, raw: "duckdb.DuckDBPyConnection", view: str) -> ViewParity:
    started = time.monotonic()
    text = resources.files(__package__).joinpath("sql", f"{view}.sql").read_text("utf-8")
    query = for_each_event(text)
    if view in DIGESTED:
        ((now, rows, shown),) = session.rows(digest_shown(view))
        recomputed = raw.execute(digest_recomputed(view, query), _binds(query, now)).fetchone()
        if recomputed == (rows, shown):
            return ViewParity(view, rows, 0, 0, "", time.monotonic() - started)
    now, found_rows = shown_rows(session, view)
    wanted: Counter[tuple[Any, ...]] = Counter(raw.execute(query, _binds(query, now)).fetchall())
    found: Counter[tuple[Any, ...]] = Counter(found_rows)
    missing, unexpected = wanted - found, found - wanted
    return ViewParity(
        view=view,
        rows=found.total(),
        missing=missing.total(),
        unexpected=unexpected.total(),
        example=_example(missing, unexpected),
        seconds=time.monotonic() - started,
    )


def _binds(query: str, now: datetime) -> dict[str, datetime]:
    return {"now": now} if "$now" in query else {}


def _example(missing: "Counter[tuple[Any, ...]]", unexpected: "Counter[tuple[Any, ...]]") -> str:
    parts = []
    if missing:
        parts.append(f"the raw rows give {next(iter(missing))}")
    if unexpected:
        parts.append(f"the view shows {next(iter(unexpected))}")
    return ", ".join(parts)
