"""The writer's progress, and the marks it leads to.

Here: pure functions from one batch's numbers to the next marks. Not here: reading or committing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.dedupe.decide import Decision, Verdict
from retail_lakehouse.dedupe.records import Longs, Records

ENGINE = "spark"


@dataclass(frozen=True, slots=True)
class Progress:
    """What the last marks of a topic's two tables say, for one topic id."""

    cluster_id: str
    topic_id: str
    until: dict[int, int]
    total: Counts
    quarantine_until: dict[int, int]
    quarantine_total: Counts
    previous_commit_ms: int | None = None

    @staticmethod
    def of_marks(
        cluster_id: str, topic_id: str, rows: Mark | None, quarantine: Mark | None
    ) -> "Progress":
        """Progress from the last marks; marks of another topic id say nothing of this one."""
        rows = rows if rows is not None and rows.topic_id == topic_id else None
        quarantine = (
            quarantine if quarantine is not None and quarantine.topic_id == topic_id else None
        )
        return Progress(
            cluster_id=cluster_id,
            topic_id=topic_id,
            until=dict(rows.until) if rows else {},
            total=rows.total if rows else Counts(),
            quarantine_until=dict(quarantine.until) if quarantine else {},
            quarantine_total=quarantine.total if quarantine else Counts(),
        )


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """What is known of a batch before its commits.

    `held` marks the records that an interrupted batch has quarantined already: they stay there
    whatever today's contract says, and are not `good` in `records`.
    """

    records: Records
    decision: Decision
    planned_end: dict[int, int]
    started_ms: int
    held: npt.NDArray[np.bool_]


def counts(facts: BatchFacts) -> Counts:
    """The batch's counts."""
    good = facts.records.good
    verdict = facts.decision.verdict
    landed = good & (verdict == Verdict.LANDS)
    duplicates = int(np.count_nonzero(good & (verdict == Verdict.DUPLICATE)))
    return Counts(
        read=len(facts.records),
        landed=int(np.count_nonzero(landed)),
        quarantined=len(facts.records) - int(np.count_nonzero(landed)) - duplicates,
        duplicates=duplicates,
        unsearched=int(np.count_nonzero(landed & facts.decision.unsearched)),
        with_extra=int(np.count_nonzero(landed & facts.records.with_extra)),
    )


def rows_mark(progress: Progress, facts: BatchFacts, event: EventContract, run_id: str) -> Mark:
    """The mark of the event table's commit."""
    until = _advanced(progress.until, facts.planned_end)
    landed = facts.records.good & (facts.decision.verdict == Verdict.LANDS)
    batch = counts(facts)
    records = facts.records
    newest = np.minimum(records.event_ms[landed], records.broker_ms[landed])
    return Mark(
        kind=MarkKind.STREAM,
        cluster_id=progress.cluster_id,
        topic=event.topic,
        topic_id=progress.topic_id,
        ranges=_ranges(progress.until, until),
        until=until,
        event_time=_time_range(records.event_ms[landed]),
        broker_time=_time_range(records.broker_ms),
        newest_ms=_time_range(newest).newest_ms,
        batch=batch,
        total=progress.total + batch,
        batch_started_ms=facts.started_ms,
        previous_commit_ms=progress.previous_commit_ms,
        contract_version=event.version,
        run_id=run_id,
        engine=ENGINE,
    )


def quarantine_mark(
    progress: Progress, facts: BatchFacts, quarantined: int, event: EventContract, run_id: str
) -> Mark:
    """The mark of the quarantine's commit; its counts are those of its own records only."""
    until = _advanced(progress.quarantine_until, facts.planned_end)
    batch = Counts(read=quarantined, quarantined=quarantined)
    mark = rows_mark(progress, facts, event, run_id)
    return replace(
        mark,
        ranges=_ranges(progress.quarantine_until, until),
        until=until,
        event_time=TimeRange(),
        newest_ms=None,
        batch=batch,
        total=progress.quarantine_total + batch,
    )


def declared_mark(progress: Progress, event: EventContract, run_id: str, started_ms: int) -> Mark:
    """The mark of a commit without rows that records progress as it is."""
    return Mark(
        kind=MarkKind.STREAM,
        cluster_id=progress.cluster_id,
        topic=event.topic,
        topic_id=progress.topic_id,
        ranges={},
        until=dict(progress.until),
        event_time=TimeRange(),
        broker_time=TimeRange(),
        batch=Counts(),
        total=progress.total,
        batch_started_ms=started_ms,
        previous_commit_ms=None,
        contract_version=event.version,
        run_id=run_id,
        engine=ENGINE,
    )


def declared_quarantine_mark(
    progress: Progress, event: EventContract, run_id: str, started_ms: int
) -> Mark:
    """`declared_mark` for the quarantine."""
    return replace(
        declared_mark(progress, event, run_id, started_ms),
        until=dict(progress.quarantine_until),
        total=progress.quarantine_total,
    )


def after_quarantine(progress: Progress, mark: Mark) -> Progress:
    """Progress once the quarantine's commit is in."""
    return replace(progress, quarantine_until=mark.until, quarantine_total=mark.total)


def after_rows(progress: Progress, mark: Mark, commit_ms: int) -> Progress:
    """Progress once the rows' commit is in."""
    return replace(progress, until=mark.until, total=mark.total, previous_commit_ms=commit_ms)


def _advanced(until: Mapping[int, int], planned: Mapping[int, int]) -> dict[int, int]:
    return {
        p: max(until.get(p, 0), planned.get(p, 0)) for p in sorted(until.keys() | planned.keys())
    }


def _ranges(before: Mapping[int, int], after: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    return {p: (before.get(p, 0), end) for p, end in after.items() if end > before.get(p, 0)}


def _time_range(times_ms: Longs) -> TimeRange:
    if not len(times_ms):
        return TimeRange()
    return TimeRange(int(times_ms.min()), int(times_ms.max()))
