"""One look at a topic: its offsets beside those that its table has landed.

Here: the look. Not here: the requests to Kafka (`retail_lakehouse.kafka`), what a backlog is
(`tables/landing.py`), what is reported of it (`topics.py`). A look reads offsets only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.mark import Mark
from retail_lakehouse.tables.landing import landed_until, waiting_records

if TYPE_CHECKING:
    from retail_lakehouse.kafka.admin import TopicDescription


@dataclass(frozen=True, slots=True)
class TopicLook:
    """A topic as it was seen: offsets by partition; `landed_until` from its table's last mark.

    `oldest_waiting_ms` is the broker time (epoch ms) of the first record that waits, by partition;
    empty where nobody asked, or nobody answered.
    """

    event: EventContract
    seen_at_ms: int
    topic_id: str
    earliest: dict[int, int]
    end: dict[int, int]
    landed_until: dict[int, int] | None
    oldest_waiting_ms: Mapping[int, int] = field(default_factory=dict)

    @property
    def end_total(self) -> int:
        """Sum of the end offsets: records ever written to these partitions."""
        return sum(self.end.values())

    @property
    def waiting(self) -> dict[int, int]:
        """Records by partition that no mark covers yet."""
        return waiting_records(self.earliest, self.end, self.landed_until)

    @property
    def first_waiting(self) -> dict[int, int]:
        """The offset of the first record that waits, by partition, where any does."""
        landed = self.landed_until or {}
        return {
            partition: max(landed.get(partition, 0), self.earliest.get(partition, 0))
            for partition, records in self.waiting.items()
            if records
        }

    @property
    def backlog(self) -> int:
        """Records that no mark covers yet, in all partitions."""
        return sum(self.waiting.values())


def look(
    event: EventContract, topic: "TopicDescription", mark: Mark | None, now_ms: int
) -> TopicLook:
    """One look at a topic, from Kafka's answer and the last mark of the topic's table."""
    return TopicLook(
        event=event,
        seen_at_ms=now_ms,
        topic_id=topic.topic_id,
        earliest=topic.earliest_offsets,
        end=topic.end_offsets,
        landed_until=landed_until(mark, topic.topic_id),
    )
