"""Compaction beside three live writers: what it costs them, and what it gains a reader.

    python -m benchmarks.maintenance --minutes 10 --history-days 90

Starts the platform on a fresh state folder and free ports, writes history, breaks that history into
landing files as so many batches would have left them, and compacts again and again beside the
writers. Printed, and written to `benchmarks/results/maintenance.json` and `.md`: failed commits on
either side, catalog retries, the age of the newest event at the tables, files, bytes and a query
over all days before and after. The platform's own compaction is switched off meanwhile: it would do
this work. Exits 1 if a commit failed or the tables' age broke the service level; a run that was
broken off writes nothing.

Belongs here: the order of things and the figures. Doesn't belong here: compaction itself.
"""

import argparse
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.long_run import _call, _environment, left_behind
from benchmarks.results_by_name import write_results
from benchmarks.stack_samples import Sampler, machine
from retail_lakehouse.commands.termination import exit_on_termination
from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.tables import EVENT_TABLES, TableContract
from retail_lakehouse.job_settings import maintenance_arguments
from retail_lakehouse.local.control import SupervisorClient
from retail_lakehouse.local.dagster_instance import dagster_home
from retail_lakehouse.local.dagster_workspace import workspace_file
from retail_lakehouse.local.duckdb_extensions import iceberg_reader
from retail_lakehouse.local.stack_settings import read_settings
from retail_lakehouse.maintenance.compaction import Compaction
from retail_lakehouse.maintenance.plan import DayPlan, TableFile
from retail_lakehouse.maintenance.table_files import disk_figures, table_figures
from retail_lakehouse.maintenance.tasks import TablesFailedError, run_task
from retail_lakehouse.resources.spark import SparkResource
from retail_lakehouse.schedules import maintenance_schedules
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import open_catalog

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RETRY = "Retrying task after failure"
"""What Iceberg logs when a commit lost its race for the catalog and is repeated."""
SAMPLE_SECONDS = 5.0
RESULTS = Path(__file__).with_name("results") / "maintenance.json"
QUERIES = 3


@dataclass
class Looks:
    """A table at one moment: live files and bytes, planning, and one query over all its days."""

    files: int
    bytes: int
    disk_files: int
    disk_bytes: int
    planning_ms: float
    query_ms: float


@dataclass
class Result:
    """Everything that is printed; ages in seconds."""

    machine: dict[str, Any]
    minutes: float
    events_per_second: float
    history_days: int
    before: dict[str, Looks] = field(default_factory=dict)
    after: dict[str, Looks] = field(default_factory=dict)
    compactions: int = 0
    compacting_seconds: float = 0.0
    """Of the minutes, how long a compaction was at work."""
    replace_snapshots: int = 0
    rewritten_files: int = 0
    failed_commits_of_compaction: int = 0
    failed_commits_of_writers: int = 0
    catalog_retries_of_compaction: int = 0
    catalog_retries_of_writers: int = 0
    table_age_p50: float = 0.0
    table_age_max: float = 0.0
    table_age_p50_without: float = 0.0
    looks: int = 0
    looks_without_age: int = 0
    """At which the age was not known; it is in none of the figures."""
    verify_ok: bool = False
    left_behind: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether no commit failed, the tables kept up, no record is missing and no process left.

        The age of the newest event is never below the ingest lag, unless one partition of a topic
        lags behind the others.
        """
        failed = self.failed_commits_of_compaction + self.failed_commits_of_writers
        keeps_up = self.table_age_max <= SERVICE_LEVELS.ingest_lag_seconds
        return failed == 0 and keeps_up and self.verify_ok and not self.left_behind


class Fragmentation(Compaction):
    """The opposite: every compacted file back into landing files, a number of them a day."""

    files_a_day = 144

    def break_up(self) -> None:
        """Rewrites the whole table, as one `replace`."""
        self._run(lambda files, _: _all_by_day(files))

    def _write(self, rows: "DataFrame", set_id: str, writers: int) -> None:
        (
            rows.repartitionByRange(self.files_a_day, "event_ts")
            .writeTo(self.table.name)
            .option("rewritten-file-scan-task-set-id", set_id)
            .option("output-spec-id", str(self.table.landing_spec_id()))
            .option("use-table-distribution-and-ordering", "false")
            .append()
        )


def main() -> int:
    """Runs it all; the exit code says whether everything held."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    for noisy in ("py4j", "pyiceberg"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    state = Path(tempfile.mkdtemp(prefix="retail-lakehouse-maintenance-"))
    environment = _environment()
    result = Result(machine(), options.minutes, options.events_per_second, options.history_days)
    # A killed benchmark would leave the whole platform behind.
    with exit_on_termination():
        _run(result, state, environment, options)
    write_results(RESULTS, asdict(result), page(result))
    if result.held:
        shutil.rmtree(state)
    return 0 if result.held else 1


