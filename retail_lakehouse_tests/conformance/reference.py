"""What must be in the tables, worked out one record at a time.

Here: the rule of uniqueness in its plainest form, over a dict. Not here: batches.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.judge import Bad, Good, judge
from retail_lakehouse.contracts.mark import Counts
from retail_lakehouse_tests.conformance.records import HOUR_MS, Record

Coordinates = tuple[int, int]


@dataclass
class Expected:
    """The tables after a stream: typed rows and reasons by (partition, offset), and the counts."""

    rows: dict[Coordinates, dict[str, object]] = field(default_factory=dict)
    extra: dict[Coordinates, str | None] = field(default_factory=dict)
    quarantine: dict[Coordinates, str] = field(default_factory=dict)
    duplicates: set[Coordinates] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)


def expected(records: Iterable[Record], contract: EventContract, horizon_hours: int) -> Expected:
    """The outcome of a stream whose copies share a partition, as the contract's key has it.

    Of copies in several partitions as many land as this says, but which ones follows arrival.
    """
    result = Expected()
    first: dict[tuple[str, int], tuple[str, str | None]] = {}
    unsearched = 0
    for record in records:
        at = record.partition, record.offset
        verdict = judge(record.value, record.timestamp_ms, contract)
        if isinstance(verdict, Bad):
            result.quarantine[at] = verdict.reason.value
            continue
        hour = _hour(verdict)
        key = str(verdict.values["event_id"]), hour
        content = verdict.canonical, verdict.extra
        searched = hour * HOUR_MS >= record.timestamp_ms - horizon_hours * HOUR_MS
        if searched and key in first:
            if first[key] == content:
                result.duplicates.add(at)
            else:
                result.quarantine[at] = "conflict"
            continue
        first.setdefault(key, content)
        unsearched += not searched
        result.rows[at] = verdict.values
        result.extra[at] = verdict.extra
    result.counts = Counts(
        read=len(result.rows) + len(result.quarantine) + len(result.duplicates),
        landed=len(result.rows),
        quarantined=len(result.quarantine),
        duplicates=len(result.duplicates),
        unsearched=unsearched,
        with_extra=sum(extra is not None for extra in result.extra.values()),
    )
    return result


def _hour(good: Good) -> int:
    event_ms = good.values["event_timestamp"]
    assert isinstance(event_ms, int)
    return event_ms // HOUR_MS
