"""Names in the asset graph: keys, groups, owner.

Here: how a thing of the contracts is called in Dagster. Not here: the things.
"""

import dagster as dg

from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.service_levels import DATA_PLATFORM
from retail_lakehouse.contracts.tables import DATABASE, TableContract
from retail_lakehouse.contracts.views import ViewContract

OWNER = DATA_PLATFORM

TOPICS_GROUP = "topics"
JOBS_GROUP = "streaming_jobs"
TABLES_GROUP = "event_tables"
QUARANTINE_GROUP = "quarantine"
DIMENSIONS_GROUP = "dimensions"
MATERIALIZED_VIEWS_GROUP = "materialized_views"
VIEWS_GROUP = "views"
MAINTENANCE_GROUP = "maintenance"

TABLE_GROUPS = {
    "events": TABLES_GROUP,
    "quarantine": QUARANTINE_GROUP,
    "dimension": DIMENSIONS_GROUP,
}


def topic_key(event: EventContract) -> dg.AssetKey:
    """The topic of an event."""
    return dg.AssetKey(["kafka", event.topic])


def job_key(event: EventContract) -> dg.AssetKey:
    """The streaming job of an event."""
    return dg.AssetKey(["streaming", f"{event.name}_streaming"])


def table_key(contract: TableContract) -> dg.AssetKey:
    """An Iceberg table."""
    return dg.AssetKey(list(contract.identifier))


def table_key_named(name: str) -> dg.AssetKey:
    """An Iceberg table by its name without the database."""
    return dg.AssetKey([DATABASE, name])


def maintenance_key(task: MaintenanceTask, contract: TableContract) -> dg.AssetKey:
    """What one maintenance task does to a table."""
    return dg.AssetKey([MAINTENANCE_GROUP, task.value, contract.name])


def view_key(view: ViewContract) -> dg.AssetKey:
    """A view of the warehouse."""
    return dg.AssetKey([view.schema, view.name])
