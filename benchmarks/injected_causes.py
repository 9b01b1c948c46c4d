"""Each cause injected into a running platform: how soon it is told, in which words, what heals it.

    python -m benchmarks.injected_causes [--only WORDS] [--missing] [--list]

Starts the platform on a fresh state folder and free ports with the limits of the service levels,
and a real HTTP receiver as its notifier; injects one cause after the other and waits for its alert
and its recovery. Written after each: `benchmarks/results/injected_causes.json` and `.md`, in which
the other causes stay as they were. All of it takes some four hours, a cause 5 to 25 minutes (checks
that nobody evaluates 70). Exits 1 if a cause was not told, had another name, did not recover, or an
alert was lost. The full disk is one in memory of 3 GB, which root alone can make; the disk's limits
are lowered for it. What breaks Dagster itself is in `watchdog_faults.py`, a gap in `real_hour.py`.

Belongs here: the order of things and what is noted. Doesn't belong here: how each cause is injected
(`causes_to_inject.py`, `runbook_trials.py`).
"""

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.alert_inbox import Inbox, Told
from benchmarks.causes_to_inject import (
    AHEAD_SECONDS,
    CAUSES,
    COLD_SECONDS,
    LOCKED_SECONDS,
    NOTIFIER_DOWN_SECONDS,
    SMALL_DISK_CRITICAL_MB,
    SMALL_DISK_MB,
    SMALL_DISK_WARNING_MB,
    Injected,
    Injection,
)
from benchmarks.long_run import _environment
from benchmarks.platform_under_test import Platform, folder
from benchmarks.results_by_name import cell, known_rows, merged, write_results
from benchmarks.runbook_trials import TRIALS
from benchmarks.stack_samples import machine
from retail_lakehouse.alerts.incidents import Kind
from retail_lakehouse.commands.termination import exit_on_termination
from retail_lakehouse.settings import ENV_PREFIX
from retail_lakehouse_tests.alerts.build import Receiver, receiver

RESULTS = Path(__file__).with_name("results") / "injected_causes.json"
CALM_SECONDS = 60.0
CALM_PATIENCE_SECONDS = 900.0
INJECTED = (*CAUSES, *TRIALS)
NAMES = tuple(cause.name for cause in INJECTED)

logger = logging.getLogger(__name__)
Found = TypeVar("Found")


@dataclass
class Row:
    """What came of one cause; seconds from its beginning, None where it did not happen."""

    name: str
    check: str
    cause: str
    told_after_seconds: float | None = None
    sentence: str = ""
    causes_told: list[str] = field(default_factory=list)
    """By every alert of the check that opened meanwhile."""
    mended_after_seconds: float | None = None
    """When a person (this benchmark) had mended it; None where it healed itself."""
    recovered_after_seconds: float | None = None
    calm_after_seconds: float | None = None
    """When no incident at all was open any more."""
    alerts_lost: int | None = None
    """Messages that were dropped or refused or that still waited, and incidents that are told by
    the platform's own word and did not arrive; None where it could not be asked."""
    told_beside: list[str] = field(default_factory=list)
    load_average: float | None = None
    note: str = ""

    @property
    def held(self) -> bool:
        """Whether it was told under its own name alone, recovered, and nothing was lost."""
        is_named = not self.cause or self.causes_told == [self.cause]
        is_over = self.told_after_seconds is not None and self.recovered_after_seconds is not None
        return is_named and is_over and self.alerts_lost == 0


