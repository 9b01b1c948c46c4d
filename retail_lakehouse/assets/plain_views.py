"""Plain views: computed when they are queried, so there is nothing of them to refresh.

Here: which of them show something new after a refresh, when their rows are counted, and what is
reported of them. Not here: their specs and the refresh (`views.py`), the count itself
(`warehouse/refresh_rows.py`).
"""

from collections.abc import Collection, Mapping
from typing import Any

import dagster as dg

from retail_lakehouse.assets.describe import moment, seconds_between
from retail_lakehouse.assets.keys import view_key
from retail_lakehouse.contracts.views import VIEWS, ViewContract, materialized_under
from retail_lakehouse.warehouse.refresh_record import RowCount, ViewRecord, newest_shown_ms

COUNT_EVERY_REFRESHES = 20
"""To count a plain view is to compute all of it: with 238,000 pairs of store and SKU the ten take
the stand-in 1.0 s, a refresh of all views 0.3 s. One refresh in so many pays for it, wherever views
are refreshed: 5 minutes locally, 100 on AWS, where every second bills."""


def plain_views_over(refreshed: Collection[str]) -> list[ViewContract]:
    """The plain views that show something new once the materialized ones named are refreshed.

    A plain view over tables alone always shows the newest: it comes along with any refresh.
    """
    return [
        view
        for view in VIEWS
        if not view.is_materialized
        and (not (under := materialized_under(view)) or not under.isdisjoint(refreshed))
    ]


def views_to_count(
    refreshing: Collection[str],
    counts: Mapping[str, RowCount],
    refresh_seconds: int,
    since_ms: int,
    at_ms: int,
) -> list[ViewContract]:
    """The plain views to count in a session that refreshes the materialized ones named.

    One that was never counted, so that every view has its rows from the first refresh on. Of those
    that the refresh changes: one whose count is from before `since_ms` (a start) or is too old, and
    an empty one, as that costs little and a 0 would stay wrong for long after the first start.
    """
    every_ms = COUNT_EVERY_REFRESHES * refresh_seconds * 1000

    def is_due(count: RowCount) -> bool:
        # A clock that was set back leaves a count from the future: due as well.
        is_recent = 0 <= at_ms - count.tried_at_ms < every_ms
        return count.rows == 0 or count.tried_at_ms < since_ms or not is_recent

    changed = plain_views_over(refreshing)
    return [
        view
        for view in VIEWS
        if not view.is_materialized
        and ((count := counts.get(view.name)) is None or (view in changed and is_due(count)))
    ]


def new_row_counts(
    counted: Mapping[str, int | None], before: Mapping[str, RowCount], at_ms: int
) -> dict[str, RowCount]:
    """The records of a session's counts: one that failed keeps the rows that were counted last."""
    known = {name: before.get(name, RowCount(None, None, at_ms)) for name in counted}
    return {
        name: RowCount(known[name].rows, known[name].rows_at_ms, at_ms)
        if rows is None
        else RowCount(rows, at_ms, at_ms)
        for name, rows in counted.items()
    }


def plain_view_materialization(
    view: ViewContract, records: Mapping[str, ViewRecord], count: RowCount | None, at_ms: int
) -> dg.AssetMaterialization:
    """What a plain view shows by now."""
    newest_ms = newest_shown_ms(view, records)
    metadata: dict[str, Any] = {}
    if newest_ms is not None:
        metadata["newest_event"] = moment(newest_ms)
        metadata["age_seconds"] = seconds_between(newest_ms, at_ms)
    if count is not None and count.rows is not None and count.rows_at_ms is not None:
        metadata["dagster/row_count"] = count.rows
        metadata["rows_counted"] = moment(count.rows_at_ms)
    return dg.AssetMaterialization(
        asset_key=view_key(view),
        description="Computed when it is queried; shows what the views under it hold.",
        metadata=metadata,
    )
