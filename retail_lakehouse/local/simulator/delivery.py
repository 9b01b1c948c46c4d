"""Putting batches into Kafka and booking every delivery report.

Here: the idempotent producer and the batches in flight. Not here: what is in a batch.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from retail_lakehouse.local.ledger import MARKER_HEADER, Ledger, marker
from retail_lakehouse.local.simulator.disturbance import Batch

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

logger = logging.getLogger(__name__)

# https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
_PRODUCER = {
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",
    "compression.type": "lz4",
    "linger.ms": 20,
    "batch.num.messages": 20_000,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 524_288,
    # A broker that is away for hours must not turn into lost records.
    "message.timeout.ms": 24 * 3_600_000,
    "reconnect.backoff.max.ms": 1_000,
    # librdkafka prints a line for each refused connection by itself; an outage would fill the log.
    "log_level": 2,
}
_POLL_EVERY = 500
_FULL_QUEUE_POLL_SECONDS = 0.05


class DeliveryError(RuntimeError):
    """Kafka refuses the simulator's records for good."""


class _Flight:
    """One batch under way: where each of its records has landed."""

    __slots__ = ("batch", "offsets", "partitions", "waiting")

    def __init__(self, batch: int, count: int) -> None:
        self.batch = batch
        self.waiting = count
        self.partitions = [-1] * count
        self.offsets = [-1] * count

    def report(self, index: int, error: "KafkaError | None", message: "Message") -> None:
        self.waiting -= 1
        if error is None:
            self.partitions[index] = message.partition()  # type: ignore[assignment]
            self.offsets[index] = message.offset()  # type: ignore[assignment]
        else:
            logger.warning(
                "A record of batch %d was not delivered (%s); it is listed as unresolved.",
                self.batch,
                error,
            )


class Delivery:
    """Sends batches in order and settles each in the ledger when all its reports are in."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        ledger: Ledger,
        on_failed_batch: Callable[[int], None],
    ) -> None:
        """`on_failed_batch` hears the number of a batch of which a record was not delivered."""
        from confluent_kafka import Producer

        self._ledger = ledger
        self._on_failed_batch = on_failed_batch
        self._topics = [topic.name for topic in ledger.topics]
        self._flights: deque[_Flight] = deque()
        self._fatal: str | None = None
        self._producer = Producer({**_PRODUCER, **kafka, "error_cb": self._hear})
        self.in_flight = 0
        self.settled_batch = ledger.next_batch() - 1

    def send(self, number: int, batch: Batch) -> None:
        """Writes the intent of a batch, then produces it; waits where the queue is full.

        Raises:
            DeliveryError: Kafka refuses the records for good.
        """
        count = len(batch.rows)
        self._ledger.intend(number, batch.rows)
        flight = _Flight(number, count)
        self._flights.append(flight)
        self.in_flight += count
        produce, topics, report = self._producer.produce, self._topics, flight.report
        prefix = marker(self._ledger.ledger_id, number, 0)[:-4]
        records = zip(batch.rows["topic"].tolist(), batch.keys, batch.bodies, strict=True)
        for index, (topic, key, body) in enumerate(records):
            headers: list[tuple[str, str | bytes | None]] = [
                (MARKER_HEADER, prefix + index.to_bytes(4))
            ]
            while True:
                try:
                    produce(
                        topics[topic],
                        body,
                        key,
                        on_delivery=partial(report, index),
                        headers=headers,
                    )
                    break
                except BufferError:
                    self.poll(_FULL_QUEUE_POLL_SECONDS)
            if index % _POLL_EVERY == 0:
                self.poll(0)
        self.poll(0)

    def poll(self, seconds: float) -> None:
        """Takes in delivery reports for so long, and settles what is complete.

        Raises:
            DeliveryError: Kafka refuses the records for good.
        """
        self._producer.poll(seconds)
        self._settle()
        if self._fatal is not None:
            raise DeliveryError(
                f"Kafka refuses the simulator's records for good: {self._fatal}. What was not "
                "acknowledged is listed as unresolved; start the simulator again."
            )

    def finish(self, seconds: float) -> int:
        """Waits for what is under way; returns how many records are still unacknowledged."""
        self._producer.flush(seconds)
        self._settle()
        # What is still queued must not reach the topic while somebody looks for it there.
        self._producer.purge()
        return self.in_flight

    def _settle(self) -> None:
        while self._flights and not self._flights[0].waiting:
            flight = self._flights.popleft()
            offsets = np.array(flight.offsets, dtype=np.int64)
            self._ledger.settle(flight.batch, np.array(flight.partitions, dtype=np.int64), offsets)
            self.in_flight -= len(offsets)
            self.settled_batch = flight.batch
            if (offsets < 0).any():
                self._on_failed_batch(flight.batch)

    def _hear(self, error: "KafkaError") -> None:
        if error.fatal():
            self._fatal = str(error)
        else:
            logger.debug("Kafka client: %s", error)