def main() -> int:
    """Runs what is asked for; the exit code says whether everything held."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    if options.list:
        sys.stdout.write("".join(f"{name}\n" for name in NAMES))
        return 0
    words = options.only.split("|")
    known = known_rows(RESULTS, "name") if options.missing else {}
    chosen = [c for c in INJECTED if any(w in c.name for w in words) and c.name not in known]
    rows: list[Row] = []
    with exit_on_termination():
        for on_a_small_disk in (False, True):
            group = [each for each in chosen if each.on_a_small_disk is on_a_small_disk]
            if group:
                _run(group, rows, SMALL_DISK_MB if on_a_small_disk else None)
    return 0 if len(rows) == len(chosen) and all(row.held for row in rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default="", help="causes with these words; several with |")
    parser.add_argument("--missing", action="store_true", help="those without a result")
    parser.add_argument("--list", action="store_true", help="print the causes' names")
    return parser.parse_args()


def _run(causes: Sequence[Injected], rows: list[Row], small_disk_mb: int | None) -> None:
    """Injects all of them; what one leaves broken is left, and the next has a new platform."""
    left = list(causes)
    while left:
        left = _run_on_one_platform(left, rows, small_disk_mb)


def _run_on_one_platform(
    causes: Sequence[Injected], rows: list[Row], small_disk_mb: int | None
) -> list[Injected]:
    """Starts a platform, injects one cause after the other, and stops it whatever happens.

    Returns:
        The causes that are left: after one that could not be injected or mended, and from one on
        that wants a fresh platform.
    """
    with folder(small_disk_mb) as place, receiver() as end:
        state, of_this_run = place / "state", len(rows)
        environment = _environment() | _routes(place, end)
        if small_disk_mb is not None:
            environment[f"{ENV_PREFIX}DISK_WARNING_MB"] = str(SMALL_DISK_WARNING_MB)
            environment[f"{ENV_PREFIX}DISK_CRITICAL_MB"] = str(SMALL_DISK_CRITICAL_MB)
        platform, inbox = Platform(state, environment, end), Inbox(end)
        try:
            platform.start()
            for number, cause in enumerate(causes):
                if number and cause.on_a_fresh_platform:
                    return list(causes[number:])
                rows.append(Row(cause.name, cause.check, cause.cause))
                is_broken_off = not _measured(cause, platform, inbox, rows[-1])
                _write(rows)
                logger.info("%s", json.dumps(asdict(rows[-1])))
                if is_broken_off:
                    return list(causes[number + 1 :])
            return []
        finally:
            left = platform.stop()
            if left:
                logger.error("Left behind: %s.", ", ".join(left))
            held = [row.held for row in rows[of_this_run:]]
            if not (held and all(held)) and (state / "logs").exists():
                _keep_logs(state)


def _keep_logs(state: Path) -> None:
    kept = Path(tempfile.mkdtemp(prefix="retail-lakehouse-logs-"))
    shutil.copytree(state / "logs", kept, dirs_exist_ok=True)
    logger.info("The logs are kept in %s.", kept)


def _routes(place: Path, end: Receiver) -> dict[str, str]:
    routes = place / "routes.toml"
    routes.write_text(f'[[route]]\nname = "hook"\nkind = "webhook"\nurl = "{end.url}/"\n')
    return {f"{ENV_PREFIX}ALERT_ROUTES_FILE": str(routes)}


def _measured(cause: Injected, platform: Platform, inbox: Inbox, row: Row) -> bool:
    """Notes in the row what comes of one cause; whether it could be injected and mended."""
    is_whole = True
    try:
        _measure(cause, platform, inbox, row)
    except Exception as error:
        logger.exception("%s", cause.name)
        row.note = f"{row.note} Broken off: {type(error).__name__}: {error}".strip()
        is_whole = False
    row.load_average = round(os.getloadavg()[0], 1)
    return is_whole


def _measure(cause: Injected, platform: Platform, inbox: Inbox, row: Row) -> None:
    """Injects one cause into a calm platform, and waits for its alert and for its end."""
    if wait_for(lambda: not inbox.open_names(), CALM_PATIENCE_SECONDS) is None:
        row.note = f"Still open at its beginning: {', '.join(sorted(inbox.open_names()))}."
    time.sleep(CALM_SECONDS)
    lost_before = alerts_lost(platform.alerts(), inbox) or 0
    before = len(inbox.read())
    logger.info("%s.", cause.name)
    began = time.monotonic()

    def since() -> float:
        return round(time.monotonic() - began, 1)

    injection: Injection = cause.inject(platform)
    opened = wait_for(
        lambda: first_of(inbox.read()[before:], Kind.OPENED, cause), cause.patience_seconds
    )
    if opened is not None:
        row.told_after_seconds = round(opened.at - began, 1)
        row.sentence = opened.sentence.replace(str(platform.state.parent), "…")
    if injection.once_told is not None:
        injection.once_told()
    if injection.mend is not None:
        injection.mend()
        row.mended_after_seconds = since()
    if opened is not None:
        closed = wait_for(
            lambda: first_of(inbox.read()[before:], Kind.RECOVERED, cause, opened.asset),
            cause.recovery_seconds,
        )
        row.recovered_after_seconds = None if closed is None else round(closed.at - began, 1)
    if wait_for(lambda: not inbox.open_names(), CALM_PATIENCE_SECONDS) is not None:
        row.calm_after_seconds = since()
    told = [each for each in inbox.read()[before:] if each.kind is Kind.OPENED]
    own = [each for each in told if is_of(each, cause)]
    row.causes_told = sorted({each.cause for each in own})
    row.told_beside = sorted(
        {f"{t.name}{f' ({t.cause})' if t.cause else ''}" for t in told if not is_of(t, cause)}
    )
    wait_for(lambda: alerts_lost(platform.alerts(), inbox) == lost_before, 60)
    lost = alerts_lost(platform.alerts(), inbox)
    row.alerts_lost = None if lost is None else max(0, lost - lost_before)
    if injection.once_over is not None:
        injection.once_over()


def is_of(told: Told, cause: Injected) -> bool:
    """Whether an alert is of the check, and of the asset, that has to tell the cause."""
    return told.check == cause.check and told.asset.endswith(cause.asset)


def first_of(told: Sequence[Told], kind: Kind, cause: Injected, asset: str = "") -> Told | None:
    """The first alert of the kind that is of the cause, and of this asset where one is told."""
    return next(
        (t for t in told if t.kind is kind and is_of(t, cause) and asset in ("", t.asset)), None
    )


def alerts_lost(listed: dict[str, Any] | None, inbox: Inbox) -> int | None:
    """What did not arrive by the platform's own list of alerts; None without that.

    The watchdog keeps no list: what it tells is seen by its recovery alone.
    """
    if listed is None:
        return None
    gone = sum(route["dropped_ever"] + route["refused"] for route in listed["routes"])
    told = {each["name"] for each in listed["open"] if each["told"]}
    return int(gone) + len(listed["waiting"]) + len(told - inbox.told_names())


def wait_for(look: Callable[[], Found | None], seconds: float) -> Found | None:
    """What the look finds once that is something; None where it is nothing in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.5)


