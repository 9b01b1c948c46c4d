"""Make a cluster's topics be as wished.

Belongs here: creating, growing and altering topics. Doesn't belong here: which topics there
should be (`contracts/topics.py`), reading what is there (`admin.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from retail_lakehouse.kafka.admin import describe_topics
from retail_lakehouse.kafka.connection import (
    DEFAULT_TIMEOUT_SECONDS,
    ClientConfig,
    Deadline,
    KafkaUnreachableError,
    admin_client,
    partition_counts,
)

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

logger = logging.getLogger(__name__)

_PROPAGATION_POLL_SECONDS = 0.1


class TopicConflictError(RuntimeError):
    """A topic exists in a form that cannot be turned into the wished one without loss."""


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it should be; `configs` in Kafka's own names and units."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicChange:
    """What `ensure_topics` did to one topic."""

    name: str
    action: Literal["created", "changed", "unchanged"]
    detail: str = ""


def ensure_topics(
    config: ClientConfig,
    topics: Sequence[TopicSpec],
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> tuple[TopicChange, ...]:
    """Make topics be as wished, and wait until the cluster serves them.

    Missing ones are created; partitions are added where there are too few; differing configs are
    altered. All wishes are judged before the first change, so a refusal changes nothing.

    Raises:
        TopicConflictError: A topic has more partitions than wished: none can be taken away
            without losing its events.
        KafkaUnreachableError: The cluster did not answer in time.
        KafkaRefusedError: It refused.
    """
    deadline, client = Deadline(config, timeout_seconds), admin_client(config)
    existing = partition_counts(client, deadline)
    for topic in topics:
        has = existing.get(topic.name, 0)
        if has > topic.partitions:
            raise TopicConflictError(
                f"Topic {topic.name} has {has} partitions and {topic.partitions} are wished, but "
                f"Kafka cannot take partitions away. Wish for {has} or more, or delete the topic "
                "with all its events."
            )
    missing = [topic for topic in topics if topic.name not in existing]
    present = [topic for topic in topics if topic.name in existing]
    _create(client, missing, deadline)
    details: dict[str, list[str]] = {topic.name: [] for topic in present}
    _grow(client, present, existing, details, deadline)
    _alter(client, present, details, deadline)
    _await_leaders(client, topics, deadline)
    # The metadata names a leader a moment before that broker leads.
    describe_topics(config, [topic.name for topic in topics], deadline.left())
    return tuple(
        TopicChange(topic.name, "created")
        if topic.name not in details
        else TopicChange(topic.name, "changed", "; ".join(details[topic.name]))
        if details[topic.name]
        else TopicChange(topic.name, "unchanged")
        for topic in topics
    )


def _create(client: AdminClient, topics: Sequence[TopicSpec], deadline: Deadline) -> None:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

    if not topics:
        return
    wishes = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=topic.replication_factor,
            config=dict(topic.configs),
        )
        for topic in topics
    ]
    futures = client.create_topics(
        wishes, operation_timeout=deadline.left(), request_timeout=deadline.left()
    )
    for name, future in futures.items():
        try:
            future.result(timeout=deadline.left() + 1.0)
        except FutureTimeoutError as error:
            raise deadline.unreachable() from error
        except KafkaException as error:
            # Two starters at once wish for the same topics: the second finds them made.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise deadline.translated(error, f"topic {name}") from error
        logger.info("Topic %s is made.", name)


def _grow(
    client: AdminClient,
    topics: Sequence[TopicSpec],
    existing: Mapping[str, int],
    details: Mapping[str, list[str]],
    deadline: Deadline,
) -> None:
    from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

    wishes = [
        NewPartitions(topic.name, topic.partitions)
        for topic in topics
        if topic.partitions > existing[topic.name]
    ]
    if not wishes:
        return
    futures = client.create_partitions(
        wishes, operation_timeout=deadline.left(), request_timeout=deadline.left()
    )
    for name, future in futures.items():
        deadline.wait(future, f"more partitions for topic {name}")
    for wish in wishes:
        details[wish.topic].append(
            f"partitions from {existing[wish.topic]} to {wish.new_total_count}"
        )


def _alter(
    client: AdminClient,
    topics: Sequence[TopicSpec],
    details: Mapping[str, list[str]],
    deadline: Deadline,
) -> None:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    wished = {topic.name: topic.configs for topic in topics if topic.configs}
    if not wished:
        return
    answers = client.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in wished],
        request_timeout=deadline.left(),
    )
    changes: list[ConfigResource] = []
    for resource, answer in answers.items():
        name = str(resource.name)
        has = deadline.wait(answer, f"the configs of topic {name}")
        differing = {
            key: value
            for key, value in wished[name].items()
            if key not in has or has[key].value != value
        }
        if not differing:
            continue
        changes.append(
            ConfigResource(
                ResourceType.TOPIC,
                name,
                incremental_configs=[
                    ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                    for key, value in differing.items()
                ],
            )
        )
        for key, value in differing.items():
            before = has[key].value if key in has else None
            details[name].append(f"{key} from {before} to {value}")
    if not changes:
        return
    altered = client.incremental_alter_configs(changes, request_timeout=deadline.left())
    for resource, done in altered.items():
        deadline.wait(done, f"other configs for topic {resource.name}")


def _await_leaders(client: AdminClient, topics: Sequence[TopicSpec], deadline: Deadline) -> None:
    """Wait until every partition has a leader: before that, producing and reading fail."""
    from confluent_kafka import KafkaException

    while True:
        try:
            metadata = client.list_topics(timeout=deadline.left())
        except KafkaException as error:
            raise deadline.translated(error, "the list of topics") from error
        waiting = [
            topic.name
            for topic in topics
            if topic.name not in metadata.topics
            or sum(
                1 for each in metadata.topics[topic.name].partitions.values() if each.leader >= 0
            )
            < topic.partitions
        ]
        if not waiting:
            return
        if deadline.passed():
            raise KafkaUnreachableError(
                f"Kafka at {deadline.servers} has not yet brought up {', '.join(waiting)}. "
                "See the broker's log for why, then run the same again."
            )
        time.sleep(_PROPAGATION_POLL_SECONDS)
