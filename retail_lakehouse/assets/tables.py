"""The Iceberg tables: external assets, and the materialization that new snapshots are worth.

Here: specs, what is news since a snapshot, and its metadata. Not here: reading snapshots
(`retail_lakehouse.tables.marks`), the verdict on their age (`checks/`), the tick (`sensors/`).
Everything comes from table metadata: no row is read.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from retail_lakehouse.assets.describe import code_reference, column_schema, moment, seconds_between
from retail_lakehouse.assets.keys import OWNER, TABLE_GROUPS, job_key, table_key, topic_key
from retail_lakehouse.contracts.events import event_named
from retail_lakehouse.contracts.mark import Counts, Mark
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.tables import TABLES, TableContract
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.landing import newest_landed_ms

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from retail_lakehouse.tables.marks import MarkedSnapshot

MAX_IDS_SHOWN = 5
"""Of the newest snapshots: the others are in Iceberg's own table of them."""


@dataclass(frozen=True, slots=True)
class TableNews:
    """New data snapshots of one table since `since`, oldest first; never empty.

    `gap`: the snapshot of the last report has expired, so some snapshots between were never
    reported. Nothing is lost by it: `until` and the totals are cumulative.
    """

    contract: TableContract
    snapshots: tuple["MarkedSnapshot", ...]
    since: int | None
    gap: bool
    summary: dict[str, str]
    """Iceberg's own totals at the newest snapshot."""

    @property
    def newest(self) -> "MarkedSnapshot":
        """The newest data snapshot."""
        return self.snapshots[-1]

    @property
    def mark(self) -> Mark | None:
        """The newest mark among the news."""
        return next((s.mark for s in reversed(self.snapshots) if s.mark), None)


def news_of(table: "Table", contract: TableContract, since: int | None) -> TableNews | None:
    """What is new in a table since the snapshot `since` (None: since ever); None if nothing is.

    A `replace` snapshot (compaction) is no news: it must not make a dead stream look alive.
    """
    from retail_lakehouse.tables.marks import marked_snapshots

    current = table.current_snapshot()
    if current is None or current.snapshot_id == since:
        return None
    chain = marked_snapshots(table, after=since)
    news = tuple(snapshot for snapshot in chain if snapshot.is_news)
    if not news:
        return None
    return TableNews(
        contract=contract,
        snapshots=news,
        since=since,
        gap=since is not None and chain[0].parent_id != since,
        summary=dict(current.summary.additional_properties) if current.summary else {},
    )


def table_metadata(news: TableNews, now_ms: int) -> dict[str, Any]:
    """Metadata of the one materialization that covers the news."""
    marks = [snapshot.mark for snapshot in news.snapshots if snapshot.mark]
    metadata: dict[str, Any] = {
        "rows_added": sum(snapshot.added_records for snapshot in news.snapshots)
    }
    # What people look for comes first: the UI keeps this order.
    if marks:
        metadata |= _ages(marks, news.newest.timestamp_ms, now_ms)
        metadata |= _mark_metadata(marks, news.newest.timestamp_ms)
    metadata |= {
        "dagster/last_updated_timestamp": moment(news.newest.timestamp_ms),
        "files_added": sum(snapshot.added_files for snapshot in news.snapshots),
        "snapshots": len(news.snapshots),
        "snapshot_ids": [str(s.snapshot_id) for s in news.snapshots[-MAX_IDS_SHOWN:]],
    }
    if news.gap:
        metadata["gap"] = (
            f"Snapshot {news.since}, the last one reported, has expired: rows_added counts only "
            "the snapshots still there. Totals and offsets are cumulative and miss nothing."
        )
    totals = (("dagster/row_count", "total-records"), ("files", "total-data-files"))
    for name, key in (*totals, ("size_bytes", "total-files-size")):
        if key in news.summary:
            metadata[name] = int(news.summary[key])
    return metadata


