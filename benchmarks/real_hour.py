"""One hour of the real daemon: no false alarm, what ticks cost; then a gap that holds the views.

    python -m benchmarks.real_hour [--minutes 60]

Starts the platform on a fresh state folder and free ports with the limits of the service levels and
a real HTTP receiver as its notifier, and leaves it alone for the hour. Then a commit is made that
skips offsets, as a job that lost records would: the views over the table must stand still, one
alert open, and the views move again once they are released. Written:
`benchmarks/results/real_hour.json` and `.md`. Exits 1 if an alarm was false, or a view did not
stand still or did not move.

Belongs here: the order of things and what is noted. Doesn't belong here: what is told of other
causes (`injected_causes.py`), days under a driven clock (`fourteen_days.py`).
"""

import argparse
import json
import logging
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import dagster as dg

from benchmarks.alert_inbox import Inbox
from benchmarks.event_log_page import MEGABYTE
from benchmarks.grown_history import used_bytes
from benchmarks.injected_causes import _routes, alerts_lost, wait_for
from benchmarks.long_run import _call, _environment
from benchmarks.platform_under_test import Platform, folder
from benchmarks.results_by_name import cell, write_results
from benchmarks.stack_samples import machine
from retail_lakehouse.alerts.incidents import Kind
from retail_lakehouse.commands.termination import exit_on_termination
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.mark import Counts, Mark
from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.local.dagster_instance import dagster_home, event_log_file
from retail_lakehouse.tables.append import append_marked
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.marks import last_mark
from retail_lakehouse.warehouse.refresh_record import read_records
from retail_lakehouse_tests.alerts.build import receiver

if TYPE_CHECKING:
    import pyarrow as pa

RESULTS = Path(__file__).with_name("results") / "real_hour.json"
TABLE = event_table(INVENTORY)
SKIPPED_RECORDS = 100
SETTLE_SECONDS = 180.0
"""From live to the hour: a start's own alerts, of a cold first batch, are over by then."""
STANDS_STILL_SECONDS = 120.0
PATIENCE_SECONDS = 300.0
logger = logging.getLogger(__name__)


@dataclass
class Gap:
    """What came of the commit that skipped offsets; seconds from it, None where it did not come."""

    alert_after_seconds: float | None = None
    alert: str = ""
    held: str = ""
    """What the list of views says of it."""
    stood_still_seconds: float = 0.0
    """For so long, seen without a move, the views' base snapshot was the one before the gap."""
    moved_while_held: bool = False
    released: str = ""
    moved_after_release_seconds: float | None = None
    recovered_after_seconds: float | None = None
    alerts_opened: list[str] = field(default_factory=list)

    @property
    def held_up(self) -> bool:
        """Whether all of it came as it is promised."""
        return (
            self.alert_after_seconds is not None
            and not self.moved_while_held
            and self.moved_after_release_seconds is not None
        )


@dataclass
class Result:
    """Everything that was measured."""

    machine: Mapping[str, Any]
    minutes: float
    told_before: list[str] = field(default_factory=list)
    """Between the start and the hour: no false alarm of the hour's, and told all the same."""
    false_alarms: list[str] = field(default_factory=list)
    alerts_lost: int | None = None
    event_log_mb_in_the_time: float = 0.0
    ticks: dict[str, dict[str, float | int]] = field(default_factory=dict)
    """By sensor or schedule: ticks, those that failed, seconds from begin to end."""
    gap: Gap = field(default_factory=Gap)

    @property
    def held(self) -> bool:
        """Whether nothing false was told and the gap held what it has to hold."""
        return not self.false_alarms and self.alerts_lost == 0 and self.gap.held_up


