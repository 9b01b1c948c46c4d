"""The look at what tables have gained since the last look, before a view may fold it.

Here: which commits are new, what is wrong with them, and writing both down. Not here: the rules
themselves (`tables/offsets.py`, `conformity.py`, `keys.py`), what a finding holds
(`warehouse/holds.py`), verdicts (`checks/data_judges.py`).

Marks are free, so every new commit's is looked at. Rows are read from the files that a commit
added, at most `ROWS_MOST` a table and look: of more than that the newest commits', and the verdict
says how many were left out.
"""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from retail_lakehouse.assets.stream import HOUR_MS, now_ms
from retail_lakehouse.contracts.events import EventContract, event_named
from retail_lakehouse.contracts.mark import MarkError
from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.contracts.tables import EVENT_TABLES, QUARANTINE_TABLES, TableContract
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.evaluated import (
    BUCKET_MS,
    Evaluated,
    read_evaluated,
    write_evaluated,
)
from retail_lakehouse.tables.offsets import follow
from retail_lakehouse.warehouse.holds import Finding, HoldBook, HoldsError, add_findings

if TYPE_CHECKING:
    from pathlib import Path

    from pyiceberg.table import Table

    from retail_lakehouse.resources.iceberg import IcebergCatalogResource
    from retail_lakehouse.tables.marks import MarkedSnapshot

EVALUATED_TABLES: tuple[TableContract, ...] = (*EVENT_TABLES, *QUARANTINE_TABLES)
ROWS_MOST = 200_000
"""Of one table and look: at 300 events a second ten minutes of them."""
RULES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class DataLook:
    """What the last look saw, by table, and what is open; a sentence for what cannot be seen."""

    tables: Mapping[str, Evaluated | str]
    book: HoldBook


def look_at_new_data(
    iceberg: "IcebergCatalogResource", settings: Settings, also: tuple[TableContract, ...] = ()
) -> "tuple[dict[str, Table | str], DataLook | str]":
    """Loads the evaluated tables, and those of `also`, and looks at what is new in them.

    A sentence in place of the look where what is held can be neither read nor written: no view may
    be refreshed then. Raises nothing, so that one outage does not hide the others.
    """
    wanted = tuple({each.name: each for each in (*EVALUATED_TABLES, *also)}.values())
    tables: dict[str, Table | str] | None = None
    try:
        with _alone(settings.root):
            # Loaded by whoever looks: an older load would see a table that has gone back.
            tables = iceberg.tables(wanted)
            return tables, evaluate_new_data(tables, settings, now_ms())
    except HoldsError as error:
        return tables or iceberg.tables(wanted), str(error)


def evaluate_new_data(
    tables: "Mapping[str, Table | str]", settings: Settings, at_ms: int
) -> DataLook:
    """Looks at the new commits of `EVALUATED_TABLES` and writes down what it finds.

    What is found is written before how far the look came: a kill in between finds it again, which
    changes nothing. Its caller looks alone.

    Raises:
        HoldsError: what is held can be neither read nor written.
    """
    before = read_evaluated(settings.root)
    seen: dict[str, Evaluated | str] = {}
    found: list[Finding] = []
    for contract in EVALUATED_TABLES:
        table = tables[contract.name]
        if isinstance(table, str):
            seen[contract.name] = table
            continue
        known = before.get(contract.name)
        if known is not None and known.uuid != str(table.metadata.table_uuid):
            known = None
        try:
            look, findings = _look(table, contract, known, settings, at_ms)
        except OSError as error:
            raise HoldsError(
                f"What {contract.qualified_name} gained cannot be remembered under "
                f"{settings.root}: {error}. No view is refreshed until it can."
            ) from error
        seen[contract.name] = look
        found += findings
    book = add_findings(settings.root, found)
    after = before | {n: each for n, each in seen.items() if isinstance(each, Evaluated)}
    if after != before:
        try:
            write_evaluated(settings.root, after)
        except OSError as error:
            raise HoldsError(
                f"How far the data was looked at cannot be written under {settings.root}: "
                f"{error}. No view is refreshed until it can."
            ) from error
    return DataLook(seen, book)


def _look(
    table: "Table",
    contract: TableContract,
    known: Evaluated | None,
    settings: Settings,
    at_ms: int,
) -> tuple[Evaluated | str, list[Finding]]:
    from retail_lakehouse.tables.added_rows import RowsUnreadableError
    from retail_lakehouse.tables.keys import forget
    from retail_lakehouse.tables.marks import marked_snapshots

    since = known.snapshot_id if known else None
    current = table.current_snapshot()
    newest = current.snapshot_id if current else None
    if known is not None and newest == since:
        return known, []
    try:
        chain = marked_snapshots(table, after=since)
    except MarkError as error:
        return str(error), []
    goes_on = chain[0].parent_id == since if chain else since is None
    covered = known.covered if known and goes_on else None
    if not goes_on:
        # Expired unseen, or rolled back: what came before the chain says nothing of it any more.
        forget(_keys_folder(settings, contract))
    breaks, covered = follow(
        chain, covered, from_the_first=bool(chain) and chain[0].parent_id is None
    )
    found = [
        Finding.of(
            contract.name, Measure.OFFSETS_CONTIGUOUS, each.snapshot_id, each.sentence, at_ms
        )
        for each in breaks
    ]
    look = Evaluated(
        uuid=str(table.metadata.table_uuid),
        snapshot_id=newest,
        at_ms=at_ms,
        covered=covered,
        unseen_commits=known is not None and not goes_on,
        reasons=known.reasons if known else {},
    )
    appends = [each for each in chain if each.operation == "append" and each.added_records]
    try:
        if contract.kind == "events":
            look, of_rows = _look_at_rows(table, contract, appends, look, settings)
            found += of_rows
        else:
            look = _look_at_reasons(table, contract, appends, look)
    except RowsUnreadableError as error:
        # Not past it: what could not be read is looked at again.
        covered = known.covered if known else None
        return replace(look, snapshot_id=since, covered=covered, fault=str(error)), found
    return look, found


