"""The checks of topics, streaming jobs and tables.

Here: their specs, and one evaluation of them all from one look. Not here: the verdicts
(`judges.py`), the look (`assets/stream.py`), when they are evaluated (`sensors/stream.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from retail_lakehouse.assets.keys import job_key, table_key, topic_key
from retail_lakehouse.assets.stream import HOUR_MS, StreamLook, look_at_stream
from retail_lakehouse.assets.topic_look import TopicLook
from retail_lakehouse.checks.arrival_judges import (
    judge_events_arrive,
    judge_producer_clock,
    judge_volume,
)
from retail_lakehouse.checks.causes import Cause, diagnose_ingest, refresh_parts
from retail_lakehouse.checks.judged import JudgedCheck, level_metadata
from retail_lakehouse.checks.judges import (
    judge_ingest_lag,
    judge_job,
    judge_quarantine_share,
    judge_topic,
)
from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.opening_hours import calendar_of
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS, Measure, level_of
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.kafka import KafkaResource
from retail_lakehouse.resources.streaming_jobs import StreamingJobsResource
from retail_lakehouse.sensors.remembered import STREAM_SENSOR, not_remembered, remembered
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.evaluated import Evaluated, read_evaluated
from retail_lakehouse.tables.hourly_volume import Hours, read_hours
from retail_lakehouse.warehouse.refresh_record import ViewRecord, read_records

TOPIC_AVAILABLE = Measure.TOPIC_AVAILABLE.value
JOB_HEALTHY = Measure.STREAMING_JOB_HEALTHY.value
INGEST_LAG = Measure.INGEST_LAG.value
EVENTS_ARRIVE = Measure.EVENTS_ARRIVE.value
PRODUCER_CLOCK = Measure.PRODUCER_CLOCK.value
VOLUME = Measure.VOLUME.value
QUARANTINE_SHARE = Measure.QUARANTINE_SHARE.value

DrainedAt = Mapping[str, Mapping[int, int]]
"""By event name and partition, epoch ms."""


def stream_check_specs() -> list[dg.AssetCheckSpec]:
    """The checks of every topic, job and table of the stream."""
    specs = []
    for event in EVENTS:
        table, quarantine = event_table(event), quarantine_table(event)
        specs += [
            dg.AssetCheckSpec(
                TOPIC_AVAILABLE,
                asset=topic_key(event),
                metadata=level_metadata(event.topic, Measure.TOPIC_AVAILABLE),
                description="The topic answers and has the partitions of its contract.",
            ),
            dg.AssetCheckSpec(
                JOB_HEALTHY,
                asset=job_key(event),
                metadata=level_metadata(event.name, Measure.STREAMING_JOB_HEALTHY),
                description="The job runs, and commits while records wait.",
            ),
            dg.AssetCheckSpec(
                INGEST_LAG,
                asset=table_key(table),
                metadata=level_metadata(table.name, Measure.INGEST_LAG),
                description=(
                    "Age of the oldest record that has not landed, against "
                    f"{level_of(table.name, Measure.INGEST_LAG).number:.0f} s. Data time: a "
                    "restart, a compaction or a late report makes it neither better nor worse. "
                    "Its sentence names the guilty stage."
                ),
            ),
            dg.AssetCheckSpec(
                EVENTS_ARRIVE,
                asset=table_key(table),
                metadata=level_metadata(table.name, Measure.EVENTS_ARRIVE),
                description=(
                    "Events come while stores are open: at least "
                    f"{level_of(table.name, Measure.EVENTS_ARRIVE).number:g} a minute with all of "
                    "them, and by the open share otherwise. A quiet night is no alarm."
                ),
            ),
            dg.AssetCheckSpec(
                PRODUCER_CLOCK,
                asset=table_key(table),
                metadata=level_metadata(table.name, Measure.PRODUCER_CLOCK),
                description=(
                    "No clock on the path is ahead of the next by more than "
                    f"{level_of(table.name, Measure.PRODUCER_CLOCK).number:.0f} s."
                ),
            ),
            dg.AssetCheckSpec(
                VOLUME,
                asset=table_key(table),
                metadata=level_metadata(table.name, Measure.VOLUME),
                description=(
                    "The last whole hour has about as many records as the same hour of former "
                    "weeks, by the stores that were open: not under "
                    f"{level_of(table.name, Measure.VOLUME).number:.0%} of it, nor over its "
                    "inverse."
                ),
            ),
            dg.AssetCheckSpec(
                QUARANTINE_SHARE,
                asset=table_key(quarantine),
                metadata=level_metadata(quarantine.name, Measure.QUARANTINE_SHARE),
                description=(
                    "Quarantined by records read over the last hour, against "
                    f"{level_of(quarantine.name, Measure.QUARANTINE_SHARE).number:.0%}. Names "
                    "the reasons that most of them have."
                ),
            ),
        ]
    return specs


@dataclass(frozen=True, slots=True)
class CountedBefore:
    """What a look does not show: looks at new data by table, hours by event, refreshes by view."""

    evaluated: Mapping[str, Evaluated] = field(default_factory=dict)
    hours: Mapping[str, Hours] = field(default_factory=dict)
    refreshes: Mapping[str, ViewRecord] = field(default_factory=dict)

    @staticmethod
    def of(root: Path) -> "CountedBefore":
        """As the sensors have written it down in a state folder."""
        return CountedBefore(read_evaluated(root), read_hours(root), read_records(root))


def drained_at(stream: StreamLook, facts: dict[str, Any]) -> DrainedAt:
    """When nothing waited in each partition for the last time, this look included.

    Before the first mark ever it is when it was first looked at. `facts` is what the sensor knows
    from its ticks before; what this look adds is noted there.
    """
    drained: dict[str, dict[str, int]] = facts.setdefault("drained_partitions", {})
    for event in EVENTS:
        topic = stream.topics[event.name]
        if not isinstance(topic, TopicLook):
            continue
        known = drained.setdefault(event.name, {})
        for partition, records in topic.waiting.items():
            is_new = topic.landed_until is None and str(partition) not in known
            if is_new or not records:
                known[str(partition)] = stream.at_ms
    return {
        name: {int(partition): ms for partition, ms in known.items()}
        for name, known in drained.items()
    }


def judge_stream(
    stream: StreamLook,
    settings: Settings,
    drained_at_ms: DrainedAt | None = None,
    before: CountedBefore | None = None,
) -> list[JudgedCheck]:
    """Every check of the stream, judged by one look, and by what was counted `before` it.

    `drained_at_ms`: by event name and partition, when nothing waited in it for the last time,
    where that is known.
    """
    topics = {topic.event: topic for topic in settings.topics}
    before = before or CountedBefore()
    judged = []
    for event in EVENTS:
        name, table, quarantine = event.name, event_table(event), quarantine_table(event)
        drained, calendar = (drained_at_ms or {}).get(name, {}), calendar_of(name)
        why = diagnose_ingest(stream, event, settings, SERVICE_LEVELS, drained, calendar).beside(
            refresh_parts(table.name, before.refreshes, stream.at_ms)
        )
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
                table_key(table),
                INGEST_LAG,
                why.named_in(
                    judge_ingest_lag(
                        stream, event, level_of(table.name, Measure.INGEST_LAG), drained
                    )
                ),
            ),
            (
                table_key(table),
                EVENTS_ARRIVE,
                why.among(Cause.BROKER_DOWN, Cause.STOPPED_PRODUCER).named_in(
                    judge_events_arrive(
                        stream,
                        event,
                        calendar,
                        level_of(table.name, Measure.EVENTS_ARRIVE),
                        SERVICE_LEVELS,
                    )
                ),
            ),
            (
                table_key(table),
                PRODUCER_CLOCK,
                why.among(Cause.CLOCK_AHEAD).named_in(
                    judge_producer_clock(
                        stream.tables[name],
                        level_of(table.name, Measure.PRODUCER_CLOCK),
                        stream.at_ms,
                    )
                ),
            ),
            (
                table_key(table),
                VOLUME,
                judge_volume(
                    stream.tables[name],
                    event,
                    before.hours.get(name),
                    calendar,
                    level_of(table.name, Measure.VOLUME),
                ),
            ),
            (
                table_key(quarantine),
                QUARANTINE_SHARE,
                judge_quarantine_share(
                    stream.tables[name],
                    level_of(quarantine.name, Measure.QUARANTINE_SHARE),
                    stream.unreadable_quarantines.get(name),
                    counted.top_reasons(stream.at_ms - HOUR_MS)
                    if (counted := before.evaluated.get(quarantine.name))
                    else None,
                ),
            ),
        )
        judged += [
            JudgedCheck(dg.AssetCheckKey(asset_key, check), verdict)
            for asset_key, check, verdict in verdicts
        ]
    return judged


def stream_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """The checks with their buttons, which know what the sensor knows."""

    @dg.multi_asset_check(specs=stream_check_specs(), name="stream_checks", can_subset=True)
    def evaluate_stream(
        context: dg.AssetCheckExecutionContext,
        kafka: KafkaResource,
        iceberg: IcebergCatalogResource,
        streaming_jobs: StreamingJobsResource,
    ) -> Iterator[dg.AssetCheckResult]:
        stream = look_at_stream(kafka, iceberg, streaming_jobs)
        memory = remembered(context.instance, STREAM_SENSOR)
        drained = drained_at(stream, memory.facts if memory else {})
        for judged in judge_stream(stream, settings, drained, CountedBefore.of(settings.root)):
            if judged.key not in context.selected_asset_check_keys:
                continue
            if memory is None and judged.key.name in (JOB_HEALTHY, INGEST_LAG):
                yield judged.not_knowing(not_remembered(STREAM_SENSOR)).result()
            else:
                yield judged.result()

    return evaluate_stream
