"""The streaming jobs: nodes between a topic and its two tables, and what is reported of them.

Here: specs and the report of one look. Not here: who runs a job (`resources/`), the verdict on its
health (`checks/`), the job itself (`retail_lakehouse.streaming`).
"""

from typing import Any

import dagster as dg

from retail_lakehouse.assets.describe import code_reference, moment
from retail_lakehouse.assets.keys import JOBS_GROUP, OWNER, job_key, topic_key
from retail_lakehouse.contracts.events import EVENTS, EventContract
from retail_lakehouse.contracts.job_states import Phase
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.resources.job_runs import JobRun, JobState
from retail_lakehouse.settings import Settings


def job_specs(settings: Settings) -> list[dg.AssetSpec]:
    """One node an event: its topic above, its event and quarantine table below."""
    return [_spec(event, settings) for event in EVENTS]


def job_event(
    run: JobRun, event: EventContract, phase: Phase
) -> dg.AssetMaterialization | dg.AssetObservation:
    """What is reported when a job's state has changed, and as a heartbeat.

    Only a run that runs is a materialization: the graph shows the node as alive by its newest one.
    """
    metadata: dict[str, Any] = {
        "state": run.state.value,
        "phase": phase.value,
        "sentence": run.sentence,
    }
    if run.run_id is not None:
        metadata["run_id"] = run.run_id
    if run.started_at_ms is not None:
        metadata["started_at"] = moment(run.started_at_ms)
    if run.url is not None:
        metadata["console"] = dg.MetadataValue.url(run.url)
    if run.state is JobState.RUNNING:
        return dg.AssetMaterialization(asset_key=job_key(event), metadata=metadata)
    return dg.AssetObservation(asset_key=job_key(event), metadata=metadata)


def _spec(event: EventContract, settings: Settings) -> dg.AssetSpec:
    tables = f"`{event_table(event).qualified_name}` and `{quarantine_table(event).name}`"
    return dg.AssetSpec(
        job_key(event),
        deps=[topic_key(event)],
        description=(
            f"Structured Streaming: judges every record of `{event.topic}` by its contract, drops "
            f"duplicates, commits to {tables}, each commit with its mark."
        ),
        group_name=JOBS_GROUP,
        owners=[OWNER],
        kinds={"spark", "python"},
        metadata={
            "trigger_seconds": settings.trigger,
            "max_offsets_per_trigger": settings.offsets_per_trigger,
            "dedupe_horizon_hours": settings.dedupe_horizon_hours,
            "checkpoint": f"{settings.checkpoints}/{event.name}",
            **code_reference(f"glue_scripts/{event.name}_streaming.py", "Streaming entry point"),
        },
    )
