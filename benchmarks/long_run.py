"""The run that the promises stand on: the whole platform at a steady rate, through its faults.

    python -m benchmarks.long_run --minutes 75 --events-per-second 3000

Starts the platform on a fresh state folder and free ports, samples it, kills parts of it, writes
down the views' digests after every refresh, compares the views with a recomputation now and then,
and ends with `verify`, a look for processes left behind and a recomputation of every digest.
Written: `benchmarks/results/long_run.md` and `.json`. Exits 1 if anything did not hold.

Belongs here: the order of things. Doesn't belong here: what a sample is (`stack_samples.py`), what
is broken (`stack_faults.py`), figures (`long_run_report.py`) and words (`long_run_page.py`).
"""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb
import psutil  # type: ignore[import-untyped]

from benchmarks.long_run_page import markdown
from benchmarks.long_run_report import LongRun, Parity, recoveries, to_json
from benchmarks.stack_faults import Fault, Inflicted, planned_faults
from benchmarks.stack_samples import Sampler, machine
from benchmarks.view_digests import DigestRecorder, check_run
from retail_lakehouse.local import ports
from retail_lakehouse.local.control import SupervisorClient
from retail_lakehouse.local.recompute.captured import (
    CapturedError,
    NotCaptured,
    digests_file,
    read_lines,
)
from retail_lakehouse.local.recompute.check import RECOMPUTED, check_views
from retail_lakehouse.local.recompute.history import history_lines
from retail_lakehouse.local.recompute.pinned import SnapshotGone
from retail_lakehouse.local.stack_settings import read_settings
from retail_lakehouse.settings import ENV_PREFIX, Settings
from retail_lakehouse.warehouse.errors import WarehouseError

logger = logging.getLogger("benchmarks.long_run")

RESULTS = Path(__file__).with_name("results")
SAMPLE_SECONDS = 10.0
MEMORY_SECONDS = 60.0
PARITY_SHARE = 10
"""A parity check rests for so many times what it took: it must not become the load."""
LONGEST_RECOVERY_SECONDS = 300.0
LIVE_TIMEOUT_SECONDS = 600
VERIFY_WAIT_SECONDS = 300


def main() -> int:
    """Runs it all; the exit code says whether everything held."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("pyiceberg").setLevel(logging.ERROR)
    state = Path(options.state_dir or tempfile.mkdtemp(prefix="retail-lakehouse-run-")).absolute()
    if state.exists() and any(state.iterdir()):
        sys.stderr.write(f"{state} is not empty. Name a fresh folder with --state-dir.\n")
        return 2
    environment = _environment()
    run = LongRun(
        machine=machine(),
        minutes=options.minutes,
        events_per_second=options.events_per_second,
        plain_views=list(RECOMPUTED),
    )
    try:
        _start(run, state, environment, options.events_per_second)
        settings = Settings.load(read_settings(state))
        _record(run, settings, environment, options)
        parity_check(run, settings)
        run.final_parity_ok = run.parity[-1].equal
    finally:
        _stop(run, state, environment)
        if run.samples:
            try:
                _check_history(run, state)
            finally:
                _write(run, RESULTS / options.name)
    if run.held and not options.state_dir:
        shutil.rmtree(state)
    else:
        logger.info("The state folder is kept: %s", state)
    return 0 if run.held else 1


def _write(run: LongRun, stem: Path) -> None:
    stem.parent.mkdir(exist_ok=True)
    stem.with_suffix(".md").write_text(markdown(run), encoding="utf-8")
    stem.with_suffix(".json").write_text(json.dumps(to_json(run), indent=1) + "\n")
    sys.stdout.write(markdown(run))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--minutes", type=float, default=75.0)
    parser.add_argument("--events-per-second", type=float, default=3000.0)
    parser.add_argument("--state-dir", help="a fresh folder; a temporary one if not given")
    parser.add_argument("--no-faults", action="store_true", help="kill nothing")
    parser.add_argument("--parity-seconds", type=float, default=300.0, help="0: only at the end")
    parser.add_argument("--name", default="long_run", help="name of the files in results/")
    return parser.parse_args()


def _environment() -> dict[str, str]:
    """This process's environment with free ports, and the cache that every run shares."""
    broker, controller, warehouse, dagster = ports.free_ports(4)
    cache = Path(__file__).parents[1] / ".lakehouse" / "cache"
    told = {"BROKER": broker, "CONTROLLER": controller, "WAREHOUSE": warehouse, "DAGSTER": dagster}
    return {
        f"{ENV_PREFIX}CACHE_DIR": str(cache),
        **os.environ,
        **{f"{ENV_PREFIX}{name}_PORT": str(port) for name, port in told.items()},
    }


def _start(run: LongRun, state: Path, environment: dict[str, str], rate: float) -> None:
    """Starts the platform and waits until it is live; its supervisor goes on behind.

    Raises:
        subprocess.CalledProcessError: it did not get live.
    """
    begun = time.monotonic()
    options = ["--until-live", "--keep", "--timeout", str(LIVE_TIMEOUT_SECONDS)]
    _call(["dev", *options, "--events-per-second", str(rate)], state, environment, check=True)
    run.live_after_seconds = time.monotonic() - begun
    run.live_at = time.time()


