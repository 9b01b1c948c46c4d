"""Kafka (MSK, or the local broker) as a resource: topics with their ids and offsets.

Here: how Dagster reaches the cluster. Not here: the requests themselves (`retail_lakehouse.kafka`).
It only describes topics: nothing in Dagster consumes an event.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from retail_lakehouse.resources.platform import PlatformResource

if TYPE_CHECKING:
    from retail_lakehouse.kafka.admin import TopicDescription
    from retail_lakehouse.kafka.arrival import Place
    from retail_lakehouse.kafka.connection import ClientConfig
    from retail_lakehouse.settings import Settings

logger = logging.getLogger(__name__)


class KafkaResource(PlatformResource):
    """The cluster that holds the platform's topics."""

    timeout_seconds: float = Field(
        5.0, gt=0, description="How long one look at all topics may take: ticks must be short."
    )
    client_config: dict[str, str] = Field(
        default_factory=dict,
        description="librdkafka settings besides the address; no secrets: the UI shows them. "
        "Signing in to MSK is not among them: the role of the process does that.",
    )

    def describe(self) -> "dict[str, TopicDescription | str]":
        """Every topic of the contract by name; a sentence in place of one that cannot be read.

        The sentence says what is wrong and what to do, ready for a check to show.
        """
        from retail_lakehouse.kafka.admin import describe_topics
        from retail_lakehouse.kafka.connection import (
            KafkaRefusedError,
            KafkaUnreachableError,
            LeaderMovingError,
        )

        settings = self.platform()
        names = [topic.name for topic in settings.topics]
        try:
            config = self._client_config(settings)
        except KafkaRefusedError as error:
            return dict.fromkeys(names, str(error))
        try:
            described = describe_topics(config, names, self.timeout_seconds)
            return {topic.name: topic for topic in described}
        except (KafkaRefusedError, LeaderMovingError):
            # One topic that is missing, refused or without a leader must not hide the others.
            answers: dict[str, TopicDescription | str] = {}
            for name in names:
                try:
                    (answers[name],) = describe_topics(config, [name], self.timeout_seconds)
                except (KafkaRefusedError, KafkaUnreachableError) as error:
                    answers[name] = str(error)
            return answers
        except KafkaUnreachableError as error:
            return dict.fromkeys(names, str(error))

    def arrived(self, offsets: "Mapping[Place, int]", at_ms: int) -> "dict[Place, int]":
        """Broker time (epoch ms) of the record at each offset, by topic and partition.

        Empty where it cannot be asked: whoever looked at the topics a moment ago says why, or the
        next look will.
        """
        from retail_lakehouse.kafka.arrival import arrived_ms
        from retail_lakehouse.kafka.connection import KafkaRefusedError, KafkaUnreachableError

        try:
            config = self._client_config(self.platform())
            return arrived_ms(config, offsets, at_ms, self.timeout_seconds)
        except (KafkaRefusedError, KafkaUnreachableError) as error:
            logger.warning("When the oldest waiting records came cannot be asked: %s", error)
            return {}

    def _client_config(self, settings: "Settings") -> "ClientConfig":
        from retail_lakehouse.kafka.msk_iam import iam_client_config

        # Made anew for each look, and never part of the resource: Dagster shows what that holds.
        signing_in = {} if settings.is_local else iam_client_config(settings.aws_region)
        return {
            "bootstrap.servers": settings.kafka_bootstrap,
            **signing_in,
            **self.client_config,
        }
