"""Whether each materialized view, after every refresh of a run, was what the raw rows give.

Here: one pass over the raw rows of the tables as they are when the run is over. A row is shown
from the first captured digest on whose `until` lies beyond its offset, so one pass gives what
every group of the view must have been at each of them. Not here: capturing (`captured.py`), or the
plain views on top (`check.py`).

The recomputation shares no text with the views, but that it spells the packed value of the newest
stock alike, as a hash of that text has to agree: its SQL is in `sql/history`.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.tables import EVENT_TABLES
from retail_lakehouse.contracts.views import ARRIVALS, MATERIALIZED_VIEWS, ViewContract
from retail_lakehouse.local.duckdb_extensions import load_extensions
from retail_lakehouse.local.recompute.captured import (
    CapturedDigest,
    CapturedError,
    CaptureEnd,
    Line,
    digests_file,
    read_lines,
)
from retail_lakehouse.settings import Settings

if TYPE_CHECKING:
    import duckdb

_MEMORY_MB = 2048
_THREADS = 2
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ViewHistory:
    """One view over a run.

    `refreshes` counts those that brought something, from the first captured one to the end of
    capturing, of which `missed` (their numbers) were never captured. What came before the first
    captured one counts as neither; its digest covers it. Where `has_end` is False nobody wrote
    down how capturing ended, and `refreshes` goes to the last captured one only. `digests` were
    compared, `equal` of them were what the raw rows give. `difference` is the first that was not,
    in words.
    """

    view: str
    refreshes: int
    missed: tuple[int, ...]
    digests: int
    equal: int
    difference: str
    seconds: float
    has_end: bool

    @property
    def is_equal(self) -> bool:
        """True when something was compared and not one digit differs."""
        return self.digests > 0 and self.equal == self.digests


def check_history(settings: Settings) -> list[ViewHistory]:
    """Compares every captured digest of the state folder's run with the raw rows.

    Needs the tables only: neither the warehouse nor anything else has to run.

    Raises:
        CapturedError: nothing was captured, or the rows cannot be placed among the refreshes.
    """
    from retail_lakehouse.tables.catalog import open_catalog

    path = digests_file(settings.root)
    lines = read_lines(path)
    if not lines:
        raise CapturedError(
            f"There are no digests in {path}: this state folder is of no run that captured any."
        )
    catalog = open_catalog(settings)
    tables = {each.name: catalog.load_table(each.identifier) for each in EVENT_TABLES}
    scans = {name: _scan(table.metadata_location) for name, table in tables.items()}
    with tempfile.TemporaryDirectory(dir=settings.root) as spill:
        connection = _open(spill)
        try:
            return [
                _check(
                    connection,
                    view,
                    _captured(lines, view),
                    _last_refresh(lines, view),
                    scans[view.source_tables[0]],
                )
                for view in MATERIALIZED_VIEWS
            ]
        finally:
            connection.close()


def history_lines(histories: Sequence[ViewHistory]) -> list[str]:
    """What was compared, for a person: a line of sums, a line a view, and what differs."""
    refreshes = sum(each.refreshes for each in histories)
    digests = sum(each.digests for each in histories)
    equal = sum(each.equal for each in histories)
    missed = sum(len(each.missed) for each in histories)
    lines = [
        f"refreshes: {refreshes:,}, digests: {digests:,}, equal: {equal:,}; refreshes without a "
        f"digest: {missed:,}"
    ]
    for each in histories:
        never = f", without a digest: {_numbers(each.missed)}" if each.missed else ""
        never += "" if each.has_end else ", how capturing ended is not known"
        lines.append(
            f"{each.view}: refreshes: {each.refreshes}, digests: {each.digests}, equal: "
            f"{each.equal}{never} ({each.seconds:.1f} s)"
        )
        if each.difference:
            lines.append(f"  {each.difference}")
    return lines


def _numbers(missed: Sequence[int]) -> str:
    shown = ", ".join(f"number {number}" for number in missed[:_SHOWN])
    return f"{shown} and {len(missed) - _SHOWN} more" if len(missed) > _SHOWN else shown


def _scan(location: str) -> str:
    return "iceberg_scan('{}')".format(location.replace("'", "''"))


def _open(spill: str) -> "duckdb.DuckDBPyConnection":
    import duckdb

    connection = duckdb.connect(
        config={
            "memory_limit": f"{_MEMORY_MB}MB",
            "threads": _THREADS,
            "temp_directory": spill,
            "preserve_insertion_order": False,
            "autoload_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    load_extensions(connection)
    return connection


def _captured(lines: Sequence[Line], view: ViewContract) -> list[CapturedDigest]:
    found = [x for x in lines if isinstance(x, CapturedDigest) and x.view == view.name]
    for before, after in pairwise(found):
        fell = any(after.until.get(p, 0) < offset for p, offset in before.until.items())
        if fell or after.refresh < before.refresh or after.columns != before.columns:
            raise CapturedError(
                f"{view.name} was made anew between its refreshes {before.refresh} and "
                f"{after.refresh}, or its topic was: what it showed before cannot be told from the "
                "rows that are there now."
            )
    names = tuple(column.name for column in view.columns)
    for each in found[:1]:
        if tuple(name for name, _ in each.columns) != names:
            raise CapturedError(
                f"The digests of {view.name} are of the columns {each.columns}, the contract has "
                f"{names}. Compare with the program that made the run."
            )
    return found


def _last_refresh(lines: Sequence[Line], view: ViewContract) -> int | None:
    """The number of the view's refreshes at the end of capturing, if the last line tells it."""
    # What was captured after an end was captured by another run: that one's end is missing.
    last = lines[-1]
    return last.last_refreshes.get(view.name) if isinstance(last, CaptureEnd) else None


