"""The mark: what each commit says of itself in the snapshot summary.

Here: the mark's fields and how they are written into, and read from, a summary. Not here: reading
snapshots (`retail_lakehouse.tables.marks`) or committing them (the engines).

A mark and its rows are one atomic commit, so the marks are the only channel between a writer and
everything else: the control plane, lag figures, views, parity and fault tests all read them.
`until` and the totals are cumulative: only the last mark must survive expiry.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

SUMMARY_KEY = "retail-lakehouse.mark"
MARK_VERSION = 2
"""1 wrote every `until`; 2 leaves out those that are the end of their range."""


class MarkKind(StrEnum):
    """What sort of commit carries the mark."""

    STREAM = "stream"
    BACKFILL = "backfill"
    """Rows without offsets; `until` and totals are carried over unchanged."""
    REPLAY = "replay"
    """Quarantined records judged again; `until` is carried over unchanged."""
    ERASURE = "erasure"
    """No rows; everything is carried over. The snapshot of the mark before still names files that
    hold what was erased, and the last mark's snapshot never expires."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of records. `read` = landed + quarantined + duplicates, always."""

    read: int = 0
    landed: int = 0
    quarantined: int = 0
    duplicates: int = 0
    unsearched: int = 0
    """Of the landed: past the dedupe horizon, so landed without a search for duplicates.

    At most this many duplicates have landed past the horizon; how many are copies, none can say.
    """
    with_extra: int = 0
    """Of the landed: with unknown fields, kept in `extra`."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{k: v + getattr(other, k) for k, v in asdict(self).items()})


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Oldest and newest of a batch, epoch milliseconds; None when the batch had none."""

    oldest_ms: int | None = None
    newest_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """One commit's mark.

    `ranges` maps each partition that the commit advanced to its (from, to) offsets, `to`
    exclusive; they begin where the table's previous mark ended, so marks are contiguous.
    `until` maps every partition ever read to the first offset that is not covered yet; it has an
    entry for each partition of `ranges`.
    `event_time` is that of the landed rows, `broker_time` that of all records read.

    A quarantine has no commit for a batch without a bad record. So its mark's `ranges` reach back
    to its own commit before, over all the batches since; `broker_time` is that of the last batch,
    good records included; `batch` and `total` count what went to quarantine, and nothing else.
    A mark without ranges moves no offset, or says that a person has accepted a loss: then `until`
    stands where Kafka can go on from.
    """

    kind: MarkKind
    cluster_id: str
    topic: str
    topic_id: str
    ranges: dict[int, tuple[int, int]]
    until: dict[int, int]
    event_time: TimeRange
    broker_time: TimeRange
    batch: Counts
    total: Counts
    """Since the topic id began, this commit included."""
    batch_started_ms: int
    previous_commit_ms: int | None
    """How long the writer's commit before this one took; None for its first."""
    contract_version: int
    run_id: str
    engine: str
    newest_ms: int | None = None
    """The newest `least(event time, broker time)` of the landed rows, epoch milliseconds.

    The two ranges cannot give it: the newest of either may be of other rows. None where no row
    landed, and in marks from before it was written.
    """
    version: int = field(default=MARK_VERSION)

    def to_summary(self) -> dict[str, str]:
        """Snapshot properties that carry the mark: one key, compact JSON.

        Every retained snapshot's summary stands in the table's metadata file, which each commit
        writes anew: an `until` that is the end of its range, a count of 0, and a newest row where
        none landed, go without saying.
        """
        document = asdict(self) | {"version": MARK_VERSION}
        ends = {partition: end for partition, (_, end) in self.ranges.items()}
        document["until"] = {p: end for p, end in self.until.items() if ends.get(p) != end}
        for name in ("batch", "total"):
            document[name] = {key: number for key, number in document[name].items() if number}
        if self.newest_ms is None:
            del document["newest_ms"]
        return {SUMMARY_KEY: json.dumps(document, separators=(",", ":"), sort_keys=True)}

    @staticmethod
    def from_summary(summary: Mapping[str, str]) -> "Mark | None":
        """The mark in a snapshot summary, or None when the commit carries none.

        Raises:
            MarkError: the summary has a mark that cannot be read.
        """
        text = summary.get(SUMMARY_KEY)
        if text is None:
            return None
        try:
            raw = json.loads(text)
            if raw["version"] <= MARK_VERSION:
                return _read(raw)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise MarkError(
                f"A commit's mark cannot be read ({error!r}): the snapshot summary was written by "
                "another program or is damaged. Compare it with the commit before it."
            ) from error
        raise MarkError(
            f"A commit carries a mark of version {raw['version']}, newer than this program's "
            f"{MARK_VERSION}: update the program before it touches the table."
        )

    def carried(
        self,
        kind: MarkKind,
        run_id: str,
        batch_started_ms: int,
        *,
        engine: str,
        contract_version: int,
    ) -> "Mark":
        """The mark of a commit that adds rows but moves no offset (backfill, replay).

        The offsets and totals are those of the mark before; who writes now, and by which contract,
        is the caller's to say.
        """
        return replace(
            self,
            kind=kind,
            ranges={},
            batch=Counts(),
            event_time=TimeRange(),
            broker_time=TimeRange(),
            newest_ms=None,
            batch_started_ms=batch_started_ms,
            previous_commit_ms=None,
            contract_version=contract_version,
            run_id=run_id,
            engine=engine,
        )


class MarkError(ValueError):
    """A mark that cannot be read."""


def _read(raw: dict[str, Any]) -> Mark:
    ranges = {int(p): (int(start), int(end)) for p, (start, end) in raw["ranges"].items()}
    until = {int(p): int(offset) for p, offset in raw["until"].items()}
    return Mark(
        kind=MarkKind(raw["kind"]),
        cluster_id=str(raw["cluster_id"]),
        topic=str(raw["topic"]),
        topic_id=str(raw["topic_id"]),
        ranges=ranges,
        until={partition: end for partition, (_, end) in ranges.items()} | until,
        event_time=_time_range(raw["event_time"]),
        broker_time=_time_range(raw["broker_time"]),
        batch=_counts(raw["batch"]),
        total=_counts(raw["total"]),
        batch_started_ms=int(raw["batch_started_ms"]),
        previous_commit_ms=_optional(raw["previous_commit_ms"]),
        contract_version=int(raw["contract_version"]),
        run_id=str(raw["run_id"]),
        engine=str(raw["engine"]),
        newest_ms=_optional(raw.get("newest_ms")),
        version=int(raw["version"]),
    )


def _counts(raw: dict[str, Any]) -> Counts:
    return Counts(**{name: int(number) for name, number in raw.items()})


def _time_range(raw: dict[str, Any]) -> TimeRange:
    return TimeRange(**{name: _optional(number) for name, number in raw.items()})


def _optional(number: Any) -> int | None:
    return None if number is None else int(number)
