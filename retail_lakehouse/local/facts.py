"""What topics, tables and views say of themselves, as plain numbers.

Belongs here: reading offsets, marks and the record of view refreshes. Doesn't belong here: the
processes (`control.py`), putting it together (`status.py`). No warehouse connection is opened.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.mark import Mark, MarkKind
from retail_lakehouse.contracts.tables import TABLES, TableContract
from retail_lakehouse.contracts.view_contract import ViewContract
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS, VIEWS, materialized_under
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.landing import newest_landed_ms
from retail_lakehouse.warehouse.holds import Hold, HoldsError, read_holds
from retail_lakehouse.warehouse.refresh_record import (
    RowCount,
    ViewRecord,
    newest_shown_ms,
    read_records,
    read_row_counts,
)

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from retail_lakehouse.tables.marks import MarkedSnapshot

RATE_WINDOW_SECONDS = 60.0
_KAFKA_TIMEOUT_SECONDS = 3.0


class TablesUnreadableError(RuntimeError):
    """The tables could not be read just now; another look may succeed."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """One topic: its partitions' first kept and next offsets."""

    name: str
    topic_id: str
    earliest: dict[int, int]
    end: dict[int, int]


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table, from its metadata.

    `newest_ms` is the newest least(event time, broker time) that has landed, in epoch
    milliseconds; `events_per_second` what its writer read over the last minute. Totals count
    since the topic began. A table without a mark has None and 0. `arrivals` are (snapshot id, epoch
    ms) of its retained data snapshots, newest first.
    """

    name: str
    kind: str
    event: str | None
    rows: int
    newest_ms: int | None
    committed_ms: int | None
    mark: Mark | None
    events_per_second: float
    read: int
    landed: int
    quarantined: int
    duplicates: int
    arrivals: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ViewFacts:
    """One view as its last refresh left it; None where nothing is known. Times in epoch ms.

    A plain view is as fresh as the oldest of the materialized views that it reads. `counted_ms` is
    when its `rows` were counted, which is not with every refresh. `base_snapshots` is the data
    snapshot of each table, by its name in the contract, that a materialized view shows. `held_ms`
    is since when the view, or one that it reads, is held, and `held_reason` why; a reason without
    a time says that what is held cannot be read.
    """

    name: str
    materialized: bool
    rows: int | None
    counted_ms: int | None
    newest_ms: int | None
    refreshed_ms: int | None
    refresh_seconds: float | None
    state: str
    base_snapshots: Mapping[str, int | None] = field(default_factory=dict)
    held_ms: int | None = None
    held_reason: str = ""


def read_topics(settings: Settings) -> list[TopicFacts]:
    """The platform's topics.

    Raises:
        KafkaUnreachableError: The broker did not answer.
        TopicMissingError: A topic does not exist.
    """
    from retail_lakehouse.kafka.admin import describe_topics

    told = describe_topics(
        {"bootstrap.servers": settings.kafka_bootstrap},
        [topic.name for topic in settings.topics],
        _KAFKA_TIMEOUT_SECONDS,
    )
    return [
        TopicFacts(each.name, each.topic_id, each.earliest_offsets, each.end_offsets)
        for each in told
    ]


class TableReader:
    """Reads the tables' facts again and again, parsing only metadata that changed."""

    def __init__(self, settings: Settings) -> None:
        """Describe the reader; the catalog is opened by the first `read`."""
        self._settings = settings
        self._catalog: Catalog | None = None
        self._known: dict[str, tuple[str, TableFacts, list[MarkedSnapshot]]] = {}

    def read(self, contracts: Sequence[TableContract] = TABLES) -> list[TableFacts]:
        """The facts of each table that exists.

        Raises:
            CatalogError: There is no catalog yet.
            TablesUnreadableError: The catalog is locked, or metadata or a mark makes no sense.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return self._read(contracts)
        except SQLAlchemyError as error:
            told = str(getattr(error, "orig", None) or error)
        except (OSError, ValueError) as error:
            # A metadata file may be replaced while it is read; the next look finds the new one.
            told = str(error)
        raise TablesUnreadableError(
            f"The tables could not be read just now ({told}). If this stays, look at the catalog "
            f"{self._settings.catalog_db} with `retail-lakehouse doctor`."
        )

    def _read(self, contracts: Sequence[TableContract]) -> list[TableFacts]:
        from pyiceberg.exceptions import NoSuchTableError

        from retail_lakehouse.tables.catalog import open_catalog

        if self._catalog is None:
            self._catalog = open_catalog(self._settings)
        found = []
        for contract in contracts:
            try:
                table = self._catalog.load_table(contract.identifier)
            except NoSuchTableError:
                continue
            found.append(self._facts(contract, table))
        return found

    def _facts(self, contract: TableContract, table: Table) -> TableFacts:
        from retail_lakehouse.tables.marks import marked_snapshots

        name = contract.qualified_name
        known = self._known.get(name)
        if known is None or known[0] != table.metadata_location:
            snapshots = marked_snapshots(table)
            known = (table.metadata_location, _table_facts(contract, table, snapshots), snapshots)
            self._known[name] = known
        # The rate falls while nothing comes, so it is not part of what is remembered.
        rate = events_per_second(known[2], time.time() * 1000)
        return replace(known[1], events_per_second=rate)


def events_per_second(snapshots: Sequence[MarkedSnapshot], now_ms: float) -> float:
    """Records a second that the stream's commits of the last minute read.

    Counted from the first commit in the window (whose records came before it) up to now, without
    the wait for a commit that is not overdue yet: its records are to come.
    """
    window = [
        each
        for each in snapshots
        if each.mark is not None
        and each.mark.kind is MarkKind.STREAM
        and now_ms - each.timestamp_ms <= RATE_WINDOW_SECONDS * 1000
    ]
    if len(window) < 2:
        return 0.0
    times_ms = [each.timestamp_ms for each in window]
    usual_ms = max(after - before for before, after in pairwise(times_ms))
    overdue_ms = max(0.0, now_ms - times_ms[-1] - usual_ms)
    span_seconds = (times_ms[-1] - times_ms[0] + overdue_ms) / 1000
    read = sum(each.mark.batch.read for each in window[1:] if each.mark is not None)
    return read / span_seconds if span_seconds > 0 else 0.0


def _table_facts(
    contract: TableContract, table: Table, snapshots: Sequence[MarkedSnapshot]
) -> TableFacts:
    current = table.current_snapshot()
    summary = current.summary.additional_properties if current and current.summary else {}
    marks = [each.mark for each in snapshots if each.mark is not None]
    newest = [ms for mark in marks if (ms := newest_landed_ms(mark)) is not None]
    total = marks[-1].total if marks else None
    return TableFacts(
        name=contract.qualified_name,
        kind=contract.kind,
        event=contract.event,
        rows=int(summary.get("total-records", 0)),
        newest_ms=max(newest, default=None),
        committed_ms=snapshots[-1].timestamp_ms if snapshots else None,
        mark=marks[-1] if marks else None,
        events_per_second=0.0,
        read=total.read if total else 0,
        landed=total.landed if total else 0,
        quarantined=total.quarantined if total else 0,
        duplicates=total.duplicates if total else 0,
        arrivals=tuple((s.snapshot_id, s.timestamp_ms) for s in reversed(snapshots) if s.is_news),
    )


def read_views(root: Path) -> list[ViewFacts]:
    """Every view of the contract, with what its last refresh left."""
    records, counts = read_records(root), read_row_counts(root)
    holds: dict[str, Hold] = {}
    unknown = ""
    try:
        holds = read_holds(root).holds_among(MATERIALIZED_VIEWS)
    except HoldsError as error:
        unknown = str(error)
    found = [_view_facts(view, records, counts.get(view.name), holds) for view in VIEWS]
    return [replace(each, held_reason=unknown) for each in found] if unknown else found


def _view_facts(
    view: ViewContract,
    records: Mapping[str, ViewRecord],
    count: RowCount | None,
    holds: Mapping[str, Hold],
) -> ViewFacts:
    record = records.get(view.name)
    if count is None and record is not None:
        count = RowCount(record.rows, record.refreshed_at_ms, record.refreshed_at_ms)
    sources = [records.get(name) for name in materialized_under(view)]
    refreshed = [source.refreshed_at_ms for source in sources if source is not None]
    under = [holds[name] for name in sorted(materialized_under(view)) if name in holds]
    hold = min(under, key=lambda each: each.since_ms, default=None)
    return ViewFacts(
        name=view.qualified_name,
        materialized=view.is_materialized,
        rows=count.rows if count else None,
        counted_ms=count.rows_at_ms if count else None,
        newest_ms=newest_shown_ms(view, records),
        refreshed_ms=min(refreshed) if refreshed and len(refreshed) == len(sources) else None,
        refresh_seconds=record.duration_seconds if record else None,
        state=record.refresh_status if record else "",
        base_snapshots=record.base_snapshots if record else {},
        held_ms=hold.since_ms if hold else None,
        held_reason=hold.reason if hold else "",
    )
