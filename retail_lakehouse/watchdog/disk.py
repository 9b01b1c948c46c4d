"""Whether the disk fills up: two thresholds, and when it is full if it goes on like this.

Here: pure functions. Not here: the thresholds (settings and service levels), looking.
"""

from __future__ import annotations

from dataclasses import replace

from retail_lakehouse.alerts.incidents import Seen, incident_name
from retail_lakehouse.contracts.service_levels import CONTROL_PLANE, Measure
from retail_lakehouse.watchdog.looks import Disk, Limits, Look, Memory
from retail_lakehouse.watchdog.verdicts import span, verdict

ENOUGH_AGAIN = 1.1
"""So many times the threshold must be free before it is well again: a compaction takes some of it
and gives it back."""
TREND_SECONDS = 600.0
_SAMPLE_SECONDS = 60.0
_LEAST_TREND_SECONDS = 120.0
_MIB = 1024 * 1024


def judge_disk(memory: Memory, look: Look, limits: Limits) -> tuple[Memory, list[Seen]]:
    """The memory with the free space, and both verdicts; none where it could not be read."""
    disk = look.disk
    if disk is None:
        return memory, []
    memory = replace(memory, free=_sampled(memory.free, look.at_seconds, disk.free_bytes))
    left = full_in_seconds(memory.free, look.at_seconds, disk.free_bytes)
    thresholds = (
        (Measure.DISK_SPACE, limits.disk_warning_free_mb),
        (Measure.DISK_NEARLY_FULL, limits.disk_critical_free_mb),
    )
    return memory, [
        _judge(memory, look.at_ms, disk, measure, limit_mb, left)
        for measure, limit_mb in thresholds
    ]


def full_in_seconds(
    free: tuple[tuple[float, int], ...], at_seconds: float, free_bytes: int
) -> float | None:
    """When the disk is full at the rate of the last minutes; None while it does not fill."""
    if not free or at_seconds - free[0][0] < _LEAST_TREND_SECONDS:
        return None
    rate = (free[0][1] - free_bytes) / (at_seconds - free[0][0])
    return free_bytes / rate if rate > 0 else None


def _sampled(
    free: tuple[tuple[float, int], ...], at_seconds: float, free_bytes: int
) -> tuple[tuple[float, int], ...]:
    kept = tuple(sample for sample in free if at_seconds - sample[0] <= TREND_SECONDS)
    if kept and at_seconds - kept[-1][0] < _SAMPLE_SECONDS:
        return kept
    return (*kept, (at_seconds, free_bytes))


def _judge(
    memory: Memory, at_ms: int, disk: Disk, measure: Measure, limit_mb: float, left: float | None
) -> Seen:
    was_low = incident_name(CONTROL_PLANE, measure) in memory.failing
    needed_mb = limit_mb * (ENOUGH_AGAIN if was_low else 1.0)
    free_mb = disk.free_bytes / _MIB
    told = (
        f"{_size(disk.free_bytes)} of {_size(disk.total_bytes)} are free where the state folder "
        f"lies; the limit is {_size(round(limit_mb * _MIB))}."
    )
    if free_mb < needed_mb and left is not None:
        told += f" At the rate of the last minutes it is full in {span(left)}."
    return verdict(
        measure,
        passed=free_mb >= needed_mb,
        sentence=told,
        at_ms=at_ms,
        figures={"free_mb": round(free_mb)},
    )


def _size(count: int) -> str:
    mib = count / _MIB
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"