def _run(
    result: Result, state: Path, environment: dict[str, str], options: argparse.Namespace
) -> None:
    """Starts the platform, measures, and stops it whatever happens."""
    try:
        live = ["dev", "--until-live", "--keep", "--timeout", "600"]
        rate = ["--events-per-second", str(options.events_per_second)]
        _call([*live, *rate], state, environment, check=True)
        settings = Settings.load(read_settings(state))
        _switch_schedules_off(settings, environment)
        history = ["--history-days", str(options.history_days)]
        _call(
            ["simulate", *history, "--events-a-day", str(options.events_a_day)],
            state,
            environment,
            check=True,
        )
        _measure(result, settings, options)
        SupervisorClient(state).request("stop", "simulator")
        answer = _call(["verify", "--wait", "300"], state, environment)
        result.verify_ok = answer.returncode == 0
    except subprocess.CalledProcessError as error:
        sys.stdout.write(f"{error}\n{error.stdout}{error.stderr}\n")
        raise
    finally:
        _call(["stop"], state, environment)
        result.left_behind = left_behind(state)
        sys.stdout.write(json.dumps(asdict(result), indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--events-per-second", type=float, default=1000.0)
    parser.add_argument("--history-days", type=int, default=90)
    parser.add_argument("--events-a-day", type=int, default=100_000)
    parser.add_argument("--files-a-day", type=int, default=144, help="landing files of history")
    parser.add_argument("--pause-seconds", type=float, default=20.0, help="between compactions")
    return parser.parse_args()


def _measure(result: Result, settings: Settings, options: argparse.Namespace) -> None:
    log = settings.root / "logs" / "maintenance.log"
    arguments = maintenance_arguments(settings, MaintenanceTask.COMPACTION)
    # The JVM's warnings say which commits were repeated, and it writes where this process does.
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    with SparkResource.of(settings).session(arguments) as spark:
        for contract in EVENT_TABLES:
            fragmentation = Fragmentation(spark, settings.catalog_name, contract, "break-up")
            fragmentation.files_a_day = options.files_a_day
            fragmentation.break_up()
        result.before = {t.name: _looks(spark, settings, t) for t in EVENT_TABLES}
        ages = _Ages(settings)
        result.table_age_p50_without = statistics.median(ages.during(60.0, lambda: None))
        retries = _count(log), _retries_of_writers(settings)
        restarts = _restarts(settings)

        def compact() -> None:
            try:
                for _, figures in run_task(spark, arguments):
                    result.compacting_seconds += float(figures["seconds"])
                    result.replace_snapshots += int(figures["replace_snapshots"])
                    result.rewritten_files += int(figures["rewritten_files"])
                    result.failed_commits_of_compaction += int(figures["failed_commits"])
            except TablesFailedError:
                result.failed_commits_of_compaction += 1
            result.compactions += 1
            time.sleep(options.pause_seconds)

        ages.unknown = 0
        seen = ages.during(options.minutes * 60, compact)
        result.looks, result.looks_without_age = len(seen) + ages.unknown, ages.unknown
        result.table_age_p50, result.table_age_max = statistics.median(seen), max(seen)
        result.catalog_retries_of_compaction = _count(log) - retries[0]
        result.catalog_retries_of_writers = _retries_of_writers(settings) - retries[1]
        result.failed_commits_of_writers = _restarts(settings) - restarts
        result.after = {t.name: _looks(spark, settings, t) for t in EVENT_TABLES}


def _switch_schedules_off(settings: Settings, environment: dict[str, str]) -> None:
    home = {"DAGSTER_HOME": str(dagster_home(settings.root))}
    for schedule in maintenance_schedules():
        argv = [sys.executable, "-m", "dagster", "schedule", "stop", schedule.name]
        subprocess.run(  # noqa: S603
            [*argv, "-w", str(workspace_file(settings.root))],
            env=environment | home,
            check=True,
            capture_output=True,
            text=True,
        )


class _Ages:
    """The age of the newest event at the tables, looked at beside something else."""

    def __init__(self, settings: Settings) -> None:
        self._sampler = Sampler(settings)
        self.unknown = 0
        """Looks at which the age was not known."""

    def during(self, seconds: float, work: Any) -> list[float]:
        """Repeats `work` for so long; the ages seen meanwhile."""
        seen: list[float] = []
        over = threading.Event()

        def look() -> None:
            while not over.is_set():
                age = self._sampler.sample().table_age_seconds
                if age is None:
                    self.unknown += 1
                else:
                    seen.append(age)
                over.wait(SAMPLE_SECONDS)

        looker = threading.Thread(target=look, daemon=True)
        looker.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            work()
            time.sleep(0.1)
        over.set()
        looker.join(30)
        return seen


def _looks(spark: "SparkSession", settings: Settings, contract: TableContract) -> Looks:
    table = Compaction(spark, settings.catalog_name, contract, "look").table.load()
    figures, disk = table_figures(spark, table), disk_figures(spark, table)
    location = open_catalog(settings).load_table(contract.identifier).metadata_location
    first = contract.sort_by[0]
    query = (
        f"SELECT event_date, count(*), count(DISTINCT {first}) "  # noqa: S608 - the contract's own
        f"FROM iceberg_scan('{location}') WHERE {first} > 'S' GROUP BY event_date"
    )
    taken = []
    with iceberg_reader(1_000, settings.root / "erasures" / "spill") as connection:
        for _ in range(QUERIES):
            begun = time.perf_counter()
            connection.execute(query).fetchall()
            taken.append((time.perf_counter() - begun) * 1000)
    return Looks(
        figures.files,
        figures.bytes,
        disk.files,
        disk.bytes,
        figures.planning_ms,
        round(min(taken), 1),
    )


def _all_by_day(files: Any) -> list[DayPlan]:
    days: dict[Any, list[TableFile]] = {}
    for file in files:
        if not file.is_landing:
            days.setdefault(file.day, []).append(file)
    return [DayPlan(day, tuple(of_day)) for day, of_day in sorted(days.items())]


def _retries_of_writers(settings: Settings) -> int:
    return sum(_count(settings.root / "logs" / f"{event.name}.log") for event in EVENTS)


def _count(log: Path) -> int:
    return log.read_text(errors="replace").count(RETRY) if log.exists() else 0


def _restarts(settings: Settings) -> int:
    status = SupervisorClient(settings.root).status()
    return sum(status[event.name].restarts for event in EVENTS)


def page(result: Result) -> str:
    """The result as a page."""
    lines = [
        "# Compaction beside three writers",
        "",
        f"Made by `python -m benchmarks.maintenance`: {result.minutes:g} minutes at "
        f"{result.events_per_second:g} events a second, after {result.history_days} days of "
        "simulated history. Files and bytes are the live ones, planning and query (over all days, "
        "the best of three) in milliseconds.",
        "",
        "| table | files | bytes | files on disk | planning | query |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, before in result.before.items():
        after = result.after[name]
        pairs = (
            (before.files, after.files),
            (before.bytes, after.bytes),
            (before.disk_files, after.disk_files),
            (before.planning_ms, after.planning_ms),
            (before.query_ms, after.query_ms),
        )
        lines.append(f"| {name} | {' | '.join(f'{was:,} → {now:,}' for was, now in pairs)} |")
    lines += [
        "",
        f"{result.compactions} compactions, at work for {result.compacting_seconds:.0f} s, "
        f"{result.replace_snapshots} `replace` snapshots, {result.rewritten_files} files "
        "rewritten. Failed commits: "
        f"{result.failed_commits_of_compaction} of compaction, "
        f"{result.failed_commits_of_writers} of the writers. Repeated at the catalog and then "
        f"done: {result.catalog_retries_of_compaction} and {result.catalog_retries_of_writers}.",
        "",
        f"Age of the newest event at the tables: {result.table_age_p50:.1f} s in the middle, "
        f"{result.table_age_max:.1f} s at most, and {result.table_age_p50_without:.1f} s in the "
        f"middle without compaction; {result.looks_without_age} of {result.looks} looks could not "
        f"tell it. `verify` says {'ok' if result.verify_ok else 'NOT ok'}. "
        f"Processes left behind: {', '.join(result.left_behind) or 'none'}.",
        "",
        f"{result.machine}",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
