"""Read a cluster's state: its id, its topics with their ids, their offsets.

Belongs here: reads, on the local broker and on MSK alike. Doesn't belong here: changing anything
(`topics.py`), how to sign in (the caller's client configuration). Every call has a deadline.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retail_lakehouse.kafka.connection import (
    DEFAULT_TIMEOUT_SECONDS,
    ClientConfig,
    Deadline,
    KafkaRefusedError,
    LeaderMovingError,
    admin_client,
    partition_counts,
)

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

_RETRY_SECONDS = 0.1


@dataclass(frozen=True)
class PartitionOffsets:
    """One partition's readable range: `earliest` is the first offset kept, `end` the next one."""

    partition: int
    earliest: int
    end: int


@dataclass(frozen=True)
class TopicDescription:
    """A topic as it is.

    Attributes:
        name: Its name.
        topic_id: Its id as Kafka prints it (URL-safe base64, 22 characters). A topic that was
            deleted and made anew has another one.
        partitions: One entry a partition, in order.
    """

    name: str
    topic_id: str
    partitions: tuple[PartitionOffsets, ...]

    @property
    def end_offsets(self) -> dict[int, int]:
        """The next offset of every partition."""
        return {each.partition: each.end for each in self.partitions}

    @property
    def earliest_offsets(self) -> dict[int, int]:
        """The first offset still kept of every partition."""
        return {each.partition: each.earliest for each in self.partitions}


def cluster_id(config: ClientConfig, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> str:
    """Give the cluster's id.

    Raises:
        KafkaUnreachableError: It did not answer in time.
        KafkaRefusedError: It has no id or refused.
    """
    # The client must outlive the wait: its answers end with it.
    deadline, client = Deadline(config, timeout_seconds), admin_client(config)
    described = deadline.wait(
        client.describe_cluster(request_timeout=deadline.left()), "the cluster"
    )
    if not described.cluster_id:
        raise KafkaRefusedError(
            f"The cluster at {deadline.servers} tells no id. Use Apache Kafka 3 or newer, or MSK."
        )
    return str(described.cluster_id)


def topic_names(
    config: ClientConfig, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> frozenset[str]:
    """Give the names of all topics, Kafka's own included.

    Raises:
        KafkaUnreachableError: The cluster did not answer in time.
    """
    return frozenset(partition_counts(admin_client(config), Deadline(config, timeout_seconds)))


def describe_topics(
    config: ClientConfig,
    names: Sequence[str] | None = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> tuple[TopicDescription, ...]:
    """Describe topics with their ids and offsets.

    Args:
        config: How to reach the cluster.
        names: Which topics, in the order of the answer; None for all but Kafka's own.
        timeout_seconds: How long all of it may take.

    Raises:
        TopicMissingError: One of `names` does not exist.
        KafkaUnreachableError: The cluster did not answer in time.
        KafkaRefusedError: It refused.
    """
    deadline, client = Deadline(config, timeout_seconds), admin_client(config)
    while True:
        try:
            if names is None:
                every = partition_counts(client, deadline)
                asked = sorted(name for name in every if not name.startswith("__"))
            else:
                asked = list(names)
            return _describe(client, asked, deadline)
        except LeaderMovingError:
            # So it is for a moment after a topic is made, and when a broker goes.
            if deadline.passed():
                raise
            time.sleep(_RETRY_SECONDS)


def _describe(
    client: AdminClient, names: Sequence[str], deadline: Deadline
) -> tuple[TopicDescription, ...]:
    from confluent_kafka import TopicCollection, TopicPartition
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

    if not names:
        return ()
    asked = client.describe_topics(TopicCollection(list(names)), request_timeout=deadline.left())
    described = {name: deadline.wait(future, f"topic {name}") for name, future in asked.items()}
    every = [(name, info.id) for name, topic in described.items() for info in topic.partitions]

    def offsets(spec: OffsetSpec) -> dict[tuple[str, int], int]:
        futures = client.list_offsets(
            {TopicPartition(name, partition): spec for name, partition in every},
            request_timeout=deadline.left(),
        )
        return {
            (key.topic, key.partition): deadline.wait(future, f"topic {key.topic}").offset
            for key, future in futures.items()
        }

    earliest = offsets(OffsetSpec.earliest())  # type: ignore[no-untyped-call]
    end = offsets(OffsetSpec.latest())  # type: ignore[no-untyped-call]
    return tuple(
        TopicDescription(
            name,
            _as_kafka_prints(described[name].topic_id),
            tuple(
                PartitionOffsets(partition, earliest[name, partition], end[name, partition])
                for partition in sorted(info.id for info in described[name].partitions)
            ),
        )
        for name in names
    )


def _as_kafka_prints(topic_id: object) -> str:
    """Kafka's tools and its Java client write ids in the URL-safe alphabet, librdkafka doesn't."""
    return str(topic_id).translate(str.maketrans("+/", "-_"))
