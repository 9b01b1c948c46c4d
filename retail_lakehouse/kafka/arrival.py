"""When the record at an offset reached the broker, found without reading it.

Belongs here: the search, and the question that it asks. Doesn't belong here: offsets themselves
(`admin.py`), what a lag is (`tables/landing.py`).

Kafka tells the first offset from a time on, and no time of an offset; but times grow with offsets
in a partition whose records carry the broker's clock (`message.timestamp.type=LogAppendTime`). So
the time is searched for: doubling steps back, then halving, all partitions in one request a step.
It needs the right to describe a topic and none to read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from retail_lakehouse.kafka.connection import (
    DEFAULT_TIMEOUT_SECONDS,
    ClientConfig,
    Deadline,
    admin_client,
)

Place = tuple[str, int]
"""Topic and partition."""

FIRST_STEP_MS = 1_000
OLDEST_MS = 30 * 24 * 60 * 60 * 1_000
"""Nothing is searched for further back: no topic of ours keeps records for so long."""
_PRECISION_MS = 250
_PRECISION_SHARE = 100


def arrived_ms(
    config: ClientConfig,
    offsets: Mapping[Place, int],
    at_ms: int,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[Place, int]:
    """Broker time (epoch ms) of the record at each offset; at most 250 ms or 1% of its age early.

    Args:
        config: How to reach the cluster.
        offsets: Offsets that records have, by topic and partition.
        at_ms: Now; a record from a broker whose clock is ahead counts as of now.
        timeout_seconds: How long all of it may take.

    Raises:
        TopicMissingError: One of the topics does not exist.
        KafkaUnreachableError: The cluster did not answer in time.
        KafkaRefusedError: It refused.
    """
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

    deadline, client = Deadline(config, timeout_seconds), admin_client(config)

    def first_offsets(since_ms: Mapping[Place, int]) -> dict[Place, int]:
        if deadline.passed():
            raise deadline.unreachable()
        futures = client.list_offsets(
            {
                TopicPartition(*place): OffsetSpec.for_timestamp(ms)
                for place, ms in since_ms.items()
            },
            request_timeout=deadline.left(),
        )
        return {
            (key.topic, key.partition): deadline.wait(future, f"topic {key.topic}").offset
            for key, future in futures.items()
        }

    return search(offsets, at_ms, first_offsets)


def search(
    offsets: Mapping[Place, int],
    at_ms: int,
    first_offsets: Callable[[Mapping[Place, int]], Mapping[Place, int]],
) -> dict[Place, int]:
    """The times of `arrived_ms`. `first_offsets` answers with the first offset from a time on.

    It answers -1 where nothing came from then on.
    """
    ages = {place: _Age() for place in offsets}
    while asked := {place: age.next_ms for place, age in ages.items() if not age.is_known}:
        answers = first_offsets({place: at_ms - ms for place, ms in asked.items()})
        for place, ms in asked.items():
            ages[place].learn(ms, is_at_most=0 <= answers[place] <= offsets[place])
    return {place: at_ms - age.at_most_ms for place, age in ages.items()}


@dataclass(slots=True)
class _Age:
    """How old a record is, as far as it is known: more than one bound, at most the other."""

    more_than_ms: int = 0
    at_most_ms: int = FIRST_STEP_MS
    is_bounded: bool = False
    """Whether `at_most_ms` is an answer; until then it is the next question."""

    @property
    def next_ms(self) -> int:
        """The age to ask for."""
        return (self.more_than_ms + self.at_most_ms) // 2 if self.is_bounded else self.at_most_ms

    @property
    def is_known(self) -> bool:
        """Whether the bounds are close, or too far back to look on."""
        close = max(_PRECISION_MS, self.at_most_ms // _PRECISION_SHARE)
        is_close = self.at_most_ms - self.more_than_ms <= close
        return self.more_than_ms >= OLDEST_MS or (self.is_bounded and is_close)

    def learn(self, age_ms: int, *, is_at_most: bool) -> None:
        """Takes the answer: the record is at most `age_ms` old, or older."""
        if is_at_most:
            self.at_most_ms, self.is_bounded = age_ms, True
        else:
            self.more_than_ms = age_ms
            if not self.is_bounded:
                self.at_most_ms = min(2 * age_ms, OLDEST_MS)
