"""What Dagster's history grows by in a day, what a tick of each sensor costs, and after a month.

    python -m benchmarks.event_log [--out FOLDER] [--state-dir FOLDER]

Drives an hour of the sensors at their real intervals under a clock, over a real Dagster instance in
SQLite files and tables with as many marked snapshots as the real trigger leaves; takes the bytes
that its events added as a 24th of a day's; then copies that hour's rows until the history is as old
as it gets, prunes it by the platform's own sensor, and measures ticks and the pages' queries again.
Below ten minutes. Written: `results/event_log.md` and `.json`. Exits 1 if a day is more than 20 MB.

Belongs here: the rates, what is measured and when. Doesn't belong here: the platform
(`driven_platform.py`), copying rows (`grown_history.py`), words (`event_log_page.py`).
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg

from benchmarks.driven_platform import DrivenPlatform, cost_summary, driven_platform
from benchmarks.event_log_page import HOURS_A_DAY, QUERY_TIMES, SNAPSHOTS, Result, page
from benchmarks.grown_history import (
    Newest,
    copy_events,
    copy_ticks,
    newest,
    runs_file,
    ticks_file,
    used_bytes,
)
from benchmarks.pages_over_http import page_times
from benchmarks.stack_samples import machine
from benchmarks.tick_book import TickBook
from retail_lakehouse.assets.keys import maintenance_key, table_key
from retail_lakehouse.build import build_defs
from retail_lakehouse.contracts.events import EVENTS, INVENTORY
from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.contracts.tables import TableContract, event_table
from retail_lakehouse.history.prune import TICKS_KEPT, event_rows
from retail_lakehouse.local.dagster_instance import dagster_home, event_log_file
from retail_lakehouse.maintenance.cleanup import CleanupReport
from retail_lakehouse.maintenance.compaction import CompactionReport
from retail_lakehouse.maintenance.report import cleanup_figures, compaction_figures
from retail_lakehouse.maintenance.table_files import DiskFigures, TableFigures
from retail_lakehouse.schedules import HOURLY
from retail_lakehouse.sensors.alerts import latest_verdicts
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.dimensions import load_dimensions
from retail_lakehouse.tables.evolve import ensure_tables

RESULTS = Path(__file__).with_name("results")
START = datetime(2026, 10, 20, 6, tzinfo=UTC)
TICKED = ("watch_stream", "report_snapshots", "refresh_due_views", "send_alerts")
ROWS_A_TICK = 1_500
"""Of each topic: a third of 300 events a second."""
BAD_A_BATCH = 15
BAD_EVERY = 4
"""Ticks from one commit to the quarantines to the next."""
EXPIRE_EVERY = 25
WARM_UP_TICKS, LATER_TICKS, JUMP_TICKS = 80, 30, 3
"""Before the hour; measured on the day and on the month; after the clock was moved, not measured"""
PRUNINGS_MOST = 12
_TABLE = TableFigures(
    files=812,
    delete_files=0,
    bytes=1_234_567_890,
    rows=98_765_432,
    snapshots=225,
    planning_ms=41.25,
)
_DISK = DiskFigures(files=2_812, bytes=2_234_567_890)
FIGURES = {
    MaintenanceTask.COMPACTION: compaction_figures(
        CompactionReport("any", _TABLE, _TABLE, 1, 720, 3, 0, 1, 0, 12.345)
    ),
    MaintenanceTask.EXPIRY: cleanup_figures(
        CleanupReport("any", _TABLE, _TABLE, _DISK, _DISK, 720, 123_456_789, 12.345)
    ),
}
logger = logging.getLogger(__name__)


class FakeMaintenance:
    """Gives figures as a task gives them, without Spark."""

    def run(
        self,
        context: dg.AssetExecutionContext,
        task: MaintenanceTask,
        contracts: Iterable[TableContract],
        *,
        reopened: bool = True,
    ) -> Iterator[dg.MaterializeResult[Any]]:
        """As MaintenanceResource answers."""
        for contract in contracts:
            yield dg.MaterializeResult(
                asset_key=maintenance_key(task, contract),
                metadata=dict(FIGURES[task]),
            )


class Hours:
    """The platform at its real rates: one batch of each topic and one tick of each sensor."""

    def __init__(self, platform: DrivenPlatform, book: TickBook) -> None:
        self.platform, self.book = platform, book
        self.seconds = platform.settings.sensor_seconds
        self._number = 0

    def seed(self) -> None:
        """As many marked snapshots as the trigger leaves."""
        for _ in range(SNAPSHOTS):
            self.platform.clock.forward(self.platform.settings.trigger)
            for event in EVENTS:
                self.platform.land(event.name, rows=10)

    def run(self, ticks: int) -> None:
        """So many intervals."""
        for _ in range(ticks):
            self._step()

    def tick(self, name: str) -> None:
        """One tick of a sensor, stored."""
        result = self.platform.tick(name)
        told = result.skip_reason
        self.book.note(name, result.cursor, "" if told is None else told.skip_message or "")

    def _step(self) -> None:
        platform = self.platform
        platform.clock.forward(self.seconds)
        is_bad = self._number % BAD_EVERY == 0
        for event in EVENTS:
            bad = BAD_A_BATCH if is_bad else 0
            platform.land(event.name, ROWS_A_TICK - bad, bad)
            platform.kafka.ends[event.name] = platform.landed(event.name) + 40
            platform.kafka.since_ms[event.topic] = platform.clock.at_ms - 2_000
        for name in TICKED:
            self.tick(name)
        if self._number % EXPIRE_EVERY == 0:
            platform.expire(SNAPSHOTS)
        self._number += 1


def measure(settings: Settings) -> Result:
    """All of it, in the settings' state folder."""
    begun = time.perf_counter()
    with driven_platform(settings, START) as platform:
        ensure_tables(platform.lakehouse.catalog, settings)
        load_dimensions(platform.lakehouse.catalog)
        intervals = {
            name: float(platform.repository.get_sensor_def(name).minimum_interval_seconds or 0)
            for name in TICKED
        }
        result, home = Result(machine(), intervals), dagster_home(settings.root)
        hours = Hours(platform, TickBook(platform.instance))
        hours.seed()
        # At its first tick it makes the files such that they can shrink.
        hours.tick("prune_history")
        hours.run(WARM_UP_TICKS)
        since, until = _hour(result, hours, home)
        _maintenance_run(result, platform, home)
        _stage(result, platform, "after the hour", home)

        copy_events(home, since, until, range(1, HOURS_A_DAY))
        copy_ticks(home, since, until, range(HOURS_A_DAY - _kept_hours(), HOURS_A_DAY))
        platform.clock.forward((HOURS_A_DAY - 1) * 3600)
        _stage(result, platform, "after the first day", home)
        result.first_day, result.first_day_queries = _later(hours)
        result.first_day_pages = page_times(settings.root, QUERY_TIMES)

        days = settings.history_retention_days + 1
        copy_events(home, since, until, range(HOURS_A_DAY, days * HOURS_A_DAY))
        platform.clock.forward((days - 1) * HOURS_A_DAY * 3600)
        _stage(result, platform, f"{days} days, not pruned", home)
        _prune(result, hours)
        copy_ticks(
            home, since, until, range(days * HOURS_A_DAY - _kept_hours(), days * HOURS_A_DAY)
        )
        _stage(result, platform, f"{days} days, pruned, as after a month", home)
        result.month, result.month_queries = _later(hours)
        result.month_pages = page_times(settings.root, QUERY_TIMES)
        result.failing = dict(platform.failing)
    result.took_seconds = round(time.perf_counter() - begun, 1)
    return result


