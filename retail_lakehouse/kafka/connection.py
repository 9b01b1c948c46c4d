"""How one request to Kafka is made: its client, its deadline, its errors as sentences.

Belongs here: what every request to a cluster shares. Doesn't belong here: the requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

ClientValue = str | int | float | bool | Callable[..., object]
ClientConfig = Mapping[str, ClientValue]
"""librdkafka's settings: `bootstrap.servers`, and on MSK those of IAM with its `oauth_cb`."""

DEFAULT_TIMEOUT_SECONDS = 15.0
# librdkafka prints a line for each refused connection by itself; our errors say it once.
_LOG_LEVEL_CRITICAL = 2

_T = TypeVar("_T")


class KafkaUnreachableError(RuntimeError):
    """The cluster did not answer in time."""


class KafkaRefusedError(RuntimeError):
    """The cluster answered, and refused."""


class LeaderMovingError(KafkaUnreachableError):
    """A partition has no broker that leads it at this moment; asked again, the cluster answers."""


class TopicMissingError(KafkaRefusedError):
    """A topic that is asked for does not exist."""


class Deadline:
    """The time left of one call, and the sentences for when it runs out."""

    def __init__(self, config: ClientConfig, timeout_seconds: float) -> None:
        self.servers = str(config.get("bootstrap.servers", "(no bootstrap.servers)"))
        self._timeout_seconds = timeout_seconds
        self._end = time.monotonic() + timeout_seconds

    def left(self) -> float:
        """Seconds left, never none: librdkafka refuses that, and the wait that follows ends it."""
        return max(0.1, self._end - time.monotonic())

    def passed(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._end

    def unreachable(self) -> KafkaUnreachableError:
        """The error for a cluster that did not answer in time."""
        return KafkaUnreachableError(
            f"Kafka at {self.servers} did not answer within {self._timeout_seconds:g} seconds. "
            "Check that the broker runs and that the address is right."
        )

    def wait(self, future: Future[_T], what: str) -> _T:
        """Wait for one answer; `what` names it in the sentence.

        Raises:
            KafkaUnreachableError: It did not come in time.
            TopicMissingError: The topic does not exist.
            KafkaRefusedError: The cluster refused.
        """
        from confluent_kafka import KafkaException

        try:
            # One second more than the request's own limit: its error says more than ours.
            return future.result(timeout=self.left() + 1.0)
        except FutureTimeoutError as error:
            raise self.unreachable() from error
        except KafkaException as error:
            raise self.translated(error, what) from error

    def translated(self, error: Exception, what: str) -> RuntimeError:
        """Our error for a `KafkaException`."""
        from confluent_kafka import KafkaError

        cause = error.args[0]
        if cause.code() in (
            KafkaError._TRANSPORT,
            KafkaError._TIMED_OUT,
            KafkaError._ALL_BROKERS_DOWN,
            KafkaError._RESOLVE,
            KafkaError.REQUEST_TIMED_OUT,
            KafkaError.BROKER_NOT_AVAILABLE,
        ):
            return self.unreachable()
        if cause.code() in (
            KafkaError.NOT_LEADER_FOR_PARTITION,
            KafkaError.LEADER_NOT_AVAILABLE,
            KafkaError.FENCED_LEADER_EPOCH,
            KafkaError.UNKNOWN_LEADER_EPOCH,
            KafkaError.KAFKA_STORAGE_ERROR,
        ):
            return LeaderMovingError(
                f"Kafka at {self.servers} has no leader yet for {what}: {cause.str()}. "
                "If this lasts, see the broker's log."
            )
        if cause.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return TopicMissingError(
                f"Kafka at {self.servers} has no {what}. Topics are made from their contracts "
                "only: start the platform, which makes them, and ask again."
            )
        return KafkaRefusedError(
            f"Kafka at {self.servers} refused {what}: {cause.str().rstrip('.')}."
        )


def admin_client(config: ClientConfig) -> AdminClient:
    """Make the client; with an `oauth_cb` this also fetches the first token."""
    from confluent_kafka.admin import AdminClient

    return AdminClient({"log_level": _LOG_LEVEL_CRITICAL, **config})  # type: ignore[dict-item]


def partition_counts(client: AdminClient, deadline: Deadline) -> dict[str, int]:
    """The partition count of every topic."""
    from confluent_kafka import KafkaException

    try:
        metadata = client.list_topics(timeout=deadline.left())
    except KafkaException as error:
        raise deadline.translated(error, "the list of topics") from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}
