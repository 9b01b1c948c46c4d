"""One look at everything between the topics and the tables: offsets, jobs, last marks.

Here: taking the look, once, for all that need it: Observe buttons, checks and sensors. Not here:
what is made of it (`topics.py`, `streaming_jobs.py`, `checks/`). An outage is part of the answer,
as a sentence; it raises nothing, so that one system that is down does not hide the others.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from retail_lakehouse.assets.topic_look import TopicLook, look
from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.mark import Mark, MarkError
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.resources.job_runs import JobRun
from retail_lakehouse.tables.landing import read_since_ms

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from retail_lakehouse.resources.iceberg import IcebergCatalogResource
    from retail_lakehouse.resources.kafka import KafkaResource
    from retail_lakehouse.resources.streaming_jobs import StreamingJobsResource
    from retail_lakehouse.tables.marks import MarkedSnapshot

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class TableLook:
    """An event table as its marks tell; times in epoch milliseconds.

    `first` and `last` are the oldest and newest marked snapshot of the last hour that are still
    retained; where nothing was committed within the hour, `first` is None and `last` is older.
    `read_since_ms` is by partition, and misses those that nothing of the hour advanced. `batches`
    are the hour's marked snapshots, newest first, or the last one where the hour has none. All of
    them are of the topic id of the last mark.
    """

    first: "MarkedSnapshot | None"
    last: "MarkedSnapshot | None"
    read_since_ms: Mapping[int, int] = field(default_factory=dict)
    batches: "tuple[MarkedSnapshot, ...]" = ()

    @property
    def mark(self) -> Mark | None:
        """The last mark."""
        return self.last.mark if self.last else None

    @property
    def committed_at_ms(self) -> int | None:
        """When the last mark was committed."""
        return self.last.timestamp_ms if self.last else None


@dataclass(frozen=True, slots=True)
class StreamLook:
    """The stream at one moment, by event name; a sentence in place of what cannot be seen."""

    at_ms: int
    topics: dict[str, TopicLook | str]
    jobs: dict[str, JobRun]
    tables: dict[str, TableLook | str]
    unreadable_quarantines: dict[str, str] = field(default_factory=dict)
    """Only those that cannot be loaded: the share itself is told by the event tables' marks."""


def now_ms() -> int:
    """The wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def look_at_stream(
    kafka: "KafkaResource",
    iceberg: "IcebergCatalogResource",
    jobs: "StreamingJobsResource | None" = None,
) -> StreamLook:
    """Looks at topics, event tables and (when given) jobs. Bounded by Kafka's own deadline."""
    contracts = tuple(event_table(event) for event in EVENTS)
    quarantines = {event.name: quarantine_table(event).name for event in EVENTS}
    loaded = iceberg.tables((*contracts, *(quarantine_table(event) for event in EVENTS)))
    described = kafka.describe()
    runs = jobs.runs() if jobs is not None else {}
    at = now_ms()
    topics: dict[str, TopicLook | str] = {}
    tables: dict[str, TableLook | str] = {}
    for event, contract in zip(EVENTS, contracts, strict=True):
        table = loaded[contract.name]
        tables[event.name] = table if isinstance(table, str) else _table_look(table, at)
        topic, seen = described[event.topic], tables[event.name]
        mark = None if isinstance(seen, str) else seen.mark
        topics[event.name] = topic if isinstance(topic, str) else look(event, topic, mark, at)
    return StreamLook(
        at_ms=at,
        topics=_with_arrivals(topics, kafka, at),
        jobs=runs,
        tables=tables,
        unreadable_quarantines={
            event: told
            for event, name in quarantines.items()
            if isinstance(told := loaded[name], str)
        },
    )


def _with_arrivals(
    topics: Mapping[str, TopicLook | str], kafka: "KafkaResource", at_ms: int
) -> dict[str, TopicLook | str]:
    """The topics with the broker times of the first records that wait; no wait, no question."""
    looks = [topic for topic in topics.values() if isinstance(topic, TopicLook)]
    wanted = {
        (seen.event.topic, partition): offset
        for seen in looks
        for partition, offset in seen.first_waiting.items()
    }
    arrived = kafka.arrived(wanted, at_ms) if wanted else {}
    return {
        name: topic
        if isinstance(topic, str)
        else replace(
            topic,
            oldest_waiting_ms={p: ms for (t, p), ms in arrived.items() if t == topic.event.topic},
        )
        for name, topic in topics.items()
    }


def _table_look(table: "Table", at_ms: int) -> TableLook | str:
    from retail_lakehouse.tables.marks import newest_first

    last = None
    batches: list[MarkedSnapshot] = []
    try:
        for snapshot in newest_first(table):
            if snapshot.mark is None:
                continue
            last = last or snapshot
            if snapshot.timestamp_ms < at_ms - HOUR_MS:
                break
            if last.mark is not None and snapshot.mark.topic_id != last.mark.topic_id:
                # The topic was made again: totals and offsets on either side do not compare.
                break
            batches.append(snapshot)
    except MarkError as error:
        return str(error)
    first = batches[-1] if batches else None
    if not batches and last is not None:
        batches = [last]
    return TableLook(
        first=first,
        last=last,
        read_since_ms=read_since_ms(each.mark for each in batches if each.mark is not None),
        batches=tuple(batches),
    )