def main() -> int:
    """Measures, and writes the results."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    result = Result(machine(), options.minutes)
    with exit_on_termination(), folder(None) as place, receiver() as end:
        platform = Platform(place / "state", _environment() | _routes(place, end), end)
        inbox = Inbox(end)
        try:
            platform.start()
            _calm_hour(result, platform, inbox)
            _gap(result.gap, platform, inbox)
        finally:
            left = platform.stop()
            if left:
                logger.error("Left behind: %s.", ", ".join(left))
    write_results(RESULTS, asdict(result), page(result))
    sys.stdout.write(page(result))
    return 0 if result.held else 1


def _calm_hour(result: Result, platform: Platform, inbox: Inbox) -> None:
    """Leaves the platform alone, and notes what was told and what the ticks took."""
    time.sleep(SETTLE_SECONDS)
    result.told_before = [f"{told.kind.value} {told.name}" for told in inbox.read()]
    logger.info("Before the hour was told: %s.", result.told_before or "nothing")
    home = dagster_home(platform.state)
    before, begun = used_bytes(event_log_file(home)), time.time()
    time.sleep(result.minutes * 60)
    told = inbox.read()[len(result.told_before) :]
    result.false_alarms = [f"{each.kind.value} {each.name}: {each.sentence}" for each in told]
    result.alerts_lost = alerts_lost(platform.alerts(), inbox)
    grown = used_bytes(event_log_file(home)) - before
    result.event_log_mb_in_the_time = round(grown / MEGABYTE, 2)
    result.ticks = _ticks(home, begun)
    logger.info("%s", json.dumps(asdict(result)))


def _ticks(home: Path, since: float) -> dict[str, dict[str, float | int]]:
    found: dict[str, dict[str, float | int]] = {}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for state in instance.all_instigator_state():
            ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since)
            ended = [tick for tick in ticks if tick.tick_data.end_timestamp is not None]
            took = sorted((tick.tick_data.end_timestamp or 0) - tick.timestamp for tick in ended)
            if took:
                found[state.instigator_name] = {
                    "ticks": len(took),
                    "failed": sum(tick.is_failure for tick in ended),
                    "median_ms": round(median(took) * 1000),
                    "p95_ms": round(took[min(len(took) - 1, int(len(took) * 0.95))] * 1000),
                    "most_ms": round(took[-1] * 1000),
                }
    return dict(sorted(found.items()))


def _gap(gap: Gap, platform: Platform, inbox: Inbox) -> None:
    """Skips offsets in one commit, and watches the views over the table."""
    before = len(inbox.read())
    begun = _skip_offsets(platform)
    is_named = Measure.OFFSETS_CONTIGUOUS.value
    opened = wait_for(
        lambda: next((t for t in inbox.read()[before:] if t.check == is_named), None),
        PATIENCE_SECONDS,
    )
    if opened is None:
        return
    gap.alert_after_seconds, gap.alert = round(opened.at - begun, 1), opened.sentence
    # From when it is held: a refresh that was under way may still have moved it.
    shown, still_since = _shown(platform), time.monotonic()
    while time.monotonic() - still_since < STANDS_STILL_SECONDS:
        gap.moved_while_held |= _shown(platform) != shown
        time.sleep(1)
    gap.stood_still_seconds = round(time.monotonic() - still_since, 1)
    listed = _call(["views", "list"], platform.state, platform.environment).stdout
    gap.held = next((line.strip() for line in listed.splitlines() if "eld since" in line), "")
    released = _call(["views", "release", TABLE.name], platform.state, platform.environment)
    gap.released, at = " ".join(released.stdout.split()), time.monotonic()
    moved = wait_for(lambda: _shown(platform) != shown, PATIENCE_SECONDS)
    if moved:
        gap.moved_after_release_seconds = round(time.monotonic() - at, 1)
    over = wait_for(
        lambda: next(
            (t for t in inbox.read() if t.kind is Kind.RECOVERED and t.check == is_named), None
        ),
        PATIENCE_SECONDS,
    )
    gap.recovered_after_seconds = None if over is None else round(over.at - begun, 1)
    opened_since = [t for t in inbox.read() if t.kind is Kind.OPENED and t.at >= begun]
    gap.alerts_opened = sorted({told.name for told in opened_since})


def _shown(platform: Platform) -> dict[str, int | None]:
    """By view over the table, the table's snapshot that it shows."""
    records = read_records(platform.state)
    return {
        view.name: records[view.name].base_snapshots.get(TABLE.name)
        for view in MATERIALIZED_VIEWS
        if TABLE.name in view.source_tables and view.name in records
    }


