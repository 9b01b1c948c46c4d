"""What holds the refresh of views, since when, and who let it go: a file that survives restarts.

Here: findings, which views each of them holds, their release, and the file. Not here: what is a
finding (`assets/new_data.py`), or refreshing (`refresh.py`). Sensor, button, command line and
status all ask this file.

A finding is of one commit of one table: the same is found again however often the commit is looked
at, so that one that was let go holds nothing again, and that of another commit does.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.contracts.views import ViewContract, materialized_over

FINDINGS_MOST = 20
"""Of one measure of one table and one view: while so many hold it, one more says nothing new."""
RELEASES_MOST = 200


class HoldsError(RuntimeError):
    """What is held cannot be read or written down, or there is nothing of the sort to let go."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one commit, and the views that it still holds."""

    table: str
    measure: Measure
    snapshot_id: int
    sentence: str
    found_at_ms: int
    views: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """Names the finding: of the table, the measure and the commit."""
        return _code(self.table, self.measure, self.snapshot_id)

    @staticmethod
    def of(
        table: str, measure: Measure, snapshot_id: int, sentence: str, found_at_ms: int
    ) -> "Finding":
        """A new one: it holds every materialized view over the table."""
        views = tuple(view.name for view in materialized_over(table))
        return Finding(table, measure, snapshot_id, sentence, found_at_ms, views)


