"""How long the watchdog takes to find each fault of the control plane, what it says, what heals it.

    python -m benchmarks.watchdog_faults [--only WORDS] [--list]

The real supervisor keeps the real code server, daemon and watchdog with the limits of the service
levels; a real HTTP receiver is the notifier. Broker and warehouse are down all the while, which is
no fault of the control plane's: the watchdog must not tell of it. About 30 minutes, without Kafka
and Spark; a fault takes 2 to 6. Written after each: `benchmarks/results/watchdog_faults.json` and
`.md`, in which the other faults stay as they were. Exits 1 if one was not told or did not recover.

Belongs here: the faults, the results and their page. Doesn't belong here: one fault's course
(`control_plane_under_test.py`), what is broken in the rest of the platform (`injected_causes.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.control_plane_under_test import MIB, SPARE_MB, Bench, Fault, Row, running
from benchmarks.results_by_name import cell, merged, write_results
from benchmarks.stack_samples import machine
from retail_lakehouse.commands.termination import exit_on_termination
from retail_lakehouse.local.stack_units import WATCHDOG
from retail_lakehouse.local.watchdog.look import CODE_SERVER_PROCESS, DAEMON_PROCESS

RESULTS = Path(__file__).with_name("results") / "watchdog_faults.json"
NAMES = (
    "daemon killed",
    "daemon killed again and again, until told",
    "daemon under SIGSTOP",
    "code server killed",
    "code server's inner process killed, the outer one lives",
    "sensor send_alerts raises at every tick",
    "daemon under SIGSTOP, notifier down for 150 s",
    "watchdog killed, daemon under SIGSTOP",
    "disk below the first threshold",
)


def faults(bench: Bench) -> tuple[Fault, ...]:
    """Every fault, in the order of `NAMES`."""
    daemon, code = "control_plane:daemon_ticks", "control_plane:code_server_answers"
    outbox = bench.settings.alerts_dir / "outbox"
    filler = bench.settings.root / "filler"
    loop = threading.Event()

    def kill(name: str) -> None:
        os.killpg(os.getpgid(bench.pid(name)), signal.SIGKILL)

    def kill_again_and_again() -> None:
        def killer() -> None:
            while not loop.wait(0.5):
                pid = bench.supervisor.status()[DAEMON_PROCESS].pid
                if pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(os.getpgid(pid), signal.SIGKILL)

        threading.Thread(target=killer, daemon=True).start()

    def stop_daemon() -> None:
        os.kill(bench.pid(DAEMON_PROCESS), signal.SIGSTOP)

    def kill_inner() -> None:
        (inner, *_) = psutil.Process(bench.pid(CODE_SERVER_PROCESS)).children()
        inner.kill()

    def break_outbox() -> None:
        outbox.rename(outbox.with_name("outbox.kept"))
        outbox.mkdir()

    def mend_outbox() -> None:
        outbox.rmdir()
        outbox.with_name("outbox.kept").rename(outbox)

    def stop_with_receiver_down() -> None:
        def up() -> None:
            bench.end.answers = []

        bench.end.answers = [(503, {}, "")]
        stop_daemon()
        back = threading.Timer(150, up)
        back.daemon = True
        back.start()

    def kill_watchdog_and_stop_daemon() -> None:
        kill(WATCHDOG)
        stop_daemon()

    def fill() -> None:
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, (SPARE_MB + 1024) * MIB)

    by_watchdog, by_person = "the watchdog has it started anew", "a person (the benchmark)"
    return (
        Fault("daemon killed", daemon, lambda: kill(DAEMON_PROCESS), "its keeper", is_told=False),
        Fault(
            "daemon killed again and again, until told",
            daemon,
            kill_again_and_again,
            "its keeper, when it is left alone",
            mend=loop.set,
        ),
        Fault("daemon under SIGSTOP", daemon, stop_daemon, by_watchdog),
        Fault(
            "code server killed",
            code,
            lambda: kill(CODE_SERVER_PROCESS),
            "its keeper",
            is_told=False,
        ),
        Fault(
            "code server's inner process killed, the outer one lives",
            code,
            kill_inner,
            by_watchdog,
        ),
        Fault(
            "sensor send_alerts raises at every tick",
            "control_plane/send_alerts:sensor_ticks",
            break_outbox,
            by_person,
            mend=mend_outbox,
        ),
        Fault(
            "daemon under SIGSTOP, notifier down for 150 s",
            daemon,
            stop_with_receiver_down,
            by_watchdog,
            patience=600,
        ),
        Fault(
            "watchdog killed, daemon under SIGSTOP",
            daemon,
            kill_watchdog_and_stop_daemon,
            "the keeper starts the watchdog, that the daemon",
        ),
        Fault(
            "disk below the first threshold",
            "control_plane:disk_space",
            fill,
            by_person,
            mend=lambda: filler.unlink(missing_ok=True),
        ),
    )


def watchdog_cost(bench: Bench) -> dict[str, Any]:
    """What the watchdog takes, over as long as this one has lived."""
    process = psutil.Process(bench.pid(WATCHDOG))
    age, cpu = time.time() - process.create_time(), process.cpu_times()
    return {
        "watchdog_pss_mb": round(process.memory_full_info().pss / MIB, 1),
        "watchdog_cpu_percent_of_a_core": round(100 * (cpu.user + cpu.system) / age, 2),
        "watchdog_age_seconds": round(age),
        "machine": machine(),
    }


def write(rows: Sequence[Row], cost: dict[str, Any]) -> None:
    """Writes the rows of this run beside those of former ones, whose note stays with them."""
    told = merged(RESULTS, [asdict(row) for row in rows], "fault", NAMES)
    result: dict[str, Any] = {"rows": told, **cost}
    is_mixed = len(told) > len(rows)
    note = json.loads(RESULTS.read_text(encoding="utf-8")).get("note", "") if is_mixed else ""
    if note:
        result["note"] = note
    write_results(RESULTS, result, page([Row(**row) for row in told], result))


def page(rows: Sequence[Row], result: dict[str, Any]) -> str:
    """The results as a table."""
    lines = [
        "# Faults of the control plane, as the watchdog tells them",
        "",
        "Made by `python -m benchmarks.watchdog_faults`. In seconds from each beginning. `load` is "
        "the machine's load average at the row's end: above 3, something else ran beside it.",
        "",
        "| fault | time to detect | works again | recovery told | healed by | alerts lost | load | "
        "message |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        # One that heals by itself in time has neither an alert nor a count of lost ones.
        is_untold = row.told_after_seconds is None and not row.alerts_lost
        told = "nobody had to be told" if is_untold else row.told_after_seconds
        cells: tuple[object, ...] = (
            row.fault,
            "not told" if told is None else told,
            row.works_again_after_seconds,
            row.recovery_told_after_seconds,
            row.healed_by,
            row.alerts_lost,
            row.load_average,
            row.message,
        )
        lines.append(f"| {' | '.join(cell(each) for each in cells)} |")
    extra = sorted({name for row in rows for name in row.others_told})
    missing = [name for name in NAMES if name not in {row.fault for row in rows}]
    return "\n".join(
        [
            *lines,
            "",
            f"Other alerts of the watchdog's meanwhile: {', '.join(extra) or 'none'}.",
            "",
            *([f"Not measured yet: {', '.join(missing)}.", ""] if missing else []),
            f"The watchdog takes {result['watchdog_pss_mb']} MB (PSS) and "
            f"{result['watchdog_cpu_percent_of_a_core']} % of a core over "
            f"{result['watchdog_age_seconds']} s. {result['machine']}",
            "",
            *([str(result["note"]), ""] if "note" in result else []),
        ]
    )


def main() -> int:
    """Runs what is asked for; the exit code says whether all was told and mended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="faults with these words alone; several with |")
    parser.add_argument("--list", action="store_true", help="print the faults' names")
    options = parser.parse_args()
    if options.list:
        sys.stdout.write("".join(f"{name}\n" for name in NAMES))
        return 0
    words = options.only.split("|")
    rows: list[Row] = []
    folder = Path(tempfile.mkdtemp(prefix="watchdog-"))
    try:
        with exit_on_termination(), running(folder) as bench:
            for fault in faults(bench):
                if any(word in fault.name for word in words):
                    rows.append(bench.measure(fault))
                    write(rows, watchdog_cost(bench))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    works = all(row.works_again_after_seconds is not None for row in rows)
    return 0 if rows and works and not any(row.alerts_lost for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
