"""The Kafka topics: observable assets, and what one look at them reports.

Here: specs, the Observe button and what a look reports. Not here: the look (`topic_look.py`), the
verdict on what was seen (`checks/`). Nothing here consumes an event.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from retail_lakehouse.assets.describe import column_schema, seconds_between
from retail_lakehouse.assets.keys import OWNER, TOPICS_GROUP, topic_key
from retail_lakehouse.assets.stream import look_at_stream
from retail_lakehouse.assets.topic_look import TopicLook
from retail_lakehouse.contracts.events import EVENTS, EventContract, event_named
from retail_lakehouse.contracts.topics import TopicContract
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.kafka import KafkaResource
from retail_lakehouse.settings import Settings


def topic_metadata(seen: TopicLook, before: tuple[int, int] | None) -> dict[str, Any]:
    """What a look reports. `before` is an earlier (epoch ms, end total), for the rate."""
    metadata: dict[str, Any] = {
        "backlog_records": seen.backlog,
        "records_written": seen.end_total,
        "records_retained": seen.end_total - sum(seen.earliest.values()),
        "partitions": len(seen.end),
        "end_offsets": {str(partition): end for partition, end in sorted(seen.end.items())},
        "earliest_offsets": {str(p): offset for p, offset in sorted(seen.earliest.items())},
        "topic_id": seen.topic_id,
        "seen_at_ms": seen.seen_at_ms,
    }
    if before is not None and before[0] < seen.seen_at_ms and before[1] <= seen.end_total:
        seconds = seconds_between(before[0], seen.seen_at_ms)
        metadata["records_per_second"] = round((seen.end_total - before[1]) / seconds, 1)
    return metadata


def topic_data_version(seen: TopicLook) -> str:
    """Changes when, and only when, the topic was written to or made anew."""
    return f"{seen.topic_id}.{seen.end_total}"


def topic_spec(event: EventContract, topic: TopicContract, settings: Settings) -> dg.AssetSpec:
    """The topic's node in the graph."""
    replicas = settings.replication_factor(topic)
    return dg.AssetSpec(
        topic_key(event),
        description=(
            f"{event.doc} Produced as JSON, keyed by `{'|'.join(event.key_fields)}`; "
            f"the contract is version {event.version}."
        ),
        group_name=TOPICS_GROUP,
        owners=[OWNER],
        kinds={"kafka"},
        metadata={
            "dagster/column_schema": column_schema(event.fields),
            "dagster/uri": f"kafka://{settings.kafka_bootstrap}/{event.topic}",
            "partitions": settings.partitions(topic),
            "replication_factor": replicas,
            "retention_hours": topic.retention_hours,
            "configs": topic.configs(replicas),
        },
    )


def topic_assets(settings: Settings) -> dg.AssetsDefinition:
    """The topics, with an Observe button that does what the sensor does."""
    specs = [topic_spec(event_named(t.event), t, settings) for t in settings.topics]

    @dg.multi_observable_source_asset(  # type: ignore[untyped-decorator]
        specs=specs,
        name="observe_topics",
        can_subset=True,
    )
    def observe_topics(
        context: dg.AssetExecutionContext, kafka: KafkaResource, iceberg: IcebergCatalogResource
    ) -> Iterator[dg.ObserveResult]:
        stream = look_at_stream(kafka, iceberg)
        wanted = context.selected_asset_keys
        unseen = []
        for event in EVENTS:
            key = topic_key(event)
            if key not in wanted:
                continue
            seen = stream.topics[event.name]
            if isinstance(seen, str):
                unseen.append(seen)
                continue
            before = earlier_look(context.instance, key)
            yield dg.ObserveResult(
                asset_key=key,
                metadata=topic_metadata(seen, before),
                data_version=dg.DataVersion(topic_data_version(seen)),
            )
        if unseen:
            raise dg.Failure(description=" ".join(dict.fromkeys(unseen)))

    assets: dg.AssetsDefinition = observe_topics
    return assets


def topic_observation(seen: TopicLook, before: tuple[int, int] | None) -> dg.AssetObservation:
    """The event that the sensor reports, equal to what the Observe button leaves."""
    return dg.AssetObservation(
        asset_key=topic_key(seen.event),
        metadata=topic_metadata(seen, before),
        tags={"dagster/data_version": topic_data_version(seen)},
    )


def earlier_look(instance: dg.DagsterInstance, key: dg.AssetKey) -> tuple[int, int] | None:
    """(epoch ms, end total) of the newest observation that the instance has of a topic."""
    for record in instance.fetch_observations(key, limit=1).records:
        observation = record.asset_observation
        metadata: Mapping[str, Any] = observation.metadata if observation else {}
        if "seen_at_ms" in metadata and "records_written" in metadata:
            return int(metadata["seen_at_ms"].value), int(metadata["records_written"].value)
    return None
