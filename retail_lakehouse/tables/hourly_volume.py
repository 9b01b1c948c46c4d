"""How many records of a topic arrived in each hour, for weeks: longer than marks are kept.

Here: counting by the marks' cumulative totals, and the file of hours that are over. Not here: the
verdict on an hour (`checks/arrival_judges.py`). Nothing is read but marks that are loaded already.

An hour is that of the broker's clock, so a job that catches up fills the hours it had missed. A
batch counts to the hour of its newest record; one that is long against an hour to none. An hour of
which a part was not seen counts as unknown, not as few: of the time before the first look, of a
pause of the platform, of marks that had expired.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from retail_lakehouse.contracts.mark import Mark

HOUR_MS = 3_600_000
WEEK_HOURS = 7 * 24
WEEKS_KEPT = 5
PAUSE_MS = 600_000
"""Nobody looked for longer: what came meanwhile says nothing of an hour."""
LONG_BATCH_MS = 600_000


@dataclass(frozen=True, slots=True)
class Counting:
    """Where counting stands: the hour that is open, by its number since the epoch.

    `base` is the total read before the open hour began; None where that was not seen. `total` is
    what was read up to the last mark that was counted; `seen_ms` is when that was (epoch ms).
    """

    topic_id: str
    hour: int
    base: int | None
    total: int
    seen_ms: int

    def to_json(self) -> dict[str, Any]:
        """For a sensor's cursor."""
        return asdict(self)

    @staticmethod
    def from_json(raw: Mapping[str, Any] | None) -> "Counting | None":
        """What `to_json` gave."""
        return None if raw is None else Counting(**raw)


@dataclass(slots=True)
class Hours:
    """Records by the number of the hour, of hours that are over and were seen whole."""

    records: dict[int, int] = field(default_factory=dict)

    def former_weeks(self, hour: int) -> dict[int, int]:
        """The same hour of the weeks before, as far as it is known."""
        former = (hour - weeks * WEEK_HOURS for weeks in range(1, WEEKS_KEPT))
        return {each: self.records[each] for each in former if each in self.records}


def counted(
    counting: Counting | None, marks: Iterable[Mark], at_ms: int, *, all_has_landed: bool
) -> tuple[Counting | None, dict[int, int]]:
    """Counts marks of one topic id, oldest first; returns the hours that are over by now.

    Marks that were counted before are left out. `all_has_landed`: nothing waited at `at_ms`, so
    that hours before it are over even if nothing came.
    """
    over: dict[int, int] = {}
    if counting is not None and at_ms - counting.seen_ms > PAUSE_MS:
        counting = replace(counting, hour=at_ms // HOUR_MS, base=None)
    for mark in marks:
        times, read = mark.broker_time, mark.total.read
        if times.newest_ms is None or times.oldest_ms is None or not mark.batch.read:
            continue
        hour, before = times.newest_ms // HOUR_MS, read - mark.batch.read
        is_long = times.newest_ms - times.oldest_ms > LONG_BATCH_MS
        is_other = counting is None or counting.topic_id != mark.topic_id
        if counting is None or is_other or before > counting.total:
            # Marks between were never seen: they may be of either hour.
            counting = Counting(mark.topic_id, hour, None, read, at_ms)
        elif read > counting.total:
            if is_long:
                counting = replace(counting, hour=max(hour, counting.hour), base=None)
            elif hour > counting.hour:
                counting = _closed(counting, hour, over)
            counting = replace(counting, total=read)
    now = at_ms // HOUR_MS
    if counting is not None and all_has_landed and now > counting.hour:
        counting = _closed(counting, now, over)
    return counting and replace(counting, seen_ms=at_ms), over


def _closed(counting: Counting, hour: int, over: dict[int, int]) -> Counting:
    if counting.base is not None:
        over[counting.hour] = counting.total - counting.base
    # Had anything come in the hours between, a mark would have said so.
    first_kept = max(counting.hour + 1, hour - WEEKS_KEPT * WEEK_HOURS)
    over.update(dict.fromkeys(range(first_kept, hour), 0))
    return replace(counting, hour=hour, base=counting.total)


def hours_file(root: Path) -> Path:
    """Where the hours of a state folder stand."""
    return root / "run" / "hourly_volume.json"


def read_hours(root: Path) -> dict[str, Hours]:
    """The hours that are over, by event; none where the file is missing or damaged."""
    try:
        told = json.loads(hours_file(root).read_text(encoding="utf-8"))
        return {
            str(event): Hours({int(hour): int(count) for hour, count in hours.items()})
            for event, hours in told.items()
        }
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def add_hours(root: Path, new: Mapping[str, Mapping[int, int]]) -> None:
    """Adds hours that are over, and drops those that nothing is compared with any more.

    Raises:
        OSError: the file cannot be written.
    """
    told = read_hours(root)
    for event, hours in new.items():
        known = told.setdefault(event, Hours()).records
        known.update(hours)
        oldest = max(known) - WEEKS_KEPT * WEEK_HOURS
        told[event] = Hours({hour: count for hour, count in known.items() if hour >= oldest})
    path = hours_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({event: each.records for event, each in told.items()}), "utf-8")
    os.replace(beside, path)
