"""Kafka (MSK, or the local broker) as a resource: topics with their ids and offsets.

Here: how Dagster reaches the cluster. Not here: the requests themselves (`retail_lakehouse.kafka`).
It only describes topics: nothing in Dagster consumes an event.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from retail_lakehouse.resources.platform import PlatformResource

if TYPE_CHECKING:
    from retail_lakehouse.kafka.admin import TopicDescription


class KafkaResource(PlatformResource):
    """The cluster that holds the platform's topics."""

    timeout_seconds: float = Field(
        5.0, gt=0, description="How long one look at all topics may take: ticks must be short."
    )
    client_config: dict[str, str] = Field(
        default_factory=dict,
        description="librdkafka settings besides the address, such as those of signing in.",
    )

    def describe(self) -> "dict[str, TopicDescription | str]":
        """Every topic of the contract by name; a sentence in place of one that cannot be read.

        The sentence says what is wrong and what to do, ready for a check to show.
        """
        from retail_lakehouse.kafka.admin import describe_topics
        from retail_lakehouse.kafka.connection import (
            KafkaRefusedError,
            KafkaUnreachableError,
            TopicMissingError,
        )

        settings = self.platform()
        config = {"bootstrap.servers": settings.kafka_bootstrap, **self.client_config}
        names = [topic.name for topic in settings.topics]
        try:
            described = describe_topics(config, names, self.timeout_seconds)
            return {topic.name: topic for topic in described}
        except TopicMissingError:
            # One missing topic must not hide the others.
            answers: dict[str, TopicDescription | str] = {}
            for name in names:
                try:
                    (answers[name],) = describe_topics(config, [name], self.timeout_seconds)
                except (KafkaRefusedError, KafkaUnreachableError) as error:
                    answers[name] = str(error)
            return answers
        except (KafkaRefusedError, KafkaUnreachableError) as error:
            return dict.fromkeys(names, str(error))