def _skip_offsets(platform: Platform) -> float:
    """One commit in the job's place, a hundred records past where the last one ended.

    Returns:
        When it was made. What the stop of the job opens before is no alert of the gap's.
    """
    settings = platform.settings
    platform.ask("stop", INVENTORY.name)
    table = open_catalog(settings).load_table(TABLE.identifier)
    mark = last_mark(table)
    if mark is None:
        raise RuntimeError(f"{TABLE.qualified_name} has no mark: its job has never committed.")
    # By then the topic has more records than are skipped: the job must find where to go on.
    time.sleep(60)
    rows = _one_row(table.scan(limit=1).to_arrow(), mark)
    append_marked(table, rows, _skipping(mark))
    made = time.monotonic()
    platform.ask("start", INVENTORY.name)
    return made


def _skipping(mark: Mark) -> Mark:
    start = mark.until[0] + SKIPPED_RECORDS
    batch = Counts(read=1, landed=1)
    return replace(
        mark,
        ranges={0: (start, start + 1)},
        until=mark.until | {0: start + 1},
        batch=batch,
        total=mark.total + batch,
        run_id="a-job-that-lost-records",
    )


def _one_row(like: "pa.Table", mark: Mark) -> "pa.Table":
    import pyarrow as pa

    own = {
        "event_id": str(uuid.uuid4()),
        "kafka_partition": 0,
        "kafka_offset": mark.until[0] + SKIPPED_RECORDS,
    }
    for name, value in own.items():
        place = like.schema.get_field_index(name)
        like = like.set_column(
            place, like.schema.field(name), pa.array([value], like.schema.types[place])
        )
    return like


def page(result: Result) -> str:
    """The result for people."""
    gap = result.gap
    false = "; ".join(result.false_alarms) or "none"
    lines = [
        "# One hour of the real daemon, and a gap",
        "",
        f"Made by `python -m benchmarks.real_hour`: the whole platform, left alone for "
        f"{result.minutes:.0f} minutes of real time at 300 events a second, with the limits of the "
        f"service levels. The hour begins {SETTLE_SECONDS:.0f} s after it was live; until then was "
        f"told: {', '.join(result.told_before) or 'nothing'}. False alarms over days, under a "
        "driven clock, are in `fourteen_days.md`.",
        "",
        f"False alarms: {false}. Alerts lost: {result.alerts_lost}. Dagster's event log grew by "
        f"{result.event_log_mb_in_the_time} MB meanwhile.",
        "",
        "| sensor or schedule | ticks | failed | median ms | 95th percentile ms | most ms |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {' | '.join(str(told[each]) for each in told)} |"
            for name, told in result.ticks.items()
        ),
        "",
        "A tick is from its beginning in the daemon to its end: the call of the code server and "
        "the storing of what it reported are in it.",
        "",
        f"**A gap**: one commit of {TABLE.qualified_name} skipped {SKIPPED_RECORDS} offsets.",
        "",
        f"- Told after {_seconds(gap.alert_after_seconds)}: {cell(gap.alert)}",
        f"- Opened meanwhile: {', '.join(gap.alerts_opened) or 'nothing'}.",
        f"- `views list` says: {cell(gap.held)}",
        f"- The views over it stood still for {gap.stood_still_seconds:.0f} s"
        f"{', but for a move' if gap.moved_while_held else ''}; released: {cell(gap.released)}",
        f"- They moved {_seconds(gap.moved_after_release_seconds)} after their release; the alert "
        f"recovered {_seconds(gap.recovered_after_seconds)} after the gap.",
        "",
        f"{dict(result.machine)}",
        "",
    ]
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "(it did not come)" if value is None else f"{value:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
