"""Whether a table's marks follow one another: a gap between two is records that are lost.

Here: a pure function over the chain of marked snapshots. Not here: reading them (`marks.py`), what
a break leads to (`warehouse/holds.py`), or what a job does about a loss it finds when it starts
(`streaming/startup.py`): one that a person has accepted is a mark of its own, and no break.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.mark import Mark, MarkKind

if TYPE_CHECKING:
    from retail_lakehouse.tables.marks import MarkedSnapshot


@dataclass(frozen=True, slots=True)
class Covered:
    """Up to where marks cover a topic: the first offset of each partition that they do not."""

    topic_id: str
    until: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Break:
    """A commit whose mark does not go on where the one before it ended."""

    snapshot_id: int
    sentence: str


def follow(
    chain: "Iterable[MarkedSnapshot]", before: Covered | None, *, from_the_first: bool
) -> tuple[list[Break], Covered | None]:
    """The breaks in a chain of snapshots, oldest first, and what its last mark covers.

    `before` is what the marks before the chain cover. Without it, and unless the chain begins with
    the table's first snapshot (`from_the_first`), its first mark is where counting begins.
    """
    covered = Covered("", {}) if before is None and from_the_first else before
    found = []
    for snapshot in chain:
        mark = snapshot.mark
        if mark is None:
            continue
        if covered is not None:
            told = _told(mark, covered.until if covered.topic_id == mark.topic_id else {}, covered)
            if told:
                found.append(Break(snapshot.snapshot_id, f"{mark.topic}: {'; '.join(told)}."))
        covered = Covered(mark.topic_id, dict(mark.until))
    return found, covered


def _told(mark: Mark, until: Mapping[int, int], before: Covered) -> list[str]:
    """What does not fit, in words. A partition that was never read is owed from its first offset.

    A stream's mark without a range is a person's word that `until` stands there now.
    """
    if not mark.ranges:
        is_told_by_a_person = mark.kind is MarkKind.STREAM
        # History may be backfilled before the stream's first batch, when nothing is covered yet.
        is_of_nothing = not before.until and not mark.until
        if is_told_by_a_person or is_of_nothing or Covered(mark.topic_id, mark.until) == before:
            return []
        return [f"a {mark.kind.value} has moved the offsets from {dict(until)} to {mark.until}"]
    told = []
    for partition in sorted(mark.until.keys() | mark.ranges.keys() | until.keys()):
        owed = until.get(partition, 0)
        begin, end = mark.ranges.get(partition, (owed, owed))
        place = f"of partition {partition}"
        if begin > owed:
            told.append(
                f"offsets {owed} to {begin - 1} {place} are in no commit "
                f"({begin - owed} records at the most)"
            )
        elif begin < owed:
            told.append(f"offsets {begin} to {min(owed, end) - 1} {place} are in two commits")
        if mark.until.get(partition, 0) != end:
            told.append(
                f"the commit ends at offset {end} {place}, and says that it covers up to "
                f"{mark.until.get(partition, 0)}"
            )
    return told