def table_materialization(news: TableNews, now_ms: int) -> dg.AssetMaterialization:
    """One event for all the news; the newest snapshot's id is the data version."""
    return dg.AssetMaterialization(
        asset_key=table_key(news.contract),
        description=(
            f"{len(news.snapshots)} commits up to snapshot {news.newest.snapshot_id}"
            if len(news.snapshots) > 1
            else f"Snapshot {news.newest.snapshot_id}"
        ),
        metadata=table_metadata(news, now_ms),
        tags={"dagster/data_version": str(news.newest.snapshot_id)},
    )


def table_specs(settings: Settings) -> list[dg.AssetSpec]:
    """All tables as nodes that others write: the streaming jobs, or the platform's start."""
    return [_spec(contract, settings) for contract in TABLES]


def _spec(contract: TableContract, settings: Settings) -> dg.AssetSpec:
    deps: list[dg.AssetKey] = []
    metadata: dict[str, Any] = {
        "dagster/table_name": contract.qualified_name,
        "dagster/column_schema": column_schema(contract.columns),
        "dagster/uri": f"{settings.warehouse_uri}/{'/'.join(contract.identifier)}",
    }
    policy = None
    if contract.event is not None:
        event = event_named(contract.event)
        deps = [job_key(event)]
        metadata |= code_reference(
            f"glue_scripts/{event.name}_streaming.py", "Streaming entry point"
        )
        metadata["partitioned_by"] = ", ".join(contract.partition_by)
        metadata["topic"] = dg.MetadataValue.asset(topic_key(event))
    else:
        metadata |= code_reference(
            f"retail_lakehouse/contracts/data/{contract.name}.csv", "The data"
        )
    if contract.kind == "events":
        # Judges the last materialization: `still_fresh.py` makes one where nothing waits.
        policy = dg.FreshnessPolicy.time_window(
            fail_window=timedelta(seconds=settings.unreported_seconds),
            warn_window=timedelta(
                seconds=SERVICE_LEVELS.ingest_lag_seconds
                + settings.report_interval_seconds
                + 2 * settings.sensor_seconds
            ),
        )
    return dg.AssetSpec(
        table_key(contract),
        deps=deps,
        description=contract.doc,
        group_name=TABLE_GROUPS[contract.kind],
        owners=[OWNER],
        kinds={"iceberg", "table"},
        metadata=metadata,
        freshness_policy=policy,
    )


def _ages(marks: Sequence[Mark], committed_ms: int, now_ms: int) -> dict[str, Any]:
    """How long the newest row was under way, and how old it is by now."""
    instants = [ms for mark in marks if (ms := newest_landed_ms(mark)) is not None]
    if not instants:
        return {}
    newest = max(instants)
    return {
        "lag_seconds": seconds_between(newest, committed_ms),
        "age_seconds": seconds_between(newest, now_ms),
        "newest_event": moment(newest),
    }


def _mark_metadata(marks: Sequence[Mark], committed_ms: int) -> dict[str, Any]:
    last = marks[-1]
    batch = sum((mark.batch for mark in marks), start=Counts())
    metadata: dict[str, Any] = {
        "records_read": batch.read,
        "quarantined": batch.quarantined,
        "duplicates_dropped": batch.duplicates,
        "with_unknown_fields": batch.with_extra,
        "duplicates_past_horizon_at_most": batch.unsearched,
        "batch_seconds": seconds_between(last.batch_started_ms, committed_ms),
    }
    if last.previous_commit_ms is not None:
        metadata["previous_commit_seconds"] = last.previous_commit_ms / 1000
    return metadata | {
        "offsets": _covered(marks),
        "until": {str(partition): offset for partition, offset in sorted(last.until.items())},
        # One entry for what nobody plots: each is 130 bytes in the event log, for each report.
        "total": asdict(last.total),
        "written_by": f"{last.engine}, run {last.run_id}, contract {last.contract_version}",
    }


def _covered(marks: Sequence[Mark]) -> dict[str, str]:
    covered: dict[int, tuple[int, int]] = {}
    for mark in marks:
        for partition, (start, end) in mark.ranges.items():
            first, last = covered.get(partition, (start, end))
            covered[partition] = (min(first, start), max(last, end))
    return {str(p): f"{start} to {end - 1}" for p, (start, end) in sorted(covered.items())}
