"""Each cause injected into a running platform: how soon it is told, in which words, what heals it.

    python -m benchmarks.injected_causes [--only WORDS] [--state-dir FOLDER]

Starts the platform on a fresh state folder and free ports with the limits of the service levels,
and a real HTTP receiver as its notifier; injects one cause after the other and waits for its alert
and its recovery. Written: `benchmarks/results/injected_causes.md` and `.json`. Exits 1 if a cause
was not told, had another name, or did not recover. About 70 minutes. For a small disk name a folder
on one, of some 8 GB. What breaks Dagster itself is in `watchdog_faults.py`.

Belongs here: the order of things and what is noted. Doesn't belong here: how each cause is injected
(`causes_to_inject.py`).
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.causes_to_inject import CAUSES, Injected, Platform
from benchmarks.long_run import _call, _environment, left_behind
from benchmarks.stack_samples import machine
from retail_lakehouse_tests.alerts.build import Receiver, receiver

RESULTS = Path(__file__).parent / "results"
CALM_SECONDS = 60.0
logger = logging.getLogger(__name__)


@dataclass
class Told:
    """One alert that arrived, by its arrival in seconds of the monotonic clock."""

    at: float
    kind: str
    asset: str
    check: str
    sentence: str
    cause: str


@dataclass
class Row:
    """What came of one cause; seconds from its beginning, None where it did not happen."""

    name: str
    check: str
    cause: str
    told_after_seconds: float | None = None
    sentence: str = ""
    cause_told: str = ""
    recovered_after_seconds: float | None = None
    mended_after_seconds: float | None = None
    """When a person (this benchmark) mended it; None where it healed itself."""
    told_beside: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether it was told under its own name, and recovered."""
        is_named = not self.cause or self.cause_told == self.cause
        is_over = self.recovered_after_seconds is not None
        return self.told_after_seconds is not None and is_named and is_over


@dataclass
class Result:
    """All of it."""

    machine: object
    rows: list[Row] = field(default_factory=list)
    messages: int = 0
    attempts: int = 0
    dropped: int = 0
    still_in_outbox: int = 0
    left_behind: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether every cause held and no alert was lost."""
        is_told = self.dropped == 0 and self.still_in_outbox == 0
        return bool(self.rows) and all(r.held for r in self.rows) and is_told


class Inbox:
    """What has arrived at the receiver."""

    def __init__(self, end: Receiver) -> None:
        self.end = end
        self.told: list[Told] = []
        self._read = 0

    def read(self) -> list[Told]:
        """Everything that has arrived by now."""
        for received in self.end.taken[self._read :]:
            self._read += 1
            for alert in received.body["alerts"]:
                self.told.append(
                    Told(
                        time.monotonic(),
                        alert["kind"],
                        alert["asset"],
                        alert["check"],
                        alert["sentence"],
                        str(alert["figures"].get("cause", "")),
                    )
                )
        return self.told

    def open_names(self) -> set[str]:
        """Incidents that have opened and not recovered."""
        found: set[str] = set()
        for told in self.read():
            name = f"{told.asset}:{told.check}"
            (found.discard if told.kind == "recovered" else found.add)(name)
        return found


def main() -> int:
    """Runs it all; the exit code says whether everything held."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    state = Path(options.state_dir or tempfile.mkdtemp(prefix="retail-lakehouse-causes-"))
    result = Result(machine())
    chosen = [each for each in CAUSES if any(w in each.name for w in options.only.split("|"))]
    with receiver() as end:
        inbox, environment = Inbox(end), _environment() | _routes(state, end)
        platform = Platform(state, environment)
        try:
            with running(platform):
                for cause in chosen:
                    result.rows.append(_measure(cause, platform, inbox))
                    logger.info("%s", json.dumps(asdict(result.rows[-1])))
                _count(result, platform, end)
        finally:
            result.left_behind = left_behind(state)
            RESULTS.mkdir(exist_ok=True)
            text = json.dumps(asdict(result), indent=1) + "\n"
            (RESULTS / "injected_causes.json").write_text(text)
            (RESULTS / "injected_causes.md").write_text(page(result), encoding="utf-8")
    if result.held and not options.state_dir:
        shutil.rmtree(state)
    return 0 if result.held else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default="", help="causes with these words; several with |")
    parser.add_argument("--state-dir", help="a fresh folder; a temporary one if not given")
    return parser.parse_args()


