"""What ticks by the clock: maintenance of the tables.

Here: schedules, their cron lines' source and configuration. Not here: what watches (`sensors/`),
what a run does (`assets/maintenance.py`).
"""

from datetime import datetime, timedelta

import dagster as dg

from retail_lakehouse.assets.keys import maintenance_key
from retail_lakehouse.assets.maintenance import CompactionConfig, task_op_name, task_selection
from retail_lakehouse.contracts.maintenance import (
    COMPACTION_CRON,
    ORPHANS_CRON,
    WHOLE_EVERY_HOURS,
    MaintenanceTask,
)
from retail_lakehouse.contracts.tables import EVENT_TABLES

WHOLE_TAG = "retail_lakehouse/whole"
"""Of a run that maintained everything, not the last closed hour alone."""
HOURLY = [maintenance_key(MaintenanceTask.COMPACTION, table) for table in EVENT_TABLES]
"""What the run of each hour takes."""
_COMPACTION_JOB = "compact_and_expire"
_EVERY = timedelta(hours=WHOLE_EVERY_HOURS)
_SLACK = timedelta(minutes=30)
"""Half of the time between two ticks: a run is made some seconds after its own."""


def maintenance_schedules() -> list[dg.ScheduleDefinition]:
    """Closed hours every hour, orphan files every night, the rest every six hours; times UTC."""
    return [_compaction_schedule(), _orphans_schedule()]


def schedule_left_to_dev(schedule: dg.ScheduleDefinition, why: str) -> dg.ScheduleDefinition:
    """A schedule in place of another that does nothing; switched on by hand, its ticks say `why`.

    For a bare `dagster dev` beside `make dev`, as `sensors/left_to_dev.py` says.
    """

    def skip(context: dg.ScheduleEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason(why)

    return dg.ScheduleDefinition(
        name=schedule.name,
        cron_schedule=schedule.cron_schedule,
        execution_timezone=schedule.execution_timezone,
        execution_fn=skip,
        job=schedule.job,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"{why} Leave its switch alone, both share it. {schedule.description}",
    )


def takes_everything(at: datetime, last: datetime | None) -> bool:
    """Whether the run of the tick `at` maintains everything, or the hour that was closed last.

    `last` is when the last run that did was made, if it succeeded. Not asked of the hour: a tick
    that was missed and a run that failed are made up for by the next one.
    """
    return last is None or at - last > _EVERY - _SLACK


def _last_whole(instance: dg.DagsterInstance) -> datetime | None:
    taken = dg.RunsFilter(
        job_name=_COMPACTION_JOB,
        tags={WHOLE_TAG: "true"},
        statuses=[dg.DagsterRunStatus.SUCCESS],
    )
    records = instance.get_run_records(taken, limit=1)
    return records[0].create_timestamp if records else None


def _compaction_schedule() -> dg.ScheduleDefinition:
    tasks = (MaintenanceTask.COMPACTION, MaintenanceTask.EXPIRY)
    job = dg.define_asset_job(_COMPACTION_JOB, selection=task_selection(*tasks))

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        at = context.scheduled_execution_time
        whole = takes_everything(at, _last_whole(context.instance))
        ops = {task_op_name(MaintenanceTask.COMPACTION): CompactionConfig(reopened=whole)}
        return dg.RunRequest(
            run_key=at.isoformat(),
            run_config=dg.RunConfig(ops=ops),
            tags={WHOLE_TAG: str(whole).lower()},
            asset_selection=None if whole else HOURLY,
        )

    return dg.ScheduleDefinition(
        name="compact_closed_hours",
        cron_schedule=COMPACTION_CRON,
        execution_timezone="UTC",
        execution_fn=request,
        job=job,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=(
            f"Compacts the hour that was closed last; every {WHOLE_EVERY_HOURS} hours also the "
            "partitions that late rows reopened and the quarantines, and expires old snapshots."
        ),
    )


def _orphans_schedule() -> dg.ScheduleDefinition:
    job = dg.define_asset_job("remove_orphans", selection=task_selection(MaintenanceTask.ORPHANS))
    return dg.ScheduleDefinition(
        name="remove_orphan_files",
        cron_schedule=ORPHANS_CRON,
        execution_timezone="UTC",
        job=job,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes files that nothing names, once they are old enough.",
    )
