"""The checks of topics, streaming jobs and tables.

Here: their specs, and one evaluation of them all from one look. Not here: the verdicts
(`judges.py`), the look (`assets/stream.py`), when they are evaluated (`sensors/stream.py`).
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from retail_lakehouse.assets.keys import job_key, table_key, topic_key
from retail_lakehouse.assets.stream import StreamLook, look_at_stream
from retail_lakehouse.checks.judged import JudgedCheck
from retail_lakehouse.checks.judges import (
    judge_ingest_lag,
    judge_job,
    judge_quarantine_share,
    judge_topic,
)
from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.kafka import KafkaResource
from retail_lakehouse.resources.streaming_jobs import StreamingJobsResource
from retail_lakehouse.settings import Settings

TOPIC_AVAILABLE = "topic_available"
JOB_HEALTHY = "streaming_job_healthy"
INGEST_LAG = "ingest_lag"
QUARANTINE_SHARE = "quarantine_share"

DrainedAt = Mapping[str, Mapping[int, int]]
"""By event name and partition, epoch ms."""


def stream_check_specs() -> list[dg.AssetCheckSpec]:
    """The checks of every topic, job and table of the stream."""
    specs = []
    for event in EVENTS:
        specs += [
            dg.AssetCheckSpec(
                TOPIC_AVAILABLE,
                asset=topic_key(event),
                description="The topic answers and has the partitions of its contract.",
            ),
            dg.AssetCheckSpec(
                JOB_HEALTHY,
                asset=job_key(event),
                description="The job runs, and commits while records wait.",
            ),
            dg.AssetCheckSpec(
                INGEST_LAG,
                asset=table_key(event_table(event)),
                description=(
                    "Age of the oldest record that has not landed, against "
                    f"{SERVICE_LEVELS.ingest_lag_seconds} s. Data time: a restart, a compaction "
                    "or a late report makes it neither better nor worse."
                ),
            ),
            dg.AssetCheckSpec(
                QUARANTINE_SHARE,
                asset=table_key(quarantine_table(event)),
                description=(
                    "Quarantined by records read over the last hour, against "
                    f"{SERVICE_LEVELS.quarantine_share:.0%}."
                ),
            ),
        ]
    return specs


def judge_stream(
    stream: StreamLook, settings: Settings, drained_at_ms: DrainedAt | None = None
) -> list[JudgedCheck]:
    """Every check of the stream, judged by one look.

    `drained_at_ms`: by event name and partition, when nothing waited in it for the last time,
    where that is known.
    """
    topics = {topic.event: topic for topic in settings.topics}
    judged = []
    for event in EVENTS:
        name = event.name
        drained = (drained_at_ms or {}).get(name, {})
        verdicts = (
            (
                topic_key(event),
                TOPIC_AVAILABLE,
                judge_topic(stream.topics[name], topics[name], settings),
            ),
            (
                job_key(event),
                JOB_HEALTHY,
                judge_job(stream, name, settings, SERVICE_LEVELS, drained),
            ),
            (
                table_key(event_table(event)),
                INGEST_LAG,
                judge_ingest_lag(stream, event, SERVICE_LEVELS, drained),
            ),
            (
                table_key(quarantine_table(event)),
                QUARANTINE_SHARE,
                judge_quarantine_share(
                    stream.tables[name], SERVICE_LEVELS, stream.unreadable_quarantines.get(name)
                ),
            ),
        )
        judged += [
            JudgedCheck(dg.AssetCheckKey(asset_key, check), verdict)
            for asset_key, check, verdict in verdicts
        ]
    return judged


def stream_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """The checks with their buttons."""

    @dg.multi_asset_check(specs=stream_check_specs(), name="stream_checks", can_subset=True)
    def evaluate_stream(
        context: dg.AssetCheckExecutionContext,
        kafka: KafkaResource,
        iceberg: IcebergCatalogResource,
        streaming_jobs: StreamingJobsResource,
    ) -> Iterator[dg.AssetCheckResult]:
        stream = look_at_stream(kafka, iceberg, streaming_jobs)
        for judged in judge_stream(stream, settings):
            if judged.key in context.selected_asset_check_keys:
                yield judged.result()

    return evaluate_stream
