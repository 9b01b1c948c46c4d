"""What the benchmark of Dagster's history has measured, and its page.

Belongs here: the figures, what a day makes of an hour, words. Doesn't belong here: measuring
(`event_log.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retail_lakehouse.contracts.maintenance import WHOLE_EVERY_HOURS
from retail_lakehouse.history.prune import TICKS_KEPT

LIMIT_MB_A_DAY = 20.0
MEGABYTE = 1_000_000
HOURS_A_DAY = 24
WHOLE_A_DAY = HOURS_A_DAY // WHOLE_EVERY_HOURS
SNAPSHOTS = 225
"""Of each event table: 15 minutes of a trigger of 4 s."""
QUERY_TIMES = 5


@dataclass
class Result:
    """Everything that was measured; bytes are those in use, times in milliseconds."""

    machine: Mapping[str, Any]
    interval_seconds: Mapping[str, float]
    events_in_hour: dict[str, int] = field(default_factory=dict)
    event_log_bytes_in_hour: int = 0
    ticks_bytes_in_hour: int = 0
    run_bytes: int = 0
    """Of a maintenance run, in the event log and among the runs; one starts every hour."""
    whole_run_bytes: int = 0
    """Of one that maintains everything, every `WHOLE_EVERY_HOURS`."""
    tick_stored_ms: float = 0.0
    first_hour: dict[str, dict[str, float | int]] = field(default_factory=dict)
    first_day: dict[str, dict[str, float | int]] = field(default_factory=dict)
    month: dict[str, dict[str, float | int]] = field(default_factory=dict)
    first_day_queries: dict[str, float] = field(default_factory=dict)
    month_queries: dict[str, float] = field(default_factory=dict)
    first_day_pages: dict[str, float] = field(default_factory=dict)
    """The pages' own queries, asked of the real web server."""
    month_pages: dict[str, float] = field(default_factory=dict)
    history: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rows and bytes at each stage."""
    pruning_ms: list[float] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)
    """Verdicts that were reported as failed: of a healthy platform, none."""
    took_seconds: float = 0.0

    @property
    def mb_a_day(self) -> float:
        """What a day adds to the event log and to the runs."""
        events = self.event_log_bytes_in_hour * HOURS_A_DAY
        runs = self.run_bytes * (HOURS_A_DAY - WHOLE_A_DAY) + self.whole_run_bytes * WHOLE_A_DAY
        return (events + runs) / MEGABYTE

    @property
    def ticks_mb(self) -> float:
        """What the ticks take that are kept."""
        return self.ticks_bytes_in_hour * (TICKS_KEPT.total_seconds() / 3600) / MEGABYTE

    @property
    def held(self) -> bool:
        """Whether a day stays under the limit."""
        return 0 < self.mb_a_day < LIMIT_MB_A_DAY


def page(result: Result) -> str:
    """The result for people."""
    by_hour = result.event_log_bytes_in_hour * HOURS_A_DAY / MEGABYTE
    events = {kind: n * HOURS_A_DAY for kind, n in sorted(result.events_in_hour.items())}
    lines = [
        "# What Dagster's history grows by, and what a tick costs",
        "",
        "Made by `python -m benchmarks.event_log`: an hour of the real sensors at their real "
        "intervals under a driven clock, over a real Dagster instance in SQLite files and tables "
        f"with {SNAPSHOTS} marked snapshots; one commit stands for those of an interval. Kafka, "
        "the jobs and the warehouse are stood in for: what their networks take is not in a tick. "
        "A day is 24 of that hour; older history is copies of its rows. What Dagster's launcher "
        "adds to a run's events, and an incident's edges, are not in it.",
        "",
        f"**{result.mb_a_day:.1f} MB a day** (at most {LIMIT_MB_A_DAY:.0f}): {by_hour:.1f} MB "
        f"of events without a run ({', '.join(f'{n:,} {kind}' for kind, n in events.items())}) "
        f"and {HOURS_A_DAY} maintenance runs of {result.run_bytes / 1000:.0f} kB, {WHOLE_A_DAY} "
        f"of them of {result.whole_run_bytes / 1000:.0f} kB. Ticks are kept "
        f"for {TICKS_KEPT.total_seconds() / 3600:.0f} hours: {result.ticks_mb:.1f} MB, which do "
        "not grow.",
        "",
        "| history | events | event log MB | ticks MB |",
        "| --- | --- | --- | --- |",
    ]
    for stage, told in result.history.items():
        log_mb, ticks_mb = (told[name] / MEGABYTE for name in ("event_log_bytes", "ticks_bytes"))
        lines.append(f"| {stage} | {told['events']:,} | {log_mb:.1f} | {ticks_mb:.1f} |")
    lines += [
        "",
        "Milliseconds of a tick, evaluation and the storing of its events; storing the tick itself "
        f"takes {result.tick_stored_ms:.0f} more (median).",
        "",
        "| sensor | every | first hour: median, 95th percentile, most | first day | month |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, told_ms in result.first_hour.items():
        stages = (told_ms, result.first_day.get(name, {}), result.month.get(name, {}))
        every = f"{result.interval_seconds.get(name, 0):.0f} s"
        lines.append(f"| {name} | {every} | {' | '.join(_spread(each) for each in stages)} |")
    lines += [
        "",
        f"Milliseconds of what the pages ask of Dagster's storage, median of {QUERY_TIMES}.",
        "",
        "| page | first day | month |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {ms:.1f} | {result.month_queries.get(name, 0):.1f} |"
        for name, ms in result.first_day_queries.items()
    ]
    lines += [
        "",
        "Milliseconds of the pages' own GraphQL queries, asked of the platform's web server over "
        f"HTTP, median of {QUERY_TIMES} after a first one.",
        "",
        "| page | first day | month |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {ms:.1f} | {result.month_pages.get(name, 0):.1f} |"
        for name, ms in result.first_day_pages.items()
    ]
    pruned = ", ".join(f"{ms / 1000:.1f}" for ms in result.pruning_ms)
    failed = ", ".join(sorted(result.failing)) or "none"
    lines += [
        "",
        f"Pruning a whole day at once took ticks of {pruned} s; each hour has a 24th of it.",
        f"Verdicts that failed meanwhile: {failed}.",
        "",
        f"{dict(result.machine)}; the benchmark took {result.took_seconds / 60:.1f} minutes.",
        "",
    ]
    return "\n".join(lines)


def _spread(told: Mapping[str, float | int]) -> str:
    return ", ".join(f"{told.get(name, 0):.0f}" for name in ("median_ms", "p95_ms", "most_ms"))
