"""Judging quarantined records again, by today's contract, as an asset that is materialized by hand.

Here: the choice of records as configuration, and the report as metadata. Not here: the replay
(`retail_lakehouse.streaming.replay`), the session it runs in (`resources/spark.py`).
"""

from typing import Any

import dagster as dg
from pydantic import Field

from retail_lakehouse.assets.describe import code_reference, column_schema
from retail_lakehouse.assets.keys import OWNER, QUARANTINE_GROUP, table_key
from retail_lakehouse.contracts.events import EVENTS, event_named
from retail_lakehouse.contracts.reasons import Reason
from retail_lakehouse.contracts.tables import (
    DATABASE,
    QUARANTINE_COLUMNS,
    QUARANTINE_TABLES,
    event_table,
)
from retail_lakehouse.job_settings import job_arguments
from retail_lakehouse.resources.spark import SparkResource

_EVENT_NAMES = ", ".join(event.name for event in EVENTS)
_REASONS = ", ".join(reason.value for reason in Reason)


class ReplayConfig(dg.Config):
    """Which quarantined records are judged again: all that match, least often kept first."""

    event: str = Field(description=f"Whose quarantine: {_EVENT_NAMES}.")
    reasons: list[str] = Field(
        default=[], description=f"Only these reasons; none means all. One of {_REASONS}."
    )
    offsets: dict[str, list[int]] = Field(
        default={},
        description='Only these offsets: partition to [from, to), such as {"0": [100, 200]}.',
    )
    limit: int = Field(default=10_000, description="At most so many records, 1 to 50,000.")


def quarantine_replay_asset() -> dg.AssetsDefinition:
    """The replay; one run judges one topic's records."""

    @dg.asset(
        key=dg.AssetKey([DATABASE, "quarantine_replay"]),
        deps=[table_key(table) for table in QUARANTINE_TABLES],
        description=(
            "Judges chosen quarantined records by today's contract. Good ones land in their event "
            "table through the same commit as the stream's; the originals stay in quarantine, "
            "each with its outcome beside it, those of a topic that was made again since as well. "
            "Records whose batch has not landed yet are counted and left to it. The streaming job "
            "yields meanwhile."
        ),
        group_name=QUARANTINE_GROUP,
        owners=[OWNER],
        kinds={"pyspark", "iceberg"},
        metadata={
            # What a replay appends: an outcome beside each original.
            "dagster/column_schema": column_schema(QUARANTINE_COLUMNS),
            **code_reference("retail_lakehouse/streaming/replay.py", "The replay"),
        },
    )
    def quarantine_replay(
        context: dg.AssetExecutionContext, config: ReplayConfig, spark: SparkResource
    ) -> dg.MaterializeResult[Any]:
        from retail_lakehouse.streaming.lock import LockHeldError, NoLeaseError, leasable
        from retail_lakehouse.streaming.replay import (
            ReplayError,
            ReplaySelection,
            replay_quarantine,
        )

        event = _known_event(config.event)
        selection = ReplaySelection(
            reasons=tuple(_known_reason(reason) for reason in config.reasons),
            offsets={_partition(p): _range(p, ends) for p, ends in config.offsets.items()},
            limit=config.limit,
        )
        run_id = context.run.run_id
        settings = spark.platform()
        try:
            leasable(settings.topic_locks)
            with spark.session(job_arguments(settings, event)) as session:
                report = replay_quarantine(
                    session,
                    event,
                    selection,
                    run_id,
                    catalog_name=settings.catalog_name,
                    topic_locks=settings.topic_locks,
                )
        except (ReplayError, LockHeldError, NoLeaseError) as error:
            raise dg.Failure(description=str(error)) from error
        context.log.info("Judged %d quarantined records of %s again.", report.chosen, event)
        return dg.MaterializeResult(
            metadata={
                "event": event,
                "judged": report.chosen,
                "landed": report.landed,
                "duplicates": report.duplicates,
                "kept": report.kept,
                "kept_by_reason": dg.MetadataValue.json(report.kept_by_reason),
                # Of the judged; by the topic id that they came by.
                "of_earlier_topics": dg.MetadataValue.json(report.earlier_topics),
                "waiting_for_their_batch": report.waiting,
                "replay_id": run_id,
                "event_table": dg.MetadataValue.asset(table_key(event_table(event))),
            }
        )

    return quarantine_replay


def _known_event(name: str) -> str:
    try:
        return event_named(name).name
    except KeyError as error:
        raise dg.Failure(description=str(error.args[0])) from error


def _known_reason(name: str) -> str:
    try:
        return Reason(name).value
    except ValueError as error:
        raise dg.Failure(
            description=f"There is no reason {name!r} to be quarantined; there are {_REASONS}."
        ) from error


def _partition(text: str) -> int:
    if not text.isdecimal():
        raise dg.Failure(description=f"{text!r} is no partition; give its number.")
    return int(text)


def _range(partition: str, ends: list[int]) -> tuple[int, int]:
    if len(ends) != 2 or not 0 <= ends[0] < ends[1]:
        raise dg.Failure(
            description=f"The offsets of partition {partition} must be [from, to) with from below "
            f"to, not {ends}."
        )
    return ends[0], ends[1]