def _routes(state: Path, end: Receiver) -> dict[str, str]:
    routes = state.with_name(f"{state.name}-routes.toml")
    routes.write_text(f'[[route]]\nname = "hook"\nkind = "webhook"\nurl = "{end.url}/"\n')
    return {"RETAIL_LAKEHOUSE_ALERT_ROUTES_FILE": str(routes)}


@contextmanager
def running(platform: Platform) -> Iterator[None]:
    """The platform, live; stopped at the end."""
    platform.start()
    try:
        yield
    finally:
        platform.stop()


def _measure(cause: Injected, platform: Platform, inbox: Inbox) -> Row:
    """Injects one cause into a calm platform and notes what comes of it."""
    row = Row(cause.name, cause.check, cause.cause)
    _wait(lambda: not inbox.open_names(), 900)
    time.sleep(CALM_SECONDS)
    before = len(inbox.read())
    logger.info("%s.", cause.name)
    began = time.monotonic()
    mend = cause.inject(platform)

    def arrived(kind: str) -> Told | None:
        return next(
            (
                told
                for told in inbox.read()[before:]
                if (told.kind, told.check) == (kind, cause.check) and cause.asset in told.asset
            ),
            None,
        )

    opened = _wait(lambda: arrived("opened"), cause.patience_seconds)
    if opened is not None:
        row.told_after_seconds = round(opened.at - began, 1)
        row.sentence, row.cause_told = opened.sentence, opened.cause
    if mend is not None:
        mend()
        row.mended_after_seconds = round(time.monotonic() - began, 1)
    if opened is not None:
        closed = _wait(lambda: arrived("recovered"), cause.recovery_seconds)
        row.recovered_after_seconds = None if closed is None else round(closed.at - began, 1)
    _wait(lambda: not inbox.open_names(), 300)
    own = (cause.check,)
    row.told_beside = sorted(
        {
            f"{told.asset}:{told.check}{f' ({told.cause})' if told.cause else ''}"
            for told in inbox.read()[before:]
            if told.kind == "opened" and told.check not in own
        }
    )
    return row


def _wait(condition, seconds: float):  # type: ignore[no-untyped-def]
    """What the condition answers once it holds; None where it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.5)
    return None


def _count(result: Result, platform: Platform, end: Receiver) -> None:
    """Messages that arrived, and those that did not."""
    result.messages, result.attempts = len(end.taken), len(end.attempts)
    result.dropped = sum(received.body.get("dropped", 0) for received in end.taken)
    listed = _call(["alerts", "list", "--json"], platform.state, platform.environment)
    result.still_in_outbox = len(json.loads(listed.stdout).get("waiting", []))


def page(result: Result) -> str:
    """The result as a table."""
    lines = [
        "# Causes injected into a running platform",
        "",
        "Made by `python -m benchmarks.injected_causes`. Seconds from the injection to the arrival "
        "at an HTTP receiver.",
        "",
        "| cause | told after | named | recovered after | healed by | told beside it | message |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result.rows:
        healed = "itself" if row.mended_after_seconds is None else "a person"
        named = row.cause_told or row.check
        beside = ", ".join(row.told_beside) or "nothing"
        lines.append(
            f"| {row.name} | {row.told_after_seconds} | {named} | {row.recovered_after_seconds} | "
            f"{healed} | {beside} | {row.sentence.replace('|', '/')} |"
        )
    lines += [
        "",
        f"{result.messages} messages arrived in {result.attempts} attempts; {result.dropped} were "
        f"dropped, {result.still_in_outbox} waited at the end. Processes left behind: "
        f"{', '.join(result.left_behind) or 'none'}.",
        "",
        f"{result.machine}",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
