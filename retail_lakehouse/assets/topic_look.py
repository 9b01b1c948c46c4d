"""One look at a topic: its offsets beside those that its table has landed.

Here: the look and its backlog. Not here: the requests to Kafka (`retail_lakehouse.kafka`), what is
reported of it (`topics.py`). A look reads offsets only.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.mark import Mark

if TYPE_CHECKING:
    from retail_lakehouse.kafka.admin import TopicDescription


@dataclass(frozen=True, slots=True)
class TopicLook:
    """A topic as it was seen: offsets by partition; `landed_until` from its table's last mark."""

    event: EventContract
    seen_at_ms: int
    topic_id: str
    earliest: dict[int, int]
    end: dict[int, int]
    landed_until: dict[int, int] | None

    @property
    def end_total(self) -> int:
        """Sum of the end offsets: records ever written to these partitions."""
        return sum(self.end.values())

    @property
    def backlog(self) -> int:
        """Records that no mark covers yet: end offsets minus the mark's `until`.

        Without a mark, everything retained; records that retention took are not counted.
        """
        until = self.landed_until or {}
        return sum(
            max(0, end - max(until.get(partition, 0), self.earliest.get(partition, 0)))
            for partition, end in self.end.items()
        )


def look(
    event: EventContract, topic: "TopicDescription", mark: Mark | None, now_ms: int
) -> TopicLook:
    """One look at a topic, from Kafka's answer and the last mark of the topic's table."""
    # A mark of another topic id says nothing about these offsets.
    known = mark is not None and mark.topic_id == topic.topic_id
    return TopicLook(
        event=event,
        seen_at_ms=now_ms,
        topic_id=topic.topic_id,
        earliest=topic.earliest_offsets,
        end=topic.end_offsets,
        landed_until=dict(mark.until) if mark is not None and known else None,
    )