def page_queries(platform: DrivenPlatform, book: TickBook) -> dict[str, Callable[[], object]]:
    """What Dagster's pages ask of its storage, by the page."""
    instance, graph = platform.instance, platform.repository.asset_graph
    table, state = table_key(event_table(INVENTORY)), book.state(TICKED[0])
    check = dg.AssetCheckKey(table, Measure.INGEST_LAG.value)
    log = instance.event_log_storage
    return {
        "asset graph: the record of every asset": lambda: instance.get_asset_records(
            list(graph.get_all_asset_keys())
        ),
        "checks: the latest verdict of every check": lambda: latest_verdicts(
            instance, graph.asset_check_keys
        ),
        "a table's page: 100 materializations with their plots": (
            lambda: instance.fetch_materializations(table, limit=100)
        ),
        "a check's page: 25 verdicts": (
            lambda: log.get_asset_check_execution_history(check, limit=25)
        ),
        "a sensor's page: 25 ticks": lambda: instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=25
        ),
        "runs: the last 30": lambda: instance.get_run_records(limit=30),
    }


def _hour(result: Result, hours: Hours, home: Path) -> tuple[Newest, Newest]:
    """Measures an hour; returns how far the history went before and after it."""
    platform = hours.platform
    log, ticks = event_log_file(home), ticks_file(home)
    since, before = newest(home), (used_bytes(log), used_bytes(ticks))
    platform.costs.clear()
    platform.reported.clear()
    # The marks of before were made without a tick beside them: their views were late at the first.
    platform.failing.clear()
    hours.book.took_ms.clear()
    hours.run(round(3600 / hours.seconds))
    result.first_hour = _costs(platform)
    result.events_in_hour = dict(platform.reported)
    result.tick_stored_ms = round(median(hours.book.took_ms), 1)
    result.event_log_bytes_in_hour = used_bytes(log) - before[0]
    result.ticks_bytes_in_hour = used_bytes(ticks) - before[1]
    return since, newest(home)


