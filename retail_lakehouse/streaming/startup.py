"""What a job finds when it starts, and whether it may go on.

Here: topic and marks compared, and the offsets to start from. Not here: Spark.

A job never steps over a loss by itself: it stops with a sentence that says what is gone and how to
accept it, and with an exit status that keeps the supervisor from starting it again by itself.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from retail_lakehouse.contracts.mark import Mark, MarkKind
from retail_lakehouse.streaming.kafka import EARLIEST, TopicFacts

logger = logging.getLogger(__name__)


class LossError(RuntimeError):
    """Records are gone, or cannot be told from others; a person has to say what holds."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a person accepted for this start, by the code of what the job found.

    The code is that of the topic and of both marks. It accepts whatever is lost past those marks
    when the job starts, which may be more by then: the warning of that start says it all. Once the
    job goes on its marks have moved, so that it accepts no later loss, however often it is given.
    """

    code: str
    accepted: frozenset[str]

    @classmethod
    def of(
        cls,
        topic: str,
        topic_id: str,
        marks: tuple[Mark | None, Mark | None],
        told: str,
    ) -> Self:
        """Of a job that found these marks; `told` are the codes of its argument, with commas."""
        found = [mark and [mark.topic_id, sorted(mark.until.items())] for mark in marks]
        text = json.dumps([topic, topic_id, found])
        code = hashlib.sha256(text.encode()).hexdigest()[:12]
        return cls(code, frozenset(each.strip() for each in told.split(",")))

    @property
    def granted(self) -> bool:
        """Whether what the job found is what was accepted."""
        return self.code in self.accepted

    @property
    def how(self) -> str:
        """The sentence that says how to accept it."""
        # A variable set beside a platform that runs reaches no job: its supervisor spawns them.
        return (
            "If that is known, accept it: on one machine `retail-lakehouse stop`, then "
            f"`retail-lakehouse dev --set accept_loss={self.code}`; on AWS start the Glue job with "
            f"the argument --accept_loss {self.code}. The code accepts what is lost past these "
            "marks when the job starts, and no later loss; several are given with commas."
        )


def check_topic(
    topic: str,
    live: TopicFacts,
    rows: Mark | None,
    quarantine: Mark | None,
    acceptance: Acceptance,
) -> None:
    """Refuses a topic that is not the one the marks speak of.

    The event table's last mark decides, and the quarantine's before there is one: a quarantine
    may go for long without a commit, so its mark may be of a topic whose loss has been accepted.

    Raises:
        LossError: the topic was made again, or its records carry a producer's clock.
    """
    if live.timestamp_type != "LogAppendTime":
        raise LossError(
            f"The topic {topic} has message.timestamp.type={live.timestamp_type}: a record's fate "
            "would hang on its producer's clock. Set it to LogAppendTime, then start the job again."
        )
    mark = quarantine if rows is None else rows
    if mark is None or mark.topic_id == live.topic_id:
        return
    made_again = (
        f"The topic {topic} was deleted and made again: the table has landed "
        f"{sum(mark.until.values())} offsets of topic id {mark.topic_id}, and Kafka now has "
        f"{live.topic_id}. What the old topic held past those offsets is lost."
    )
    if not acceptance.granted:
        raise LossError(
            f"{made_again} {acceptance.how} The job then begins at the new topic's first record."
        )
    logger.warning("%s This was accepted: going on at the new topic's first record.", made_again)


def check_offsets(
    topic: str,
    live: TopicFacts,
    until: Mapping[int, int],
    acceptance: Acceptance,
    *,
    from_the_first: bool = False,
) -> dict[int, int]:
    """The `until` to go on from, partition by partition.

    Returns `until` unchanged, or, where a loss was accepted, moved to what Kafka still has. With
    `from_the_first` a partition that is not in it is owed from its first record on: it was added
    to a topic that the marks know.

    Raises:
        LossError: Kafka no longer has the records at a partition's `until`.
    """
    moved, losses = dict(until), []
    owed = dict.fromkeys(live.end, 0) if from_the_first else {}
    for partition, offset in sorted({**owed, **until}.items()):
        if partition not in live.end:
            raise LossError(
                f"Partition {partition} of {topic} is gone, and the table has landed it up to "
                f"offset {offset}: Kafka never removes a partition, so this is another topic or "
                "another cluster. Point the job at the right one."
            )
        earliest, end = live.earliest[partition], live.end[partition]
        if offset < earliest:
            lost = (
                f"offsets {offset} to {earliest - 1} ({earliest - offset} records at the most) "
                "were removed by retention before they landed"
            )
            moved[partition] = earliest
        elif offset > end:
            lost = (
                f"Kafka ends at offset {end} but the table has landed up to {offset}: the broker "
                f"lost {offset - end} records it had acknowledged, and will give their offsets to "
                "new ones"
            )
            moved[partition] = end
        else:
            continue
        losses.append(f"Partition {partition} of {topic}: {lost}.")
    if losses and not acceptance.granted:
        raise LossError(
            f"{' '.join(losses)} {acceptance.how} The job then goes on where Kafka can."
        )
    for loss in losses:
        logger.warning("%s This was accepted: going on past it.", loss)
    return moved


def check_quarantine_offsets(
    topic: str,
    live: TopicFacts,
    until: Mapping[int, int],
    moved: Mapping[int, int],
    quarantine_until: Mapping[int, int],
    acceptance: Acceptance,
) -> dict[int, int]:
    """The quarantine's `until` to go on from, where the event table goes on from `moved`.

    Where `until` moved back, Kafka gives its offsets to new records: what the quarantine covers
    past it was of the old ones, so it moves back as well.

    It lags behind the event table's for as long as no record breaks the contract; what that one
    covers cannot be lost any more, so only what lies ahead of it is held against Kafka.

    Raises:
        LossError: Kafka no longer has the records at a partition's `until`.
    """
    ahead = {p: offset for p, offset in quarantine_until.items() if offset > until.get(p, 0)}
    checked = {**quarantine_until, **check_offsets(topic, live, ahead, acceptance)}
    return {
        partition: min(offset, moved[partition])
        if moved.get(partition, 0) < until.get(partition, 0)
        else offset
        for partition, offset in checked.items()
    }


def check_rows_have_mark(table: str, rows: Mark | None, row_count: int) -> None:
    """Refuses a table with rows and no mark: reading from the beginning would double them.

    Raises:
        LossError: the last mark was expired or rolled back by something else than the platform.
    """
    if rows is None and row_count:
        raise LossError(
            f"{table} holds {row_count} rows, but none of its snapshots carries a mark: which "
            "offsets have landed cannot be told. Another program expired or rolled back its "
            "snapshots. Roll the table back to a snapshot with a mark, then start the job again."
        )


def has_begun(rows: Mark | None, topic_id: str) -> bool:
    """Whether the event table has taken up the topic: from then on each partition is owed whole.

    Before, a topic is read from what Kafka still has. A quarantine alone says nothing: the kill
    came inside the very first batch. Nor does a backfill, which has no offsets.
    """
    if rows is None or rows.topic_id != topic_id:
        return False
    return rows.kind is not MarkKind.BACKFILL or bool(rows.until)


def starting_offsets(live: TopicFacts, until: Mapping[int, int]) -> dict[int, int]:
    """Where each partition's reading starts; one that is new starts at its first record."""
    return {partition: until.get(partition, EARLIEST) for partition in sorted(live.end)}
