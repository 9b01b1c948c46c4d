"""Rules of coordinates: which records of a batch are the ones that are known already."""

import numpy as np

from retail_lakehouse.dedupe.records import Records
from retail_lakehouse.streaming.coordinates import listed


def records(*arrivals: tuple[int, int, int]) -> Records:
    partition, offset, broker_ms = np.array(arrivals, np.int64).reshape(-1, 3).T
    nothing, good = np.zeros(len(arrivals), np.int64), np.ones(len(arrivals), np.bool_)
    return Records(partition, offset, broker_ms, *(nothing,) * 4, good=good, with_extra=~good)


def test_a_record_is_the_known_one_by_partition_offset_and_broker_time() -> None:
    batch = records((0, 95, 1000), (1, 95, 1000), (0, 96, 1000), (0, 97, 2000), (0, 98, 3000))
    known = frozenset({(0, 95, 1000), (0, 97, 1999), (1, 98, 3000), (0, 99, 3000)})
    assert listed(batch, known).tolist() == [True, False, False, False, False]


def test_nothing_is_known_where_nothing_waits() -> None:
    assert not listed(records((0, 1, 1)), frozenset()).any()
    assert not len(listed(records(), frozenset({(0, 1, 1)})))