def _check(
    connection: "duckdb.DuckDBPyConnection",
    view: ViewContract,
    captured: Sequence[CapturedDigest],
    last_refresh: int | None,
    raw: str,
) -> ViewHistory:
    started = time.monotonic()
    if not captured:
        return ViewHistory(view.name, 0, (), 0, 0, "No digest was captured.", 0.0, has_end=False)
    _refuse_unplaced(connection, view, captured, raw)
    expected = _expected(connection, view, captured, raw)
    wrong = [
        nr
        for nr, (each, wanted) in enumerate(zip(captured, expected, strict=True))
        if (each.rows, each.digest) != wanted
    ]
    numbers = {each.refresh for each in captured}
    last = max(captured[-1].refresh, last_refresh or 0)
    wanted_numbers = range(max(1, captured[0].refresh), last + 1)
    difference = ""
    if wrong:
        difference = _difference(connection, wrong[0], captured[wrong[0]], expected[wrong[0]])
    return ViewHistory(
        view=view.name,
        refreshes=len(wanted_numbers),
        missed=tuple(number for number in wanted_numbers if number not in numbers),
        digests=len(captured),
        equal=len(captured) - len(wrong),
        difference=difference,
        seconds=time.monotonic() - started,
        has_end=last_refresh is not None,
    )


def _refuse_unplaced(
    connection: "duckdb.DuckDBPyConnection",
    view: ViewContract,
    captured: Sequence[CapturedDigest],
    raw: str,
) -> None:
    """Refuses rows of which their offsets do not tell with which refresh they came.

    Raises:
        CapturedError: the digests are of several topics, or rows are of another one or of none.
    """
    topics = sorted({each.topic_id for each in captured if each.topic_id is not None})
    if len(topics) > 1:
        raise CapturedError(
            f"The digests of {view.name} are of {len(topics)} topics, {', '.join(topics)}: the "
            "topic was made anew during the run, and an offset of one says nothing about the "
            "other, so the refreshes of this run cannot be recomputed."
        )
    text = _text("unplaced").replace("{raw}", raw)
    # Nothing folded yet is no topic: rows of any may lie beyond the digests.
    row = connection.execute(text, {"topic_id": topics[0] if topics else None}).fetchone()
    without_offsets, of_others = row or (0, 0)
    if without_offsets or of_others:
        raise CapturedError(
            f"The table under {view.name} has {without_offsets} rows without offsets (backfill) "
            f"and {of_others} of another topic than the one captured: when they came in cannot be "
            "told from their offsets, so the refreshes of this run cannot be recomputed."
        )


def _expected(
    connection: "duckdb.DuckDBPyConnection",
    view: ViewContract,
    captured: Sequence[CapturedDigest],
    raw: str,
) -> list[tuple[int, int]]:
    """(rows, digest) that the view must have had at each captured one."""
    places = [
        {"nr": nr, "kafka_partition": partition, "until": offset}
        for nr, each in enumerate(captured)
        for partition, offset in each.until.items()
    ]
    connection.execute(_text("captured"), {"count": len(captured)})
    connection.execute(_text("bounds"), {"places": places})
    connection.execute(_text("arrived").replace("{raw}", raw))
    row = ", ".join(f"{name}::{kind}" for name, kind in captured[0].columns)
    versions = _text("arrivals" if view in ARRIVALS else view.name)
    connection.execute(_text("spans").replace("{row}", row).replace("{versions}", versions))
    found = connection.execute(_text("expected")).fetchall()
    return [(rows, int(digest)) for rows, digest in found]


def _difference(
    connection: "duckdb.DuckDBPyConnection",
    nr: int,
    captured: CapturedDigest,
    expected: tuple[int, int],
) -> str:
    row = connection.execute("SELECT count(*) FROM arrived WHERE nr <= ?", [nr]).fetchone()
    raw_rows = row[0] if row else 0
    sentence = (
        f"After refresh {captured.refresh} (snapshot {captured.snapshot_id}) the view had "
        f"{captured.rows} rows with digest {captured.digest}, the raw rows give {expected[0]} with "
        f"{expected[1]}."
    )
    if raw_rows == captured.records:
        return sentence
    return (
        f"{sentence} The table had {captured.records} rows then, and {raw_rows} of today's rows "
        "lie below the view's offsets: rows went away since, or came in with old offsets (replay)."
    )


def _text(name: str) -> str:
    file = resources.files(__package__).joinpath("sql", "history", f"{name}.sql")
    return file.read_text("utf-8").strip()
