"""The trials at the end of the runbooks, run on a platform as they stand on their page.

Belongs here: which page tells which alert, and what of it mends. Doesn't belong here: causes that
no page injects with a few lines (`causes_to_inject.py`), when they are run (`injected_causes.py`).
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.causes_to_inject import Injected, Injection
from benchmarks.platform_under_test import Platform, SensorSwitch
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS, Measure, runbook_of
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.settings import ENV_PREFIX
from retail_lakehouse_tests.docs.pages import COMMAND, Page, joined

INDEX = Page(str(Path(runbook_of(Measure.VOLUME)).with_name("README.md")))
SNAPSHOT_ON_THE_PAGE = "6183520144921"
STEP_SECONDS = 300.0
UNLOOKED_PATIENCE_SECONDS = SERVICE_LEVELS.unlooked_seconds + 300.0

Step = tuple[str, str]
"""A fenced block: its language and its lines."""


def as_written(measure: Measure, mending: int = 0) -> Callable[[Platform], Injection]:
    """Injects by the blocks of the page's trial; the last `mending` of them are for the mend."""
    steps = Page(runbook_of(measure)).steps("Try it")
    injecting = steps[: len(steps) - mending]

    def inject(platform: Platform) -> Injection:
        run(platform, injecting)
        rest = steps[len(injecting) :]
        return Injection(mend=(lambda: run(platform, rest)) if rest else None)

    return inject


def rolled_back(measure: Measure) -> Callable[[Platform], Injection]:
    """Injects by the page's trial, and mends as the index rolls the table back."""

    def inject(platform: Platform) -> Injection:
        run(platform, Page(runbook_of(measure)).steps("Try it"))
        return Injection(mend=lambda: roll_back(platform, measure))

    return inject


def roll_back(platform: Platform, measure: Measure) -> None:
    """Follows the index, with the snapshot that the open alert names."""
    wrong = snapshot_named(platform, measure)
    steps = INDEX.steps("Rolling a table back")
    run(platform, [(kind, code.replace(SNAPSHOT_ON_THE_PAGE, wrong)) for kind, code in steps])


def snapshot_named(platform: Platform, measure: Measure) -> str:
    """The snapshot in the sentence of the check's open alert.

    Raises:
        RuntimeError: none is open, or it names none.
    """
    for incident in (platform.alerts() or {"open": []})["open"]:
        found = re.search(r"\bsnapshot (\d+)", incident["sentence"])
        if found and incident["name"].endswith(f":{measure}"):
            return found[1]
    raise RuntimeError(f"No open alert of {measure} names a snapshot.")


def run(platform: Platform, steps: Sequence[Step]) -> None:
    """Runs blocks one after the other, as a person pastes them.

    Raises:
        subprocess.CalledProcessError: one failed.
    """
    environment = platform.environment | {f"{ENV_PREFIX}STATE_DIR": str(platform.state)}
    for argv in (argv for step in steps for argv in calls(step)):
        subprocess.run(  # noqa: S603
            [sys.executable, *argv],
            env=environment,
            check=True,
            timeout=STEP_SECONDS,
            stdin=subprocess.DEVNULL,
        )


def calls(step: Step) -> list[list[str]]:
    """Python's arguments for a block: the code itself, or our command once for each line."""
    language, code = step
    if language == "python":
        return [["-c", code]]
    lines = [shlex.split(line, comments=True) for line in joined(code).splitlines()]
    found = [line for line in lines if line]
    if language != "sh" or any(line[0] != COMMAND for line in found):
        raise ValueError(f"A person's step, not one that can be run here: {code}")
    return [["-m", "retail_lakehouse.cli", *line[1:]] for line in found]


def _unlooked(platform: Platform) -> Injection:
    switch = SensorSwitch(platform.settings)
    switch.turn(is_on=False)
    return Injection(mend=lambda: switch.turn(is_on=True))


TRIALS: tuple[Injected, ...] = (
    Injected(
        "topics that do not answer",
        Measure.TOPIC_AVAILABLE,
        "",
        "",
        as_written(Measure.TOPIC_AVAILABLE, mending=1),
    ),
    Injected(
        "an hour with a quarter of its records",
        Measure.VOLUME,
        event_table(INVENTORY).name,
        "",
        as_written(Measure.VOLUME, mending=1),
    ),
    Injected(
        "a row deleted by hand",
        Measure.REFRESHED_INCREMENTALLY,
        "",
        "",
        as_written(Measure.REFRESHED_INCREMENTALLY),
    ),
    Injected(
        "a warehouse that is down for a quarter of an hour",
        Measure.SNAPSHOTS_OUTLAST_REFRESH,
        "",
        "",
        as_written(Measure.SNAPSHOTS_OUTLAST_REFRESH, mending=1),
        1200,
    ),
    Injected(
        "rows that land twice, rolled back",
        Measure.UNIQUE_BY_KEY,
        event_table(INVENTORY).name,
        "",
        rolled_back(Measure.UNIQUE_BY_KEY),
        on_a_fresh_platform=True,
    ),
    Injected(
        "rows past the judge, rolled back",
        Measure.CONFORMS_TO_CONTRACT,
        event_table(INVENTORY).name,
        "",
        rolled_back(Measure.CONFORMS_TO_CONTRACT),
        on_a_fresh_platform=True,
    ),
    Injected(
        "a sensor that is switched off for an hour",
        Measure.CHECKS_LOOKED_AT,
        "",
        "",
        _unlooked,
        UNLOOKED_PATIENCE_SECONDS,
        on_a_fresh_platform=True,
    ),
)
