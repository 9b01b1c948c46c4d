"""What ticks by the clock: maintenance of the tables.

Here: schedules, their cron lines' source and configuration. Not here: what watches (`sensors/`),
what a run does (`assets/maintenance.py`).
"""

from datetime import datetime, timedelta

import dagster as dg

from retail_lakehouse.assets.maintenance import CompactionConfig, task_op_name, task_selection
from retail_lakehouse.contracts.maintenance import (
    COMPACTION_CRON,
    ORPHANS_CRON,
    REOPENED_EVERY_HOURS,
    MaintenanceTask,
)

REOPENED_TAG = "retail_lakehouse/reopened"
"""Of a run that also took partitions which late rows reopened."""
_COMPACTION_JOB = "compact_and_expire"
_EVERY = timedelta(hours=REOPENED_EVERY_HOURS)
_SLACK = timedelta(minutes=30)
"""Half of the time between two ticks: a run is made some seconds after its own."""


def maintenance_schedules() -> list[dg.ScheduleDefinition]:
    """Closed hours and old snapshots every hour, orphan files every night. Times are UTC."""
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


def takes_reopened(at: datetime, last: datetime | None) -> bool:
    """Whether the compaction of the tick `at` takes partitions that late rows reopened.

    `last` is when the last run that did was made, if it succeeded. Not asked of the hour: a tick
    that was missed and a run that failed are made up for by the next one.
    """
    return last is None or at - last > _EVERY - _SLACK


def _last_reopened(instance: dg.DagsterInstance) -> datetime | None:
    taken = dg.RunsFilter(
        job_name=_COMPACTION_JOB,
        tags={REOPENED_TAG: "true"},
        statuses=[dg.DagsterRunStatus.SUCCESS],
    )
    records = instance.get_run_records(taken, limit=1)
    return records[0].create_timestamp if records else None


def _compaction_schedule() -> dg.ScheduleDefinition:
    tasks = (MaintenanceTask.COMPACTION, MaintenanceTask.EXPIRY)
    job = dg.define_asset_job(_COMPACTION_JOB, selection=task_selection(*tasks))

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        at = context.scheduled_execution_time
        reopened = takes_reopened(at, _last_reopened(context.instance))
        ops = {task_op_name(MaintenanceTask.COMPACTION): CompactionConfig(reopened=reopened)}
        return dg.RunRequest(
            run_key=at.isoformat(),
            run_config=dg.RunConfig(ops=ops),
            tags={REOPENED_TAG: str(reopened).lower()},
        )

    return dg.ScheduleDefinition(
        name="compact_closed_hours",
        cron_schedule=COMPACTION_CRON,
        execution_timezone="UTC",
        execution_fn=request,
        job=job,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=(
            "Compacts the hour that was closed last and expires old snapshots; every "
            f"{REOPENED_EVERY_HOURS} hours also the partitions that late rows reopened."
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
