"""The Kafka topics, one for each event.

Here: names, partitions, replication and broker-side configuration. Not here: how to reach a
broker (`settings.py`) or to create a topic (`retail_lakehouse.kafka`).
"""

from dataclasses import dataclass

from retail_lakehouse.contracts.events import EVENTS

MAX_MESSAGE_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class TopicContract:
    """One topic as it stands on MSK; one machine runs it with replication factor 1."""

    name: str
    event: str
    partitions: int
    replication_factor: int = 3
    min_insync_replicas: int = 2
    retention_hours: int = 168

    def configs(self, replication_factor: int | None = None) -> dict[str, str]:
        """Topic configuration in Kafka's own names.

        `LogAppendTime` makes the record's timestamp the broker's: a record's fate must not hang
        on a producer's clock (https://kafka.apache.org/documentation/#topicconfigs).
        """
        replicas = replication_factor or self.replication_factor
        return {
            "cleanup.policy": "delete",
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            "message.timestamp.type": "LogAppendTime",
            "min.insync.replicas": str(min(self.min_insync_replicas, replicas)),
            "retention.ms": str(self.retention_hours * 3_600_000),
            "unclean.leader.election.enable": "false",
        }


TOPICS: tuple[TopicContract, ...] = tuple(
    TopicContract(event.topic, event.name, partitions=24) for event in EVENTS
)
