"""No false alarm over 14 days of opening and closing stores and two switches of summer time.

    python -m benchmarks.fourteen_days [--days 14] [--out FOLDER] [--state-dir FOLDER]

Drives the sensors, the checks and the alerts with their outbox under a clock, at a step of ten
minutes, over a real Dagster instance and tables whose marks are real commits: once with the stores
where the reference data has them, once with them moved to Berlin and New York. Then injects three
faults, each of which must be told by its own checks and by no other. Two processes; about 20
minutes. Written: `results/fourteen_days.md` and `.json`. Exits 1 if an alarm was false or missing.

Belongs here: which days, what must come of them, the page. Doesn't belong here: how they are driven
(`driven_days.py`).
"""

import argparse
import json
import logging
import multiprocessing
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.driven_days import (
    FAULTY,
    RECORDS_A_MINUTE,
    STEP_SECONDS,
    SWITCHING_ZONES,
    Fault,
    Outcome,
    Plan,
    drive,
)
from benchmarks.stack_samples import machine
from retail_lakehouse.alerts.incidents import incident_name
from retail_lakehouse.assets.keys import job_key, table_key, view_key
from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS

START = datetime(2026, 10, 20, tzinfo=UTC)
"""Berlin leaves summer time on the 25th of October, New York on the 1st of November."""
FAULT_START = datetime(2026, 10, 27, 12, tzinfo=UTC)
"""Afternoon in Berlin, morning in New York: stores are open in both."""
HEALTHY_STEPS = 13
"""Before a fault; at the last of them checks send their heartbeat, as at every third."""
RESULTS = Path(__file__).with_name("results")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A plan, and the names of the incidents that must come of it, and no others."""

    plan: Plan
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a plan, beside what must."""

    outcome: Outcome
    wanted: frozenset[str]

    @property
    def missing(self) -> list[str]:
        """Incidents that were not told."""
        return sorted(self.wanted - self.outcome.opened)

    @property
    def false(self) -> list[str]:
        """Incidents that were told, and are none."""
        return sorted(self.outcome.opened - self.wanted)

    @property
    def held(self) -> bool:
        """Whether what was told is what must be."""
        return not self.missing and not self.false


def wanted(days: float) -> list[Wanted]:
    """The days without a fault, and the control experiments, the longest first."""
    steps = round(days * 86_400 / STEP_SECONDS)
    table, job = table_key(event_table(FAULTY)), job_key(FAULTY)

    def name(path: Sequence[str], measure: Measure) -> str:
        return incident_name("/".join(path), measure.value)

    def broken(told: str, fault: Fault, after: int, names: set[str]) -> Wanted:
        plan = Plan(told, FAULT_START, HEALTHY_STEPS + after, SWITCHING_ZONES, fault, after)
        return Wanted(plan, frozenset(names))

    views = {name(view_key(view).path, Measure.SERVING_LAG) for view in MATERIALIZED_VIEWS}
    return [
        Wanted(Plan("stores in Berlin and New York", START, steps, SWITCHING_ZONES), frozenset()),
        Wanted(Plan("stores where they are", START, steps), frozenset()),
        broken(
            "producers of one topic fall silent at noon",
            Fault.SILENCE,
            5,
            {name(table.path, Measure.EVENTS_ARRIVE)},
        ),
        broken(
            "one job stalls at noon",
            Fault.STALL,
            5,
            {
                name(table.path, Measure.INGEST_LAG),
                name(job.path, Measure.STREAMING_JOB_HEALTHY),
            },
        ),
        broken("views are refreshed no more", Fault.NO_REFRESH, 2, views),
    ]


