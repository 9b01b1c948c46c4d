"""The sensor that refreshes the views that are due.

Here: one tick: what the tables have gained, what is due and not held, one warehouse session for all
of it, what is reported. Not here: the look at new data (`assets/new_data.py`), the refresh
(`assets/views.py`), the verdicts (`checks/`). A refresh is reported without a run: a run would cost
more than the refresh. Where nothing is due, no connection is opened.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from retail_lakehouse.assets.keys import view_key
from retail_lakehouse.assets.plain_views import plain_view_materialization, plain_views_over
from retail_lakehouse.assets.still_fresh import quiet_view, report_is_due
from retail_lakehouse.assets.stream import now_ms
from retail_lakehouse.assets.views import (
    BaseLook,
    due_views,
    held_observation,
    look_before_refresh,
    refresh_and_record,
    view_materialization,
)
from retail_lakehouse.checks.data import holds_in, judge_data
from retail_lakehouse.checks.views import judge_views, note_outages
from retail_lakehouse.contracts.view_contract import ViewContract
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.warehouse import WarehouseResource
from retail_lakehouse.sensors.edges import Edge, Memory
from retail_lakehouse.sensors.remembered import VIEWS_SENSOR
from retail_lakehouse.sensors.reports import check_events, report_every_seconds, tick_sentence
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.holds import Hold, HoldsError
from retail_lakehouse.warehouse.refresh_record import (
    RowCount,
    ViewRecord,
    read_records,
    read_row_counts,
)

SESSION_LABEL = f"dagster-sensor:{VIEWS_SENSOR}"

ViewEvent = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


def views_sensor(settings: Settings) -> dg.SensorDefinition:
    """Refreshes due views every `refresh_seconds`; the first time it counts the plain ones too."""
    started_ms = now_ms()
    every_seconds = report_every_seconds(settings, settings.refresh_seconds)

    @dg.sensor(
        name=VIEWS_SENSOR,
        minimum_interval_seconds=settings.refresh_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        # No run is ever asked for: this makes the views' pages name the sensor.
        asset_selection=[view_key(view) for view in MATERIALIZED_VIEWS],
        description="Refreshes every view whose tables have new data, in one warehouse session.",
    )
    def refresh_due_views(
        context: dg.SensorEvaluationContext,
        iceberg: IcebergCatalogResource,
        warehouse: WarehouseResource,
    ) -> dg.SensorResult:
        from retail_lakehouse.warehouse.errors import WarehouseError
        from retail_lakehouse.warehouse.refresh import RefreshOutcome

        memory = Memory.from_cursor(context.cursor)
        before = look_before_refresh(iceberg, settings)
        due = due_views(before.bases, read_records(settings.root))
        outages: dict[str, str] = {}
        refreshed: set[str] = set()
        if due:
            try:
                told = refresh_and_record(
                    due,
                    warehouse,
                    before,
                    settings,
                    SESSION_LABEL,
                    counts_since_ms=started_ms,
                )
            except (WarehouseError, HoldsError) as error:
                # What is held was not tried, and has a check of its own that tells of it.
                held = holds_in(before.data)
                outages = {view.name: str(error) for view in due if view.name not in held}
            else:
                before, results = told.before, told.results.values()
                refreshed = {result.view for result in results if result.ok}
                outages = {
                    result.view: result.status
                    for result in results
                    if result.outcome is RefreshOutcome.FAILED
                }
        at, records = now_ms(), read_records(settings.root)
        note_outages(memory.facts, outages, at)
        holds = holds_in(before.data)
        events = _refreshes(refreshed, records, memory, at, every_seconds)
        events += _plain_views(refreshed, records, read_row_counts(settings.root), memory, at)
        reported = refreshed | {event.asset_key.path[-1] for event in events}
        quiet = [view for view in MATERIALIZED_VIEWS if view.name not in reported]
        events += _quiet_views(quiet, before.bases, records, settings, memory, at)
        events += _held_views(holds, memory, at)
        judged = [
            *judge_views(before.bases, records, outages, settings, at, holds),
            *judge_data(before.data),
        ]
        events += check_events(judged, memory, at)
        return dg.SensorResult(
            asset_events=events,
            cursor=memory.to_cursor(),
            skip_reason=" ".join(
                [tick_sentence(len(events), judged), *held_sentences(holds)],
            ),
        )

    return refresh_due_views


def _refreshes(
    refreshed: set[str],
    records: Mapping[str, ViewRecord],
    memory: Memory,
    at_ms: int,
    every_seconds: float,
) -> list[ViewEvent]:
    """Reports of the last refresh of each view that is due for one.

    What is refreshed and not reported is kept in mind: the last refresh before the data stops is
    the one that tells what the view shows from then on.
    """
    unreported = refreshed | set(memory.facts.get("unreported_views", ()))
    events: list[ViewEvent] = []
    for view in MATERIALIZED_VIEWS:
        record = records.get(view.name) if view.name in unreported else None
        if record is not None and memory.is_due(view.name, at_ms, every_seconds):
            events.append(view_materialization(view, record))
            memory.note(view.name, "reported", at_ms)
            unreported.discard(view.name)
    memory.facts["unreported_views"] = sorted(unreported)
    return events


def held_sentences(holds: Mapping[str, Hold]) -> list[str]:
    """Which views were left out of the refresh and why, once for those with the same reason."""
    by_reason: dict[str, list[str]] = {}
    for name, hold in holds.items():
        by_reason.setdefault(f"since {hold.since}: {hold.reason}", []).append(name)
    return [f"Held are {', '.join(names)} {told}" for told, names in by_reason.items()]


def _held_views(holds: Mapping[str, Hold], memory: Memory, at_ms: int) -> list[dg.AssetObservation]:
    """What the pages of held views say: at once, and then as heartbeats."""
    events = []
    for view in MATERIALIZED_VIEWS:
        hold, name = holds.get(view.name), f"{view.qualified_name}:held"
        if hold is None:
            memory.reported.pop(name, None)
            continue
        codes = ",".join(each.code for each in hold.findings)
        if memory.edge(name, codes, at_ms) is not Edge.PERSISTING:
            events.append(held_observation(view, hold))
    return events


def _plain_views(
    refreshed: set[str],
    records: Mapping[str, ViewRecord],
    counts: Mapping[str, RowCount],
    memory: Memory,
    at_ms: int,
) -> list[dg.AssetMaterialization]:
    """Reports of the plain views, as heartbeats: there are more of them than worth a tick each."""
    return [
        plain_view_materialization(view, records, counts.get(view.name), at_ms)
        for view in (plain_views_over(refreshed) if refreshed else [])
        if memory.edge(view.qualified_name, "shown", at_ms) is not Edge.PERSISTING
    ]


def _quiet_views(
    views: Sequence[ViewContract],
    bases: Mapping[str, BaseLook | str],
    records: Mapping[str, ViewRecord],
    settings: Settings,
    memory: Memory,
    at_ms: int,
) -> list[dg.AssetMaterialization]:
    """Reports of those views that were not refreshed for long because nothing waits for them."""
    refresh_seconds, gathered_seconds = settings.refresh_seconds, settings.report_interval_seconds
    events = []
    for view in views:
        record = records.get(view.name)
        last_ms = max(record.refreshed_at_ms if record else 0, memory.reported_ms(view.name))
        if report_is_due(last_ms, refresh_seconds, gathered_seconds, at_ms):
            report = quiet_view(view, record, bases, at_ms)
            if report is not None:
                events.append(report)
                memory.note(view.name, "reported", at_ms)
    return events
