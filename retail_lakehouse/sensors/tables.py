"""The sensor that turns new Iceberg snapshots into materializations.

Here: one tick over all tables, and the snapshot each was reported up to. Not here: what is news
(`assets/tables.py`), or when silence is (`assets/still_fresh.py`).
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
from retail_lakehouse.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.table import Table


def tables_sensor(settings: Settings) -> dg.SensorDefinition:
    """Reports new snapshots every `sensor_seconds`, one materialization a table and tick."""

    @dg.sensor(
        name="report_snapshots",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="One materialization a table and tick covers every new data snapshot; one "
        "now and then says that a quiet table has all that was sent.",
    )
    def report_snapshots(
        context: dg.SensorEvaluationContext,
        iceberg: IcebergCatalogResource,
        kafka: KafkaResource,
    ) -> dg.SensorResult:
        memory = Memory.from_cursor(context.cursor)
        seen: dict[str, Any] = memory.facts.setdefault("snapshots", {})
        reported: dict[str, int] = memory.facts.setdefault("reported_ms", {})
        silent: list[tuple[TableContract, Table]] = []
        events: list[dg.AssetMaterialization] = []
        unseen: list[str] = []
        loaded = iceberg.tables()
        at = now_ms()
        for contract in TABLES:
            table = loaded[contract.name]
            if isinstance(table, str):
                unseen.append(table)
                continue
            try:
                news = news_of(table, contract, seen.get(contract.name))
            except MarkError as error:
                unseen.append(str(error))
                continue
            if news is not None:
                events.append(table_materialization(news, at))
                reported[contract.name] = at
            elif contract.kind == "events" and report_is_due(
                reported.get(contract.name, 0), settings.sensor_seconds, at
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
                reported[contract.name] = at
        # Of event tables and quarantines a failed check of `watch_stream` says the same; dimensions
        # have no check: this sentence is where an unreadable one shows.
        why = " ".join(dict.fromkeys(unseen))
        missed = f"{len(unseen)} of {len(TABLES)} tables cannot be read: {why} "
        told = f"{with_news} tables have new data." if with_news else "No new snapshot."
        if len(events) > with_news:
            told += f" {len(events) - with_news} tables have all that was sent."
        return dg.SensorResult(
            asset_events=events,
            cursor=memory.to_cursor(),
            skip_reason=f"{missed if unseen else ''}{told}",
        )

    return report_snapshots
