"""The sensor that turns new Iceberg snapshots into materializations.

Here: one tick over all tables, and the snapshot each was reported up to. Not here: what is news
(`assets/tables.py`), or when silence is (`assets/still_fresh.py`). A streaming job commits every
few seconds: a materialization for each tick would fill Dagster's event log with 200 MB a day, so
that a table's news is gathered for `report_interval_seconds` and reported as one. What fails is not
told here, but by the checks.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from retail_lakehouse.assets.still_fresh import quiet_table, report_is_due
from retail_lakehouse.assets.stream import now_ms
from retail_lakehouse.assets.tables import news_of, table_materialization
from retail_lakehouse.contracts.mark import MarkError
from retail_lakehouse.contracts.tables import TABLES, TableContract
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.kafka import KafkaResource
from retail_lakehouse.sensors.edges import Memory
from retail_lakehouse.sensors.reports import report_every_seconds
from retail_lakehouse.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.table import Table

SPARE_SECONDS = 120
"""So long before the last reported snapshot may expire, news is reported: a tick may be late."""
SELDOM = 2
"""Tables that nobody waits for (quarantines, dimensions) are reported that much less often."""


def tables_sensor(settings: Settings) -> dg.SensorDefinition:
    """Looks every `sensor_seconds`; one materialization a table for what is new by then."""
    every_seconds = report_every_seconds(settings, settings.sensor_seconds)
    # What was reported last must still be there: counting begins behind it.
    kept_seconds = settings.retention_minutes * 60 - SPARE_SECONDS

    @dg.sensor(
        name="report_snapshots",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="One materialization a table covers every data snapshot since its last; one "
        "now and then says that a quiet table has all that was sent.",
    )
    def report_snapshots(
        context: dg.SensorEvaluationContext,
        iceberg: IcebergCatalogResource,
        kafka: KafkaResource,
    ) -> dg.SensorResult:
        memory = Memory.from_cursor(context.cursor)
        seen: dict[str, Any] = memory.facts.setdefault("snapshots", {})
        silent: list[tuple[TableContract, Table]] = []
        events: list[dg.AssetMaterialization] = []
        unseen: list[str] = []
        waiting = 0
        loaded = iceberg.tables()
        at = now_ms()
        for contract in TABLES:
            table = loaded[contract.name]
            if isinstance(table, str):
                unseen.append(table)
                continue
            seldom = 1 if contract.kind == "events" else SELDOM
            if not memory.is_due(contract.name, at, min(seldom * every_seconds, kept_seconds)):
                current = table.current_snapshot()
                is_new = current is not None and current.snapshot_id != seen.get(contract.name)
                waiting += is_new
                continue
            try:
                news = news_of(table, contract, seen.get(contract.name))
            except MarkError as error:
                unseen.append(str(error))
                continue
            if news is not None:
                events.append(table_materialization(news, at))
                memory.note(contract.name, "reported", at)
            elif contract.kind == "events" and report_is_due(
                memory.reported_ms(contract.name),
                settings.sensor_seconds,
                settings.report_interval_seconds,
                at,
            ):
                silent.append((contract, table))
            current = table.current_snapshot()
            if current is not None:
                # Also past a compaction: the walk from there on is shorter.
                seen[contract.name] = current.snapshot_id
        with_news = len(events)
        # Kafka is asked only where a table has been silent for long.
        topics = kafka.describe() if silent else {}
        for contract, table in silent:
            report = quiet_table(contract, table, topics, at)
            if report is not None:
                events.append(report)
                memory.note(contract.name, "reported", at)
        # Of event tables and quarantines a failed check of `watch_stream` says the same; dimensions
        # have no check: this sentence is where an unreadable one shows.
        why = " ".join(dict.fromkeys(unseen))
        missed = f"{len(unseen)} of {len(TABLES)} tables cannot be read: {why} "
        told = f"{with_news} tables have new data." if with_news else "Nothing to report."
        if len(events) > with_news:
            told += f" {len(events) - with_news} tables have all that was sent."
        if waiting:
            told += f" {waiting} have snapshots that wait for their next report."
        return dg.SensorResult(
            asset_events=events,
            cursor=memory.to_cursor(),
            skip_reason=f"{missed if unseen else ''}{told}",
        )

    return report_snapshots
