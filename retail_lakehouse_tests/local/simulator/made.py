"""Batches for tests: what the simulator makes at a fixed instant, without Kafka.

Here: makers and a fake broker that gives out offsets. Not here: tests.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.local.ledger import Ledger
from retail_lakehouse.local.ledger_state import LedgerTopic
from retail_lakehouse.local.simulator.disturbance import Batch, Disturbance
from retail_lakehouse.local.simulator.options import Shares
from retail_lakehouse.local.simulator.run import BatchMaker

NOW_MS = 1_795_000_000_000
FAULTS = Shares(malformed=0.05, late=0.05, duplicate=0.05, conflict_of_malformed=0.2)
PARTITIONS = 3


def maker(
    shares: Shares = FAULTS,
    ledger_id: str = "abcdef01",
    seed: int = 7,
    disturbance: Disturbance | None = None,
) -> BatchMaker:
    """A maker of batches with a disturbance of its own unless one is given."""
    return BatchMaker(seed, ledger_id, disturbance or Disturbance(shares, dedupe_horizon_hours=24))


def topics() -> list[LedgerTopic]:
    """The topics as a new broker would have them."""
    return [
        LedgerTopic(topic.name, f"id-of-{topic.event}", dict.fromkeys(range(PARTITIONS), 0))
        for topic in TOPICS
    ]


def new_ledger(folder: Path) -> Ledger:
    """A ledger that has begun for `topics()`."""
    ledger = Ledger(folder)
    ledger.begin("cluster", topics())
    return ledger


@dataclass
class FakeTopics:
    """Gives each record its partition by key, and the partition's next offset."""

    records: list[tuple[int, int, int, bytes | None]] = field(default_factory=list)
    """Topic, partition, offset, body."""
    ends: dict[tuple[int, int], int] = field(default_factory=dict)

    def append(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Appends the batch; returns partitions and offsets."""
        partitions, offsets = [], []
        for topic, key, body in zip(
            batch.rows["topic"].tolist(), batch.keys, batch.bodies, strict=True
        ):
            partition = zlib.crc32(key) % PARTITIONS
            offset = self.ends.get((topic, partition), 0)
            self.ends[topic, partition] = offset + 1
            self.records.append((topic, partition, offset, body))
            partitions.append(partition)
            offsets.append(offset)
        return np.array(partitions), np.array(offsets)

    def by_topic(self) -> dict[str, dict[int, int]]:
        """End offsets by topic name and partition."""
        return {
            topic.name: {p: self.ends.get((i, p), 0) for p in range(PARTITIONS)}
            for i, topic in enumerate(TOPICS)
        }