@dataclass(frozen=True, slots=True)
class Release:
    """Who let a finding go, when, and for which views; none where it held none."""

    code: str
    table: str
    measure: Measure
    sentence: str
    views: tuple[str, ...]
    by: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a view is not refreshed, and since when (epoch ms); the findings are the oldest first."""

    since_ms: int
    findings: tuple[Finding, ...]

    @property
    def since(self) -> str:
        """Since when, in words."""
        return datetime.fromtimestamp(self.since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    @property
    def reason(self) -> str:
        """The oldest finding in words, and how many there are beside it."""
        first, *others = self.findings
        more = f" And {len(others)} more." if others else ""
        return f"{first.table}, {first.measure}: {first.sentence}{more}"

    def sentence(self, view: str) -> str:
        """What is said wherever the view is not refreshed."""
        return (
            f"{view} is held since {self.since} and shows what was there before. {self.reason} "
            f"Once that is looked at, `retail-lakehouse views release {view}` lets it go."
        )


@dataclass(frozen=True, slots=True)
class HoldBook:
    """What is open, and what was let go last."""

    findings: tuple[Finding, ...] = ()
    releases: tuple[Release, ...] = ()

    def hold_of(self, view: str) -> Hold | None:
        """Why the view is held; None where it is not."""
        found = tuple(each for each in self.findings if view in each.views)
        return Hold(min(each.found_at_ms for each in found), found) if found else None

    def holds_among(self, views: Iterable[ViewContract]) -> dict[str, Hold]:
        """What holds any of the views, by their names."""
        holds = {view.name: self.hold_of(view.name) for view in views}
        return {name: hold for name, hold in holds.items() if hold is not None}

    def open_of(self, table: str, measure: Measure) -> list[Finding]:
        """What is open of one measure of one table."""
        return [each for each in self.findings if (each.table, each.measure) == (table, measure)]

    def with_found(self, found: Iterable[Finding]) -> "HoldBook":
        """The book with new findings; one that is in it, or was let go, is no new one."""
        book = self
        for finding in found:
            gone = [each for each in book.releases if each.code == finding.code]
            let_go = {view for each in gone for view in each.views}
            held = tuple(view for view in finding.views if view not in let_go)
            known = any(each.code == finding.code for each in book.findings)
            if known or (gone and not held) or book._says_enough(finding, held):
                continue
            book = replace(book, findings=(*book.findings, replace(finding, views=held)))
        return book

    def _says_enough(self, finding: Finding, views: tuple[str, ...]) -> bool:
        """Whether so much holds each of the views already that one more says nothing new.

        A view that was let go of all of it is held by the next one all the same.
        """
        known = self.open_of(finding.table, finding.measure)
        if not views:
            return len(known) >= FINDINGS_MOST
        return all(sum(view in each.views for each in known) >= FINDINGS_MOST for view in views)

    def without(
        self, subject: str, codes: Collection[str], by: str, at_ms: int
    ) -> tuple["HoldBook", list[Release]]:
        """Lets go what holds a view, or all over a table, by its name in the contract.

        `codes` are those of the findings meant; none means all that there are.
        """
        kept: list[Finding] = []
        released = []
        for finding in self.findings:
            of_table = finding.table == subject
            views = finding.views if of_table else tuple(v for v in finding.views if v == subject)
            if (codes and finding.code not in codes) or not (of_table or views):
                kept.append(finding)
                continue
            told = finding.table, finding.measure, finding.sentence
            released.append(Release(finding.code, *told, views, by, at_ms))
            left = tuple(view for view in finding.views if view not in views)
            if left:
                kept.append(replace(finding, views=left))
        return HoldBook(tuple(kept), (*self.releases, *released)[-RELEASES_MOST:]), released


def holds_file(root: Path) -> Path:
    """Where the holds of a state folder stand."""
    return root / "run" / "view_holds.json"


def read_holds(root: Path) -> HoldBook:
    """What is held.

    Raises:
        HoldsError: the file is damaged: what it held is not known.
    """
    path = holds_file(root)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return HoldBook(
            tuple(_finding(each) for each in told["findings"]),
            tuple(_release(each) for each in told["releases"]),
        )
    except FileNotFoundError:
        return HoldBook()
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise HoldsError(
            f"Which views are held cannot be read from {path} ({error!r}), so no view is "
            "refreshed. Look at what the checks of the tables say; then remove the file: that "
            "lets go whatever it held."
        ) from error


def add_findings(root: Path, found: Iterable[Finding]) -> HoldBook:
    """Writes new findings down, for good; returns what is held then.

    Raises:
        HoldsError: the file is damaged or cannot be written.
    """
    with _changing(root):
        before = read_holds(root)
        after = before.with_found(found)
        if after != before:
            _write(root, after)
        return after


def release(root: Path, subject: str, codes: Collection[str], by: str, at_ms: int) -> list[Release]:
    """Lets go what holds a view, or all over a table; returns what was let go.

    Raises:
        HoldsError: nothing of the sort is open, or the file is damaged or cannot be written.
    """
    with _changing(root):
        book = read_holds(root)
        after, released = book.without(subject, codes, by, at_ms)
        if not released:
            open_now = sorted({each.table for each in book.findings})
            over = f"What is open is of {', '.join(open_now)}." if open_now else "Nothing is held."
            named = f" by {', '.join(sorted(codes))}" if codes else ""
            raise HoldsError(
                f"{subject} is not held{named}. {over} `retail-lakehouse views list` shows it."
            )
        _write(root, after)
        return released


@contextmanager
def _changing(root: Path) -> Iterator[None]:
    lock = root / "locks" / "view-holds"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = lock.open("a")
    except OSError as error:
        raise HoldsError(f"The lock {lock} cannot be taken: {error}.") from error
    with held:
        # Held for one small write, and freed by the kernel if its holder dies: no deadline.
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _write(root: Path, book: HoldBook) -> None:
    path = holds_file(root)
    text = json.dumps(asdict(book))
    beside = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise HoldsError(
            f"What holds the views cannot be written to {path}: {error}. No view is refreshed "
            "until it can: free some space, or mend the folder's rights."
        ) from error


def _code(table: str, measure: str, snapshot_id: int) -> str:
    return hashlib.sha256(f"{table}:{measure}:{snapshot_id}".encode()).hexdigest()[:12]


def _finding(raw: dict[str, Any]) -> Finding:
    return Finding(
        table=str(raw["table"]),
        measure=Measure(raw["measure"]),
        snapshot_id=int(raw["snapshot_id"]),
        sentence=str(raw["sentence"]),
        found_at_ms=int(raw["found_at_ms"]),
        views=tuple(map(str, raw["views"])),
    )


def _release(raw: dict[str, Any]) -> Release:
    return Release(
        code=str(raw["code"]),
        table=str(raw["table"]),
        measure=Measure(raw["measure"]),
        sentence=str(raw["sentence"]),
        views=tuple(map(str, raw["views"])),
        by=str(raw["by"]),
        at_ms=int(raw["at_ms"]),
    )