def _maintenance_run(result: Result, platform: DrivenPlatform, home: Path) -> None:
    """What the runs leave that the schedule starts: most hours' own, and the one of every six."""
    files = (event_log_file(home), runs_file(home))
    defs = build_defs(platform.settings, maintenance=FakeMaintenance())
    job = defs.resolve_job_def("compact_and_expire")
    config = {"ops": {"maintenance_compaction": {"config": {"reopened": True}}}}
    told = []
    for selection in (None, HOURLY):
        before = sum(map(used_bytes, files))
        job.execute_in_process(
            instance=platform.instance, run_config=config, asset_selection=selection
        )
        told.append(sum(map(used_bytes, files)) - before)
    result.whole_run_bytes, result.run_bytes = told


def _later(hours: Hours) -> tuple[dict[str, dict[str, float | int]], dict[str, float]]:
    """Ticks and queries on a history that has been made older."""
    failing = hours.platform.failing.copy()
    hours.run(JUMP_TICKS)
    # What landed before the clock was moved has waited for as long: no verdict on the platform.
    hours.platform.failing = failing
    hours.platform.costs.clear()
    hours.run(LATER_TICKS)
    queries = page_queries(hours.platform, hours.book)
    return _costs(hours.platform), {name: _median_ms(ask) for name, ask in queries.items()}


def _prune(result: Result, hours: Hours) -> None:
    """Ticks the sensor that prunes until nothing old is left."""
    for _ in range(PRUNINGS_MOST):
        begun = time.perf_counter()
        told = hours.platform.tick("prune_history")
        result.pruning_ms.append(round((time.perf_counter() - begun) * 1000, 1))
        hours.platform.clock.forward(60)
        if "More is old" not in str(told.skip_reason):
            return
    logger.warning("After %d ticks of pruning something old is left.", PRUNINGS_MOST)


def _stage(result: Result, platform: DrivenPlatform, name: str, home: Path) -> None:
    result.history[name] = {
        "events": event_rows(platform.instance),
        "event_log_bytes": used_bytes(event_log_file(home)),
        "ticks_bytes": used_bytes(ticks_file(home)),
    }
    logger.warning("%s: %s", name, result.history[name])


def _costs(platform: DrivenPlatform) -> dict[str, dict[str, float | int]]:
    return {name: cost_summary(platform.costs.get(name, [])) for name in TICKED}


def _median_ms(ask: Callable[[], object]) -> float:
    took = []
    for _ in range(QUERY_TIMES):
        begun = time.perf_counter()
        ask()
        took.append((time.perf_counter() - begun) * 1000)
    return round(median(took), 1)


def _kept_hours() -> int:
    return round(TICKS_KEPT.total_seconds() / 3600)


def main() -> int:
    """Measures, and writes the results."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--state-dir", help="a fresh folder that is kept; a temporary one if not")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    folder = Path(options.state_dir or tempfile.mkdtemp(prefix="retail-lakehouse-log-"))
    try:
        result = measure(Settings.load({"state_dir": folder / "state"}))
    finally:
        if not options.state_dir:
            shutil.rmtree(folder, ignore_errors=True)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    document = {**asdict(result), "mb_a_day": result.mb_a_day, "ticks_mb": result.ticks_mb}
    (out / "event_log.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    (out / "event_log.md").write_text(page(result), "utf-8")
    sys.stdout.write(page(result))
    return 0 if result.held else 1


if __name__ == "__main__":
    sys.exit(main())