def _write(rows: Sequence[Row]) -> None:
    told = merged(RESULTS, [asdict(row) for row in rows], "name", NAMES)
    result = {"rows": told, "machine": machine()}
    write_results(RESULTS, result, page([Row(**row) for row in told], machine()))


def page(rows: Sequence[Row], on: object) -> str:
    """The results as a table."""
    lines = [
        "# Causes injected into a running platform",
        "",
        "Made by `python -m benchmarks.injected_causes`. Seconds from the injection to the arrival "
        "at an HTTP receiver. What breaks Dagster itself is in `watchdog_faults.md`.",
        "",
        f"The cold warehouse takes {COLD_SECONDS} s to its first answer: a real one takes 25 to "
        "40 s, which breaks no service level and wakes nobody. The clock is "
        f"{AHEAD_SECONDS} s ahead, the catalog is locked for {LOCKED_SECONDS} s, the notifier is "
        f"down for {NOTIFIER_DOWN_SECONDS} s. The file system that fills up has {SMALL_DISK_MB} "
        f"MiB, and the disk's thresholds are lowered to {SMALL_DISK_WARNING_MB} and "
        f"{SMALL_DISK_CRITICAL_MB} MiB for it.",
        "",
        "`load` is the machine's load average at the row's end. One platform alone leaves it under "
        "8 on two cores; above that another ran beside it, and all of the row came later than it "
        "would have.",
        "",
        "| cause | time to detect | named | time to recover | all calm | healed by | alerts lost | "
        "load | told beside it | message |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        healed = "itself" if row.mended_after_seconds is None else "a person (the benchmark)"
        told: tuple[object, ...] = (
            row.name,
            "not told" if row.told_after_seconds is None else row.told_after_seconds,
            ", ".join(name or row.check for name in row.causes_told),
            "not in time" if row.recovered_after_seconds is None else row.recovered_after_seconds,
            row.calm_after_seconds,
            healed,
            "not known" if row.alerts_lost is None else row.alerts_lost,
            row.load_average,
            ", ".join(row.told_beside) or "nothing",
            " ".join(each for each in (row.sentence, row.note) if each),
        )
        lines.append(f"| {' | '.join(cell(each) for each in told)} |")
    missing = [name for name in NAMES if name not in {row.name for row in rows}]
    if missing:
        lines += ["", f"Not measured yet: {', '.join(missing)}."]
    return "\n".join([*lines, "", f"{on}", ""])


if __name__ == "__main__":
    sys.exit(main())