def page(rows: Sequence[Row], machine_told: Mapping[str, Any]) -> str:
    """The result for people."""
    quiet = [row for row in rows if row.outcome.fault is None]
    controls = [row for row in rows if row.outcome.fault is not None]
    false = sum(len(row.outcome.alerts) for row in quiet)
    lines = [
        "# No false alarm over days of opening and closing stores",
        "",
        "Made by `python -m benchmarks.fourteen_days`. Time is compressed: a clock is driven at a "
        f"step of {STEP_SECONDS} s; each step lands a batch of every topic that was sent something "
        "as a real commit, then ticks `refresh_due_views`, `watch_stream` and, twice, "
        "`send_alerts`; every hour `report_snapshots` and `prune_history`. Real are the sensors, "
        "the checks, the alerts with their outbox and an HTTP receiver, Dagster's instance in "
        "SQLite files and the tables' marks; Kafka, the jobs and the warehouse are stood in for. "
        f"Each topic gets {RECORDS_A_MINUTE:g} records a minute while every store is open, by "
        "share otherwise. No zone of the reference data has summer time, so one run moves the "
        "stores on the map to zones that have. What a real daemon does in a real hour is another "
        "benchmark's figure, not this one's.",
        "",
        f"**False alarms: {false}.**",
        "",
        "| days | stores open and close | clock moved | records | commits | verdicts stored | "
        "of them failed | hours compared with a former week | alerts | took |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in quiet:
        each = row.outcome
        moved = "; ".join(f"{zone} {', '.join(at)}" for zone, at in each.switches.items() if at)
        lines.append(
            f"| {each.hours / 24:g} from {each.begins}: {each.name} | {each.openings} and "
            f"{each.closings} times | {moved or 'never'} | {sum(each.records.values()):,} | "
            f"{each.commits:,} | {each.reported.get('AssetCheckEvaluation', 0):,} | "
            f"{sum(each.failing.values())} | {sum(each.hours_compared.values())} | "
            f"{len(each.alerts)} | {each.took_seconds / 60:.1f} min |"
        )
    lines += [
        "",
        "Control experiments: the same traffic, and a fault that must be told. Times are from the "
        "last healthy step, so that a step is in each of them.",
        "",
        "| fault | must be told | told after | missing | false |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in controls:
        after = row.outcome.told_after_seconds
        lines.append(
            f"| {row.outcome.name} | {', '.join(sorted(row.wanted))} | "
            f"{'never' if after is None else f'{after:.0f} s'} | "
            f"{', '.join(row.missing) or 'none'} | {', '.join(row.false) or 'none'} |"
        )
    told = [alert for row in quiet for alert in row.outcome.alerts]
    if told:
        lines += ["", "What was told and is false:", ""]
        lines += [f"- {alert.kind} {alert.name}: {alert.sentence}" for alert in told]
    lines += ["", f"{dict(machine_told)}", ""]
    return "\n".join(lines)


def main() -> int:
    """Drives it all; the exit code says whether every alarm was true and none was missing."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    folder = Path(options.state_dir or tempfile.mkdtemp(prefix="retail-lakehouse-days-"))
    try:
        rows = run(wanted(options.days), folder)
    finally:
        if not options.state_dir:
            shutil.rmtree(folder, ignore_errors=True)
    told = machine()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": told,
        "step_seconds": STEP_SECONDS,
        "rows": [
            {**asdict(row.outcome), "wanted": sorted(row.wanted), "held": row.held} for row in rows
        ],
    }
    (out / "fourteen_days.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    text = page(rows, told)
    (out / "fourteen_days.md").write_text(text, "utf-8")
    sys.stdout.write(text)
    return 0 if all(row.held for row in rows) else 1


def run(plans: Sequence[Wanted], folder: Path) -> list[Row]:
    """Drives each plan in a process of its own, two at a time."""
    context = multiprocessing.get_context("spawn")
    # One plan a process: what it patches, and what it remembers, ends with it.
    with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as processes:
        started = [
            processes.submit(drive, each.plan, folder / str(number))
            for number, each in enumerate(plans)
        ]
        rows = []
        for each, done in zip(plans, started, strict=True):
            rows.append(Row(done.result(), each.names))
            logger.warning("%s: %s", each.plan.name, "held" if rows[-1].held else "did not hold")
        return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--days", type=float, default=14.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--state-dir", help="a fresh folder that is kept; a temporary one if not")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
