"""The views of the warehouse: materialized ones that really refresh, plain ones on top.

Here: specs, which views are due, one refresh (the Materialize button's and the sensor's) and its
metadata. Not here: the SQL (`contracts/`), the session (`resources/warehouse.py`), the tick
(`sensors/views.py`), what plain views show by now (`plain_views.py`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from retail_lakehouse.assets.describe import code_reference, column_schema, moment, seconds_between
from retail_lakehouse.assets.keys import (
    MATERIALIZED_VIEWS_GROUP,
    OWNER,
    VIEWS_GROUP,
    table_key_named,
    view_key,
)
from retail_lakehouse.assets.new_data import DataLook, look_at_new_data
from retail_lakehouse.assets.plain_views import new_row_counts, views_to_count
from retail_lakehouse.assets.stream import HOUR_MS, now_ms
from retail_lakehouse.contracts.mark import MarkError
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.tables import TABLES, TableContract
from retail_lakehouse.contracts.views import (
    EXTERNAL_SCHEMA,
    MATERIALIZED_VIEWS,
    VIEWS,
    ViewContract,
)
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.warehouse import WarehouseResource
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.landing import waiting_since_ms
from retail_lakehouse.warehouse.holds import Hold, HoldsError
from retail_lakehouse.warehouse.refresh_record import (
    ViewRecord,
    read_records,
    read_row_counts,
    write_records,
)

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from retail_lakehouse.warehouse.refresh import RefreshResult

BUTTON_PATIENCE_SECONDS = 60.0
"""How long a button waits for a view that the sensor is refreshing."""
LOOK_LASTS_SECONDS = SERVICE_LEVELS.warehouse_latency_seconds
"""What a session takes longer to open has woken the warehouse: the tables are looked at again."""

_BASE_NAMES = {name for view in MATERIALIZED_VIEWS for name in view.source_tables}
BASE_TABLES: tuple[TableContract, ...] = tuple(t for t in TABLES if t.name in _BASE_NAMES)


@dataclass(frozen=True, slots=True)
class BaseLook:
    """A table under views: its newest data snapshot, and when each one came, newest first."""

    newest: int | None
    arrivals: tuple[tuple[int, int], ...]
    """(snapshot id, epoch ms) of the data snapshots of the last hour, or of the newest one."""
    kept: Mapping[int, int] = field(default_factory=dict)
    """When each snapshot that has not expired was committed (epoch ms), by its id."""

    def waiting_since_ms(self, served: int | None) -> int | None:
        """When the first data came that a view which serves `served` does not show.

        An hour ago at most: longer than any service level.
        """
        return waiting_since_ms(self.arrivals, served)


def look_at_bases(iceberg: IcebergCatalogResource) -> dict[str, BaseLook | str]:
    """Every table under a materialized view; a sentence in place of one that cannot be read."""
    return bases_among(iceberg.tables(BASE_TABLES))


def bases_among(tables: "Mapping[str, Table | str]") -> dict[str, BaseLook | str]:
    """The look at the tables under materialized views, of tables that are loaded already."""
    since_ms = now_ms() - HOUR_MS
    return {
        contract.name: table
        if isinstance(table := tables[contract.name], str)
        else _base_look(table, since_ms)
        for contract in BASE_TABLES
    }


@dataclass(frozen=True, slots=True)
class BeforeRefresh:
    """The tables under the views, and what their new data is like; a sentence if that is unknown.

    Where it is unknown no view may be refreshed.
    """

    bases: dict[str, BaseLook | str]
    data: DataLook | str
    again: "Callable[[], BeforeRefresh]"
    """Looks anew."""
    looked_at: float = field(default_factory=time.monotonic)

    def held_among(self, views: Sequence[ViewContract]) -> dict[str, Hold]:
        """What holds any of the views, by their names.

        Raises:
            HoldsError: that is not known.
        """
        if isinstance(self.data, str):
            raise HoldsError(self.data)
        return self.data.book.holds_among(views)

    def renewed(self) -> "BeforeRefresh":
        """The look itself while it is a recent one, and a new one after that."""
        return self if time.monotonic() - self.looked_at <= LOOK_LASTS_SECONDS else self.again()


def look_before_refresh(iceberg: IcebergCatalogResource, settings: Settings) -> BeforeRefresh:
    """Looks at the tables, and evaluates what they have gained since the last look."""
    tables, data = look_at_new_data(iceberg, settings, BASE_TABLES)
    return BeforeRefresh(bases_among(tables), data, lambda: look_before_refresh(iceberg, settings))


def due_views(
    bases: Mapping[str, BaseLook | str], records: Mapping[str, ViewRecord]
) -> list[ViewContract]:
    """The views whose tables have data that their last refresh did not see."""
    return [view for view in MATERIALIZED_VIEWS if _is_due(view, bases, records.get(view.name))]


@dataclass(frozen=True, slots=True)
class Refreshing:
    """What came of a refresh: a result for each view that nothing held, and what held the others.

    Both by the view's name, in the order of the views.
    """

    results: "Mapping[str, RefreshResult]"
    held: Mapping[str, Hold]
    before: BeforeRefresh
    """The look that it went by."""


def refresh_and_record(
    views: Sequence[ViewContract],
    warehouse: WarehouseResource,
    before: BeforeRefresh,
    settings: Settings,
    label: str,
    patience_seconds: float = 0.0,
    counts_since_ms: int = 0,
) -> Refreshing:
    """Refreshes the views that nothing holds, in one session, and writes down what came of it.

    Plain views whose count is due are counted in the same session; a count from before
    `counts_since_ms` is due. Where every view is held no session is opened.

    Raises:
        WarehouseError: there is no session, it broke, or the views were never created.
        HoldsError: what is held is not known, so nothing was refreshed.
    """
    held = before.held_among(views)
    free = [view for view in views if view.name not in held]
    results: dict[str, RefreshResult] = {}
    if free:
        told, before = _refresh(
            free, warehouse, before, settings, label, patience_seconds, counts_since_ms
        )
        results = {result.view: result for result in told}
        held = held | before.held_among(free)
    in_order = {view.name: held[view.name] for view in views if view.name in held}
    return Refreshing(results, in_order, before)


def _refresh(
    views: Sequence[ViewContract],
    warehouse: WarehouseResource,
    before: BeforeRefresh,
    settings: Settings,
    label: str,
    patience_seconds: float,
    counts_since_ms: int,
) -> "tuple[list[RefreshResult], BeforeRefresh]":
    """The results, and the look that they went by: a new one where the warehouse had to wake up."""
    latest, counts = before, read_row_counts(settings.root)

    def still_free(chosen: Sequence[ViewContract]) -> list[ViewContract]:
        nonlocal latest
        latest = latest.renewed()
        held = latest.held_among(chosen)
        return [view for view in chosen if view.name not in held]

    names = {view.name for view in views}
    to_count = views_to_count(names, counts, settings.refresh_seconds, counts_since_ms, now_ms())
    refreshed = warehouse.refresh(views, label, patience_seconds, to_count, still_free)
    results, at = refreshed.results, now_ms()
    sources = {view.name: view.source_tables for view in views}
    records = {
        result.view: ViewRecord(
            refreshed_at_ms=at,
            duration_seconds=round(result.duration_seconds, 3),
            rows=result.rows,
            newest_event_ms=result.newest_event_ms,
            refresh_status=result.status,
            state=result.state,
            latency_seconds=_rounded(result.latency_seconds),
            incremental=result.incremental,
            base_snapshots={
                name: base.newest
                for name in sources[result.view]
                if isinstance(base := latest.bases[name], BaseLook)
            },
        )
        for result in results
        if result.ok
    }
    counted = new_row_counts(refreshed.row_counts, counts, at)
    if records or counted:
        write_records(settings.root, {**records, **counted})
    return results, latest


def view_metadata(record: ViewRecord) -> dict[str, Any]:
    """Metadata of one refresh, the same from the button and from the sensor."""
    metadata: dict[str, Any] = {
        "refresh_seconds": record.duration_seconds,
        "refresh_status": record.refresh_status,
    }
    if record.incremental is not None:
        metadata["incremental"] = record.incremental
    if record.state is not None:
        metadata["state"] = record.state
    if record.rows is not None:
        metadata["dagster/row_count"] = record.rows
    if record.latency_seconds is not None:
        metadata["warehouse_latency_seconds"] = record.latency_seconds
    if record.newest_event_ms is not None:
        metadata["newest_event"] = moment(record.newest_event_ms)
        metadata["age_seconds"] = seconds_between(record.newest_event_ms, record.refreshed_at_ms)
        metadata["dagster/last_updated_timestamp"] = moment(record.newest_event_ms)
    return metadata


def view_data_version(view: ViewContract, record: ViewRecord) -> str:
    """The data snapshots that the view shows: it changes when, and only when, they do."""
    shown = record.base_snapshots
    return ".".join(str(shown[name]) for name in view.source_tables if name in shown)


def view_materialization(view: ViewContract, record: ViewRecord) -> dg.AssetMaterialization:
    """The event that the sensor reports, equal to what the Materialize button leaves."""
    return dg.AssetMaterialization(
        asset_key=view_key(view),
        metadata=view_metadata(record),
        tags={"dagster/data_version": view_data_version(view, record)},
    )


def held_observation(view: ViewContract, hold: Hold) -> dg.AssetObservation:
    """What the page of a view says while its refresh is held."""
    return dg.AssetObservation(
        asset_key=view_key(view),
        description=hold.sentence(view.name),
        metadata={
            "held_since": moment(hold.since_ms),
            "held_because": hold.reason,
            "findings": [each.code for each in hold.findings],
            "release": f"retail-lakehouse views release {view.name}",
        },
    )


def materialized_view_assets(settings: Settings) -> dg.AssetsDefinition:
    """The materialized views; Materialize refreshes the chosen ones in one warehouse session."""
    by_key = {view_key(view): view for view in MATERIALIZED_VIEWS}

    @dg.multi_asset(
        name="refresh_views",
        specs=[_spec(view, settings) for view in MATERIALIZED_VIEWS],
        can_subset=True,
    )
    def refresh_views(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        iceberg: IcebergCatalogResource,
    ) -> Iterator[dg.MaterializeResult[Any]]:
        from retail_lakehouse.warehouse.errors import WarehouseError

        chosen = [view for key, view in by_key.items() if key in context.selected_asset_keys]
        before = look_before_refresh(iceberg, settings)
        try:
            told = refresh_and_record(
                chosen,
                warehouse,
                before,
                settings,
                f"dagster-run:{context.run.run_id}",
                BUTTON_PATIENCE_SECONDS,
            )
        except (WarehouseError, HoldsError) as error:
            raise dg.Failure(description=str(error)) from error
        records, results = read_records(settings.root), told.results.values()
        for view in chosen:
            result = told.results.get(view.name)
            if result is not None and result.ok:
                record = records[view.name]
                yield dg.MaterializeResult(
                    asset_key=view_key(view),
                    metadata=view_metadata(record),
                    data_version=dg.DataVersion(view_data_version(view, record)),
                )
        failed = [f"{result.view}: {result.status}" for result in results if not result.ok]
        failed += [hold.sentence(name) for name, hold in told.held.items()]
        if failed:
            raise dg.Failure(description=" ".join(failed), allow_retries=not told.held)

    return refresh_views


def plain_view_specs(settings: Settings) -> list[dg.AssetSpec]:
    """The plain views: computed when they are queried, so there is nothing to refresh."""
    return [_spec(view, settings) for view in VIEWS if not view.is_materialized]


def _spec(view: ViewContract, settings: Settings) -> dg.AssetSpec:
    policy = None
    if view.is_materialized:
        # Judges the last materialization: `still_fresh.py` makes one where nothing waits.
        policy = dg.FreshnessPolicy.time_window(
            fail_window=timedelta(seconds=settings.unreported_seconds),
            warn_window=timedelta(
                seconds=SERVICE_LEVELS.ingest_lag_seconds
                + max(settings.report_interval_seconds, settings.refresh_seconds)
            ),
        )
    return dg.AssetSpec(
        view_key(view),
        deps=[_dependency(name) for name in view.depends_on],
        description=view.doc,
        group_name=MATERIALIZED_VIEWS_GROUP if view.is_materialized else VIEWS_GROUP,
        owners=[OWNER],
        kinds={"redshift", "sql"} if view.is_materialized else {"redshift", "view"},
        metadata={
            "dagster/table_name": view.qualified_name,
            "dagster/column_schema": column_schema(view.columns),
            **code_reference(f"retail_lakehouse/contracts/sql/{view.sql_file}", "The view's SQL"),
        },
        freshness_policy=policy,
    )


def _dependency(name: str) -> dg.AssetKey:
    schema, _, relation = name.partition(".")
    if schema == EXTERNAL_SCHEMA:
        return table_key_named(relation)
    return dg.AssetKey([schema, relation])


def _base_look(table: "Table", since_ms: int) -> BaseLook | str:
    from retail_lakehouse.tables.marks import newest_first

    arrivals: list[tuple[int, int]] = []
    try:
        for snapshot in newest_first(table):
            if arrivals and snapshot.timestamp_ms < since_ms:
                break
            if snapshot.is_news:
                arrivals.append((snapshot.snapshot_id, snapshot.timestamp_ms))
    except MarkError as error:
        # One table's mark that nobody can read must not keep the other tables' views from theirs.
        return str(error)
    return BaseLook(
        newest=arrivals[0][0] if arrivals else None,
        arrivals=tuple(arrivals),
        kept={each.snapshot_id: each.timestamp_ms for each in table.metadata.snapshots},
    )


def _is_due(
    view: ViewContract, bases: Mapping[str, BaseLook | str], record: ViewRecord | None
) -> bool:
    served = record.base_snapshots if record else {}
    looks = {name: bases[name] for name in view.source_tables}
    seen = {name: base.newest for name, base in looks.items() if isinstance(base, BaseLook)}
    # A table that nothing was ever committed to is nothing to refresh for.
    return len(seen) == len(looks) and any(
        newest is not None and newest != served.get(name) for name, newest in seen.items()
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
