"""Finding out what became of records, and of backfilled days, whose delivery is unknown.

Here: reading the topics from the last known offsets on, for markers of this ledger, and the tables
for days. Not here: what follows for the counts (`ledger.py`).
"""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from retail_lakehouse.contracts.events import EVENT_ID_FIELD, EVENTS
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.kafka.admin import TopicDescription, cluster_id, describe_topics
from retail_lakehouse.local.ledger import MARKER_HEADER, Landing, Ledger, read_marker
from retail_lakehouse.local.ledger_state import LedgerTopic

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

logger = logging.getLogger(__name__)

_QUIET_SECONDS = 1.0
_QUIET_AT_MOST_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_BATCH_RECORDS = 10_000
_POLL_SECONDS = 0.2


class ResolutionError(RuntimeError):
    """The topics could not be read to their ends."""


def bind_to_kafka(ledger: Ledger, kafka: Mapping[str, Any], names: list[str]) -> None:
    """Begins the ledger for the cluster's topics, or checks that it is theirs.

    Raises:
        LedgerError: the ledger belongs to other topics.
        KafkaUnreachableError, KafkaRefusedError: from `retail_lakehouse.kafka`.
    """
    topics = describe_topics(kafka, names)
    before = sum(sum(topic.end_offsets.values()) for topic in topics)
    if before and not ledger.is_begun:
        logger.warning(
            "The topics hold %d records that no ledger accounts for: `verify` will report them.",
            before,
        )
    ledger.begin(
        cluster_id(kafka),
        [LedgerTopic(topic.name, topic.topic_id, topic.end_offsets) for topic in topics],
    )


def resolve_open(ledger: Ledger, kafka: Mapping[str, Any]) -> int:
    """Looks up every record whose delivery is unknown, and books it.

    Returns:
        How many of them turned out to be delivered.

    Raises:
        ResolutionError: a topic could not be read to its end.
    """
    batches = ledger.open_batches()
    if not batches:
        return 0
    topics = _quiet_topics(kafka, [topic.name for topic in ledger.topics])
    landings: list[Landing] = []
    wanted = {batch.batch for batch in batches}
    for number, topic in enumerate(topics):
        floors = {
            partition: min(batch.floors[number].get(partition, 0) for batch in batches)
            for partition in topic.end_offsets
        }
        for landing in _markers(ledger.ledger_id, kafka, topic, floors):
            if landing.batch in wanted:
                landings.append(landing)
    delivered = ledger.resolve(landings)
    logger.info("Of the records with unknown delivery, %d had arrived.", delivered)
    return delivered


def resolve_open_backfills(ledger: Ledger, catalog: "Catalog") -> None:
    """Books the days whose process died around their commit: it is whole or it is not there."""
    from pyiceberg.expressions import And, EqualTo

    for day in ledger.open_backfills():
        event = next(event for event in EVENTS if event.topic == day.topic)
        table = catalog.load_table(event_table(event).identifier)
        found = table.scan(
            row_filter=And(
                EqualTo("event_date", day.day),  # type: ignore[call-arg, arg-type]
                EqualTo(EVENT_ID_FIELD, day.first_event_id),  # type: ignore[call-arg, arg-type]
            ),
            selected_fields=(EVENT_ID_FIELD,),
        ).to_arrow()
        ledger.settle_backfill(day, committed=len(found) > 0)


def _quiet_topics(kafka: Mapping[str, Any], names: list[str]) -> tuple[TopicDescription, ...]:
    """The topics once nothing arrives any more: a killed producer's last request may be late.

    Not waited for without end: other producers may never pause.
    """
    deadline = time.monotonic() + _QUIET_AT_MOST_SECONDS
    before = describe_topics(kafka, names)
    while True:
        time.sleep(_QUIET_SECONDS)
        after = describe_topics(kafka, names)
        quiet = [t.end_offsets for t in before] == [t.end_offsets for t in after]
        if quiet or time.monotonic() > deadline:
            return after
        before = after


def _markers(
    ledger_id: str, kafka: Mapping[str, Any], topic: TopicDescription, floors: dict[int, int]
) -> Iterator[Landing]:
    from confluent_kafka import Consumer, TopicPartition

    left = {p: end for p, end in topic.end_offsets.items() if floors[p] < end}
    if not left:
        return
    consumer = Consumer(
        {
            **kafka,
            "group.id": "retail-lakehouse-ledger",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": False,
            "fetch.queue.backoff.ms": 5,
        }
    )
    try:
        consumer.assign([TopicPartition(topic.name, p, floors[p]) for p in left])
        heard = time.monotonic()
        while left:
            for message in consumer.consume(_BATCH_RECORDS, timeout=_POLL_SECONDS):
                error = message.error()
                if error is not None:
                    raise ResolutionError(
                        f"Topic {topic.name} cannot be read from where the ledger left off: "
                        f"{error.str()}. If its records have expired, the ledger cannot be "
                        "completed: `retail-lakehouse reset` starts from nothing."
                    )
                heard = time.monotonic()
                partition, offset = message.partition(), message.offset()
                assert partition is not None  # noqa: S101
                assert offset is not None  # noqa: S101
                if offset + 1 >= left.get(partition, 0):
                    left.pop(partition, None)
                found = _marker(ledger_id, message.headers())
                if found is not None:
                    yield Landing(partition, offset, *found)
            if time.monotonic() - heard > _SILENCE_SECONDS:
                raise ResolutionError(
                    f"Topic {topic.name} could not be read to its end: nothing came for "
                    f"{_SILENCE_SECONDS:.0f} seconds. Check that the broker runs, then try again."
                )
    finally:
        consumer.close()


def _marker(ledger_id: str, headers: Any) -> tuple[int, int] | None:
    for name, value in headers or ():
        if name == MARKER_HEADER:
            return read_marker(ledger_id, value)
    return None
