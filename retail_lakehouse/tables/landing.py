"""What of a topic has landed, what waits, and how old either is.

Here: pure functions over marks and offsets, the only place where backlog and age are defined. Not
here: reading marks (`marks.py`) or offsets (`retail_lakehouse.kafka`), service levels.
"""

from collections.abc import Iterable, Mapping

from retail_lakehouse.contracts.mark import Mark, MarkKind


def landed_until(mark: Mark | None, topic_id: str) -> dict[int, int] | None:
    """The mark's `until`; None where there is no mark, or it speaks of another topic id.

    Offsets of a topic that was made anew begin again: an old mark says nothing of them.
    """
    return dict(mark.until) if mark is not None and mark.topic_id == topic_id else None


def waiting_records(
    earliest: Mapping[int, int], end: Mapping[int, int], until: Mapping[int, int] | None
) -> dict[int, int]:
    """Records by partition that no mark covers yet: end offset minus the mark's `until`.

    Without a mark, everything retained; records that retention took are not counted.
    """
    landed = until or {}
    return {
        partition: max(0, last - max(landed.get(partition, 0), earliest.get(partition, 0)))
        for partition, last in end.items()
    }


def read_since_ms(newest_first: Iterable[Mark]) -> dict[int, int]:
    """By partition, an instant (epoch ms) that everything it has unread came after.

    Broker times only grow within a partition, so what waits in one came after the oldest record of
    the last batch that advanced it. The batch's newest would not do: it may be another
    partition's, and would hide one that lags behind the others.
    """
    since: dict[int, int] = {}
    for mark in newest_first:
        if mark.kind is not MarkKind.STREAM:
            continue
        oldest = mark.broker_time.oldest_ms
        at = mark.batch_started_ms if oldest is None else oldest
        for partition, (first, last) in mark.ranges.items():
            if last > first:
                since.setdefault(partition, at)
    return since


def waiting_since_ms(arrivals: Iterable[tuple[int, int]], served: int | None) -> int | None:
    """When the first data came that a view which serves the snapshot `served` does not show.

    `arrivals` are (snapshot id, epoch ms) of the table's data snapshots, newest first. Where
    `served` is not among them it is the oldest of them; None where the view shows everything.
    """
    first = None
    for snapshot_id, arrived_ms in arrivals:
        if snapshot_id == served:
            break
        first = arrived_ms
    return first


def newest_landed_ms(mark: Mark) -> int | None:
    """The newest `least(event time, broker time)` that a mark's batch landed.

    A producer's clock that is ahead cannot make a table look fresher than its broker's time. A
    batch that landed no row has none, however many records it read; a backfill has no broker time.
    Marks that do not tell it give it from above, by the newest of both.
    """
    if mark.newest_ms is not None:
        return mark.newest_ms
    newest = mark.event_time.newest_ms
    if newest is None or mark.broker_time.newest_ms is None:
        return newest
    return min(newest, mark.broker_time.newest_ms)
