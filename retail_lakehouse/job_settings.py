"""The settings as the arguments of a streaming job.

Here: what each argument is under each profile. Not here: the arguments themselves
(`streaming/arguments.py`): a job parses them without the settings, whose libraries Glue lacks.
"""

from retail_lakehouse.contracts.tables import CATALOG_BUSY_SECONDS
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.arguments import JobArguments


def job_arguments(settings: Settings, event: str) -> JobArguments:
    """The arguments of the event's streaming job under `settings`."""
    local = settings.is_local
    return JobArguments(
        job_name=f"{event}_streaming",
        bootstrap_servers=settings.kafka_bootstrap,
        kafka_security="plaintext" if local else "iam",
        catalog_name=settings.catalog_name,
        catalog_uri=(
            f"jdbc:sqlite:{settings.catalog_db}?busy_timeout={CATALOG_BUSY_SECONDS * 1000}"
            if local
            else ""
        ),
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
