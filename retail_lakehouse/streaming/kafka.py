"""Kafka as the job sees it: connection options, ids and offsets.

Here: the source's options and what the admin client answers, through the JVM's own Kafka client
(the one that Spark reads with). Not here: what the answers mean (`startup.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from retail_lakehouse.streaming.arguments import JobArguments

EARLIEST = -2
_TIMEOUT_MS = 20_000

# https://docs.aws.amazon.com/msk/latest/developerguide/configure-clients-for-iam-access-control.html
_IAM: dict[str, str] = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "AWS_MSK_IAM",
    "sasl.jaas.config": "software.amazon.msk.auth.iam.IAMLoginModule required;",
    "sasl.client.callback.handler.class": ("software.amazon.msk.auth.iam.IAMClientCallbackHandler"),
    "reconnect.backoff.ms": "1000",
}


class KafkaUnavailableError(RuntimeError):
    """Kafka does not answer, or does not know the topic."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the broker knows it. Offsets by partition; `end` is the next to be written."""

    cluster_id: str
    topic_id: str
    earliest: dict[int, int]
    end: dict[int, int]
    timestamp_type: str


def client_options(arguments: JobArguments) -> dict[str, str]:
    """Options of every Kafka client of the job."""
    options = {"bootstrap.servers": arguments.bootstrap_servers}
    return options | _IAM if arguments.kafka_security == "iam" else options


def read_topic(
    spark: SparkSession, arguments: JobArguments, topic: str, starting_offsets: Mapping[int, int]
) -> DataFrame:
    """The topic as a streaming DataFrame; every partition's start is named."""
    reader = spark.readStream.format("kafka")
    for key, value in client_options(arguments).items():
        reader = reader.option(f"kafka.{key}", value)
    starts = {str(partition): offset for partition, offset in sorted(starting_offsets.items())}
    return (
        reader.option("subscribe", topic)
        .option("startingOffsets", json.dumps({topic: starts}))
        .option("maxOffsetsPerTrigger", str(arguments.max_offsets_per_trigger))
        .option("failOnDataLoss", "true")
        .option("groupIdPrefix", f"spark-kafka-source-{arguments.job_name}")
        .load()
    )


def topic_facts(spark: SparkSession, arguments: JobArguments, topic: str) -> TopicFacts:
    """What the broker says of the topic now.

    Raises:
        KafkaUnavailableError: one of its five requests had no answer within 20 seconds, or there is
            no such topic.
    """
    from py4j.protocol import Py4JJavaError

    jvm: Any = spark._jvm
    admin = None
    try:
        # Within: an address that no name server knows fails here already.
        admin = _admin(jvm, arguments)
        return _facts(jvm, admin, topic)
    except Py4JJavaError as error:
        cause = error.java_exception.getCause() or error.java_exception
        raise KafkaUnavailableError(
            f"Kafka at {arguments.bootstrap_servers} did not answer for the topic {topic} "
            f"({cause.toString()}). See that the broker runs and that the topic has been made, "
            "then start the job again."
        ) from error
    finally:
        if admin is not None:
            admin.close()


class TopicIdWatch:
    """Asks for a topic's id again and again over one connection, which ends with the job's JVM."""

    def __init__(self, spark: SparkSession, arguments: JobArguments, topic: str) -> None:
        self._jvm: Any = spark._jvm
        self._topic = topic
        self._admin = _admin(self._jvm, arguments)

    def current_id(self) -> str:
        """The topic's id now.

        Raises:
            KafkaUnavailableError: no answer, or the topic is gone.
        """
        from py4j.protocol import Py4JJavaError

        try:
            return str(_described(self._jvm, self._admin, self._topic).topicId().toString())
        except Py4JJavaError as error:
            cause = error.java_exception.getCause() or error.java_exception
            raise KafkaUnavailableError(
                f"Kafka did not answer for the topic {self._topic} ({cause.toString()})."
            ) from error


def _admin(jvm: Any, arguments: JobArguments) -> Any:
    properties = jvm.java.util.Properties()
    for key, value in client_options(arguments).items():
        properties.put(key, value)
    properties.put("default.api.timeout.ms", str(_TIMEOUT_MS))
    properties.put("request.timeout.ms", str(_TIMEOUT_MS // 2))
    return jvm.org.apache.kafka.clients.admin.AdminClient.create(properties)


def _described(jvm: Any, admin: Any, topic: str) -> Any:
    names = jvm.java.util.ArrayList()
    names.add(topic)
    return admin.describeTopics(names).allTopicNames().get().get(topic)


def _facts(jvm: Any, admin: Any, topic: str) -> TopicFacts:
    description = _described(jvm, admin, topic)
    partitions = [int(info.partition()) for info in description.partitions()]
    config_resource = jvm.org.apache.kafka.common.config.ConfigResource
    resource = config_resource(
        getattr(jvm, "org.apache.kafka.common.config.ConfigResource$Type").TOPIC, topic
    )
    resources = jvm.java.util.ArrayList()
    resources.add(resource)
    config = admin.describeConfigs(resources).all().get().get(resource)
    return TopicFacts(
        cluster_id=str(admin.describeCluster().clusterId().get()),
        topic_id=str(description.topicId().toString()),
        earliest=_offsets(jvm, admin, topic, partitions, "earliest"),
        end=_offsets(jvm, admin, topic, partitions, "latest"),
        timestamp_type=str(config.get("message.timestamp.type").value()),
    )


def _offsets(jvm: Any, admin: Any, topic: str, partitions: list[int], which: str) -> dict[int, int]:
    spec = getattr(jvm.org.apache.kafka.clients.admin.OffsetSpec, which)()
    request = jvm.java.util.HashMap()
    keys = {p: jvm.org.apache.kafka.common.TopicPartition(topic, p) for p in partitions}
    for key in keys.values():
        request.put(key, spec)
    answer = admin.listOffsets(request).all().get()
    return {partition: int(answer.get(key).offset()) for partition, key in keys.items()}