def _look_at_rows(
    table: "Table",
    contract: TableContract,
    appends: "Sequence[MarkedSnapshot]",
    look: Evaluated,
    settings: Settings,
) -> tuple[Evaluated, list[Finding]]:
    from retail_lakehouse.tables import keys
    from retail_lakehouse.tables.added_rows import added_rows
    from retail_lakehouse.tables.conformity import columns_of

    event = event_named(contract.event or "")
    chosen = _within_bound(appends)
    memory = keys.KeyMemory(
        _keys_folder(settings, contract), [each.snapshot_id for each, _ in chosen]
    )
    columns = tuple(dict.fromkeys((*columns_of(event), *keys.COLUMNS)))
    found, read = [], 0
    for snapshot, most_rows in chosen:
        rows = added_rows(table, contract, snapshot.snapshot_id, columns, most_rows)
        read += rows.num_rows
        place = contract.name, snapshot.snapshot_id
        found += _unlike_contract(rows, event, snapshot, place, look.at_ms)
        twice = memory.repeats(
            snapshot.snapshot_id, keys.keys_of(rows, settings.dedupe_horizon_hours)
        )
        if twice:
            told = (
                f"{twice} of the {rows.num_rows} rows that snapshot {snapshot.snapshot_id} brought "
                "are of events that had landed already (event id and event hour)."
            )
            found.append(Finding.of(place[0], Measure.UNIQUE_BY_KEY, place[1], told, look.at_ms))
    memory.trim()
    new = sum(each.added_records for each in appends)
    return replace(look, rows_new=new, rows_read=read), found


def _unlike_contract(
    rows: object,
    event: EventContract,
    snapshot: "MarkedSnapshot",
    place: tuple[str, int],
    at_ms: int,
) -> list[Finding]:
    """The finding on rows that break the contract by which they were judged."""
    from retail_lakehouse.tables.conformity import broken_rules

    if snapshot.mark is not None and snapshot.mark.contract_version != event.version:
        # A job of before or after a change of contract: its rows are right by another one.
        return []
    broken = broken_rules(rows, event)
    if not broken:
        return []
    shown = [f"{rule} ({count})" for rule, count in list(broken.items())[:RULES_SHOWN]]
    more = f" and {len(broken) - RULES_SHOWN} more" if len(broken) > RULES_SHOWN else ""
    told = f"Rows that snapshot {place[1]} brought break the contract: {', '.join(shown)}{more}."
    return [Finding.of(place[0], Measure.CONFORMS_TO_CONTRACT, place[1], told, at_ms)]


def _look_at_reasons(
    table: "Table",
    contract: TableContract,
    appends: "Sequence[MarkedSnapshot]",
    look: Evaluated,
) -> Evaluated:
    """Counts why records went to quarantine; outcomes of a replay stand there beside them."""
    from retail_lakehouse.tables.added_rows import added_rows

    since_ms = look.at_ms - HOUR_MS - BUCKET_MS
    counts = {ms: dict(each) for ms, each in look.reasons.items() if ms > since_ms}
    read = 0
    for snapshot, most_rows in _within_bound(appends):
        if snapshot.timestamp_ms < since_ms:
            continue
        rows = added_rows(table, contract, snapshot.snapshot_id, ("reason", "outcome"), most_rows)
        read += rows.num_rows
        bucket = counts.setdefault(snapshot.timestamp_ms // BUCKET_MS * BUCKET_MS, {})
        told = zip(rows["reason"].to_pylist(), rows["outcome"].to_pylist(), strict=True)
        for reason, outcome in told:
            if outcome == "quarantined":
                bucket[reason] = bucket.get(reason, 0) + 1
    new = sum(each.added_records for each in appends)
    return replace(look, rows_new=new, rows_read=read, reasons=counts)


def _within_bound(
    appends: "Sequence[MarkedSnapshot]",
) -> "list[tuple[MarkedSnapshot, int]]":
    """The newest commits that fit into the bound, oldest first, and how many rows of each."""
    chosen, left = [], ROWS_MOST
    for snapshot in reversed(appends):
        if left <= 0:
            break
        chosen.append((snapshot, left))
        left -= snapshot.added_records
    return chosen[::-1]


def _keys_folder(settings: Settings, contract: TableContract) -> "Path":
    return settings.root / "run" / "keys" / contract.name


@contextmanager
def _alone(root: "Path") -> Iterator[None]:
    """Sensor, button and command line look one after the other."""
    lock = root / "locks" / "new-data"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = lock.open("a")
    except OSError as error:
        raise HoldsError(f"The lock {lock} cannot be taken: {error}.") from error
    with held:
        # Held for one bounded look, and freed by the kernel if its holder dies: no deadline.
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
