"""The settings as the arguments of a streaming job, and of maintenance.

Here: what each argument is under each profile. Not here: the arguments themselves
(`streaming/arguments.py`, `maintenance/arguments.py`): a job parses them without the settings,
whose libraries Glue lacks.
"""

from collections.abc import Iterable

from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.tables import CATALOG_BUSY_SECONDS
from retail_lakehouse.maintenance.arguments import MaintenanceArguments
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.arguments import JobArguments

MAINTENANCE_JOB = "lakehouse_maintenance"
"""The Glue job whose script is `glue_scripts/maintenance.py`."""


def job_arguments(settings: Settings, event: str) -> JobArguments:
    """The arguments of the event's streaming job under `settings`."""
    local = settings.is_local
    return JobArguments(
        job_name=f"{event}_streaming",
        bootstrap_servers=settings.kafka_bootstrap,
        kafka_security="plaintext" if local else "iam",
        catalog_name=settings.catalog_name,
        catalog_uri=_catalog_uri(settings),
        warehouse=settings.warehouse_uri,
        checkpoint=f"{settings.checkpoints}/{event}",
        index_dir=str(settings.root / "index" / event) if local else f"/tmp/index/{event}",  # noqa: S108
        lock_dir=str(settings.topic_locks or ""),
        trigger_seconds=settings.trigger,
        max_offsets_per_trigger=settings.offsets_per_trigger,
        dedupe_horizon_hours=settings.dedupe_horizon_hours,
        snapshot_retention_minutes=settings.retention_minutes,
        accept_loss=settings.accept_loss,
    )


def maintenance_arguments(
    settings: Settings,
    task: MaintenanceTask,
    tables: Iterable[str] = (),
    *,
    reopened: bool = True,
    customer: str = "",
) -> MaintenanceArguments:
    """The arguments of one maintenance run under `settings`; no tables means all."""
    return MaintenanceArguments(
        job_name=MAINTENANCE_JOB,
        task=task.value,
        catalog_name=settings.catalog_name,
        catalog_uri=_catalog_uri(settings),
        warehouse=settings.warehouse_uri,
        snapshot_retention_minutes=settings.retention_minutes,
        tables=",".join(tables),
        reopened=str(reopened).lower(),
        customer=customer,
    )


def _catalog_uri(settings: Settings) -> str:
    if not settings.is_local:
        return ""
    return f"jdbc:sqlite:{settings.catalog_db}?busy_timeout={CATALOG_BUSY_SECONDS * 1000}"
