"""The rule of uniqueness.

Here: the verdict on each good record of a batch, given what has landed. Not here: the index.

The key is (event id, event hour). A record is searched for while its event hour lies within the
dedupe horizon of the record's own broker time: among the rows that have landed, and among the
records before it. The first arrival lands (the lowest offset of its partition); a later one with
the same content is a duplicate; one with other content is a conflict and goes to quarantine.
A record past the horizon lands without a search, and is there for those after it as any other row.
None of this depends on where a batch begins, as long as the copies of an event share a partition,
which the contract's Kafka key sees to. Of copies in several partitions exactly one lands as well,
but which one follows arrival: within a batch the one of the earlier broker time, else the one whose
batch came first.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from retail_lakehouse.dedupe.records import HOUR_MS, Longs, Records


class Verdict(IntEnum):
    """What becomes of a good record."""

    LANDS = 0
    DUPLICATE = 1
    CONFLICT = 2


class LandedKeys(Protocol):
    """What has landed."""

    def find(
        self, hour: int, key_high: Longs, key_low: Longs
    ) -> tuple[npt.NDArray[np.bool_], Longs]:
        """For each key of the event hour: whether it has landed, and its content hash."""
        ...


@dataclass(frozen=True, slots=True)
class Decision:
    """Verdicts aligned with the records; `unsearched` marks those past the horizon."""

    verdict: npt.NDArray[np.int8]
    unsearched: npt.NDArray[np.bool_]


def searched(records: Records, horizon_hours: int) -> npt.NDArray[np.bool_]:
    """The good records whose event hour lies within the horizon of their own broker time."""
    horizon_starts_ms = records.broker_ms - horizon_hours * HOUR_MS
    return records.good & (records.event_hour * HOUR_MS >= horizon_starts_ms)


def decide(records: Records, landed: LandedKeys, horizon_hours: int) -> Decision:
    """The verdict on each of `records`; those that are not good get LANDS and must be ignored."""
    count = len(records)
    verdict = np.zeros(count, dtype=np.int8)
    hours = records.event_hour
    within = searched(records, horizon_hours)
    unsearched = records.good & ~within
    if not within.any():
        return Decision(verdict, unsearched)

    # Those past the horizon are not searched for, but a later record may be a copy of one of them:
    # the broker's clock may have stepped back in between.
    good = np.flatnonzero(records.good)
    order = by_arrival(records, good)
    known = np.zeros(count, dtype=np.bool_)
    content = np.zeros(count, dtype=np.int64)
    for hour in np.unique(hours[within]):
        of_hour = order[hours[order] == hour]
        known[of_hour], content[of_hour] = landed.find(
            int(hour), records.key_high[of_hour], records.key_low[of_hour]
        )
    _spread_first_arrivals(records, order, known, content)
    verdict[within] = np.where(
        known[within],
        np.where(content[within] == records.content[within], Verdict.DUPLICATE, Verdict.CONFLICT),
        Verdict.LANDS,
    )
    return Decision(verdict, unsearched)


def by_arrival(records: Records, good: Longs) -> Longs:
    """Positions of records (`good`) ordered by broker time, within a partition always by offset.

    The index keeps the first of a key: what has landed is added to it in this order.
    """
    # A replay may bring two records of one offset: a broker that lost the first gave it away again.
    places = records.broker_ms[good], records.offset[good], records.partition[good]
    order = good[np.lexsort(places)]
    partition, arrived_ms = records.partition[order], records.broker_ms[order]
    for number in np.unique(partition):
        # A clock that stepped back must not put a record before those of lower offsets.
        of_partition = partition == number
        arrived_ms[of_partition] = np.maximum.accumulate(arrived_ms[of_partition])
    return order[np.argsort(arrived_ms, kind="stable")]


def _spread_first_arrivals(
    records: Records, order: Longs, known: npt.NDArray[np.bool_], content: Longs
) -> None:
    """Makes the first record of each key within the batch known to the ones after it."""
    hours = records.event_hour
    # A stable sort by key keeps the arrival order within a key.
    by_key = order[np.lexsort((records.key_low[order], records.key_high[order], hours[order]))]
    same_as_before = np.zeros(len(by_key), dtype=np.bool_)
    same_as_before[1:] = (
        (hours[by_key][1:] == hours[by_key][:-1])
        & (records.key_high[by_key][1:] == records.key_high[by_key][:-1])
        & (records.key_low[by_key][1:] == records.key_low[by_key][:-1])
    )
    if not same_as_before.any():
        return
    first_of_group = np.maximum.accumulate(np.where(same_as_before, 0, np.arange(len(by_key))))
    repeats = by_key[same_as_before]
    firsts = by_key[first_of_group[same_as_before]]
    # A first arrival that was known already makes every record of its key known with the same
    # content, by the lookup; only keys that are new in this batch are left.
    new = ~known[firsts]
    content[repeats[new]] = records.content[firsts[new]]
    known[repeats[new]] = True