def _record(
    run: LongRun, settings: Settings, environment: dict[str, str], options: argparse.Namespace
) -> None:
    """Samples the run and has it catch up, while every view's digests are written down."""
    recorder = DigestRecorder(settings)
    recorder.start()
    try:
        _watch(run, settings, options)
        _catch_up(run, settings, environment)
    finally:
        try:
            recorder.stop()
        finally:
            run.digest_looks, run.digests_unchanged = recorder.looks, recorder.unchanged


def _watch(run: LongRun, settings: Settings, options: argparse.Namespace) -> None:
    """Samples until the time is over and every planned fault has been recovered from."""
    seconds = options.minutes * 60
    pending = [] if options.no_faults else planned_faults(run.live_at, seconds)
    sampler = Sampler(settings)
    stopping = threading.Event()
    checker = threading.Thread(
        target=_check_parity, args=(run, settings, options.parity_seconds, stopping), daemon=True
    )
    if options.parity_seconds > 0:
        checker.start()
    next_memory = 0.0
    try:
        while pending or time.time() < run.live_at + seconds or not _is_calm(run):
            due = time.monotonic() + SAMPLE_SECONDS
            run.samples.append(sampler.sample())
            if time.monotonic() >= next_memory:
                next_memory = time.monotonic() + MEMORY_SECONDS
                run.memory.append(sampler.memory())
            if pending and time.time() >= pending[0].planned_at and _is_calm(run):
                run.faults.append(_inflict(pending.pop(0), settings))
            time.sleep(max(0.0, due - time.monotonic()))
    finally:
        stopping.set()
        if checker.is_alive():
            checker.join(timeout=120)


def _is_calm(run: LongRun) -> bool:
    """Whether the last fault has been recovered from, or will not be."""
    if not run.faults:
        return True
    last = run.faults[-1]
    recovered = recoveries(run)[-1]
    over = time.time() - last.at > LONGEST_RECOVERY_SECONDS
    return over or not (recovered.table_seconds is None or recovered.view_seconds is None)


def _inflict(fault: Fault, settings: Settings) -> Inflicted:
    inflicted = fault.inflict(settings)
    logger.info("%s.", fault.what)
    return inflicted


def _check_parity(
    run: LongRun, settings: Settings, every_seconds: float, stopping: threading.Event
) -> None:
    pause = every_seconds
    while not stopping.wait(pause):
        took = parity_check(run, settings)
        pause = max(every_seconds, PARITY_SHARE * took)


def parity_check(run: LongRun, settings: Settings) -> float:
    """Compares every view once and notes the outcome; returns the seconds it took.

    A warehouse that has just been killed answers nothing: such a check is noted as not made.
    """
    begun = time.monotonic()
    at = time.time()
    try:
        views = check_views(settings)
    except (WarehouseError, SnapshotGone, duckdb.Error, OSError) as error:
        took = time.monotonic() - begun
        run.parity.append(Parity(at, took, 0, [], f"{type(error).__name__}: {error}"))
        return took
    took = time.monotonic() - begun
    wrong = [
        f"{view.view}: {view.missing} missing, {view.unexpected} unexpected, {view.example}"
        for view in views
        if not view.equal
    ]
    run.parity.append(Parity(at, took, sum(view.rows for view in views), wrong, ""))
    for line in wrong:
        logger.warning("A view differs from its recomputation: %s", line)
    return took


def _catch_up(run: LongRun, settings: Settings, environment: dict[str, str]) -> None:
    """Stops the simulator, has everything catch up, verifies, refreshes the views once more."""
    SupervisorClient(settings.root).request("stop", "simulator")
    wait = ["verify", "--wait", str(VERIFY_WAIT_SECONDS)]
    answer = _call(wait, settings.root, environment)
    lines = [line for line in answer.stdout.splitlines() if line.strip()]
    run.verify_lines = lines
    run.verify_ok = answer.returncode == 0
    _call(["views", "refresh"], settings.root, environment)


def _check_history(run: LongRun, state: Path) -> None:
    """Compares every digest of the run with the raw rows; the stack is down by now."""
    try:
        lines = read_lines(digests_file(state))
        run.not_captured = [each for each in lines if isinstance(each, NotCaptured)]
        run.history = check_run(state)
    except CapturedError as error:
        run.history_error = str(error)
        logger.warning("%s", error)
        return
    for line in history_lines(run.history):
        logger.info("%s", line)


def _stop(run: LongRun, state: Path, environment: dict[str, str]) -> None:
    begun = time.monotonic()
    _call(["stop"], state, environment)
    run.stop_seconds = time.monotonic() - begun
    run.left_behind = left_behind(state)


def left_behind(state: Path) -> list[str]:
    """The processes that name the state folder in their environment or command line."""
    left = []
    for process in psutil.process_iter():
        if process.pid in (os.getpid(), os.getppid()):
            continue
        try:
            told = [process.environ().get(f"{ENV_PREFIX}STATE_DIR", ""), *process.cmdline()]
            if any(str(state) in text for text in told):
                left.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            continue
    return left


def _call(
    verb: list[str], state: Path, environment: dict[str, str], *, check: bool = False
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "retail_lakehouse.cli", *verb, "--state-dir", str(state)]
    answer = subprocess.run(  # noqa: S603
        command, env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        logger.warning(
            "%s: exit %d\n%s%s", verb[0], answer.returncode, answer.stdout, answer.stderr
        )
    if check:
        answer.check_returncode()
    return answer


if __name__ == "__main__":
    sys.exit(main())
