"""Reports of a quiet night: a table or view that nothing waits for is as fresh as can be.

Here: whether nothing waits, and the report that says so. Not here: reports of news (`tables.py`,
`views.py`), the freshness policies (beside the specs), the ticks (`sensors/`).

Dagster's freshness policy judges the age of the last materialization, and news is what is
materialized: without these reports a night without events would be red. A table or view for which
something waits gets none, so that one that is stuck turns red all the same.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from retail_lakehouse.assets.describe import moment, seconds_between
from retail_lakehouse.assets.keys import table_key, view_key
from retail_lakehouse.assets.topic_look import look
from retail_lakehouse.assets.views import BaseLook, view_data_version
from retail_lakehouse.contracts.events import event_named
from retail_lakehouse.contracts.mark import MarkError
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.contracts.views import ViewContract
from retail_lakehouse.warehouse.refresh_record import ViewRecord

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from retail_lakehouse.kafka.admin import TopicDescription


def report_is_due(
    reported_ms: int, interval_seconds: int, gathered_seconds: int, at_ms: int
) -> bool:
    """Whether the last report would be too old by the next tick.

    That is older than a record may take to land, and than news is gathered for (the setting
    `report_interval_seconds`): silence is not told more often than news.
    """
    age_seconds = (at_ms - reported_ms) / 1000
    return age_seconds + interval_seconds > max(SERVICE_LEVELS.ingest_lag_seconds, gathered_seconds)


def quiet_table(
    contract: TableContract,
    table: "Table",
    topics: "Mapping[str, TopicDescription | str]",
    at_ms: int,
) -> dg.AssetMaterialization | None:
    """The report of an event table that has every record of its topic; None where some wait.

    `topics` were described after the table was loaded, so that nothing is missed in between. None
    too where the topic or a mark cannot be read, and for a table that nothing ever landed in.
    """
    from retail_lakehouse.tables.marks import last_mark, newest_first

    event = event_named(contract.event or "")
    topic = topics[event.topic]
    try:
        newest = next((snapshot for snapshot in newest_first(table) if snapshot.is_news), None)
        mark = last_mark(table)
    except MarkError:
        # The checks of the stream say so; here it means that nothing is known.
        return None
    if newest is None or isinstance(topic, str) or look(event, topic, mark, at_ms).backlog:
        return None
    metadata: dict[str, Any] = {
        "rows_added": 0,
        "dagster/last_updated_timestamp": moment(newest.timestamp_ms),
    }
    current = table.current_snapshot()
    totals = current.summary.additional_properties if current and current.summary else {}
    if "total-records" in totals:
        metadata["dagster/row_count"] = int(totals["total-records"])
    return dg.AssetMaterialization(
        asset_key=table_key(contract),
        description="Nothing waits in the topic: every record of it has landed.",
        metadata=metadata,
        tags={"dagster/data_version": str(newest.snapshot_id)},
    )


def quiet_view(
    view: ViewContract,
    record: ViewRecord | None,
    bases: Mapping[str, BaseLook | str],
    at_ms: int,
) -> dg.AssetMaterialization | None:
    """The report of a view that shows everything that has landed; None where it does not."""
    if record is None:
        return None
    for name in view.source_tables:
        base = bases[name]
        if isinstance(base, str) or base.newest != record.base_snapshots.get(name):
            return None
    metadata: dict[str, Any] = {}
    if record.rows is not None:
        metadata["dagster/row_count"] = record.rows
    if record.newest_event_ms is not None:
        metadata["newest_event"] = moment(record.newest_event_ms)
        metadata["age_seconds"] = seconds_between(record.newest_event_ms, at_ms)
        metadata["dagster/last_updated_timestamp"] = moment(record.newest_event_ms)
    return dg.AssetMaterialization(
        asset_key=view_key(view),
        description="Nothing waits to be shown: the view has everything that has landed.",
        metadata=metadata,
        tags={"dagster/data_version": view_data_version(view, record)},
    )
