"""Waking the warehouse by the clock: a job that sends one statement, and its schedule.

Here: both, and what they say of themselves: cost, and what they cannot do. Not here: when it is
due and quiet (`wake_times.py`), the arithmetic (`planning/keep_warm.py`).

The setting is the only switch. Without a cron line there is neither job nor schedule, so that no
button of a page can start to cost money; with one the schedule runs without being switched on.
"""

from datetime import UTC, datetime

import dagster as dg

from retail_lakehouse.planning.keep_warm import (
    CHARGE_SECONDS,
    USD_PER_RPU_HOUR,
    KeepWarmCost,
    keep_warm_cost,
)
from retail_lakehouse.resources.warehouse import WarehouseResource
from retail_lakehouse.settings import Settings
from retail_lakehouse.wake_times import is_quiet

JOB_NAME = "wake_warehouse"
SCHEDULE_NAME = "keep_warehouse_warm"
LATE_SECONDS = 120
"""A daemon that was down makes up for the last tick that it missed: it would be paid for, and wake
the warehouse at an hour that nobody chose."""


def keep_warm_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """The schedule with its job; none where the settings have no cron line."""
    times = settings.wake_times
    if times is None:
        return []
    zone, window = settings.keep_warm_time_zone, settings.quiet_window
    cost = keep_warm_cost(times.a_week(window), settings.warehouse_base_rpu)

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        due = context.scheduled_execution_time
        if is_quiet(due, zone, window):
            return dg.SkipReason(
                f"Quiet: {due.astimezone(UTC):%H:%M} UTC is within {settings.keep_warm_quiet} in "
                f"{zone} (keep_warm_quiet)."
            )
        late = (datetime.now(UTC) - due).total_seconds()
        if late > LATE_SECONDS:
            return dg.SkipReason(
                f"This was due {late:.0f} s ago, while no daemon ran: what is missed is not made "
                "up for."
            )
        return dg.RunRequest(run_key=due.astimezone(UTC).isoformat())

    return [
        dg.ScheduleDefinition(
            name=SCHEDULE_NAME,
            job=_wake_job(settings, cost),
            cron_schedule=settings.keep_warm_cron,
            execution_timezone=zone,
            execution_fn=request,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=_truth(settings, cost),
            metadata=_metadata(settings, cost),
        )
    ]


def _wake_job(settings: Settings, cost: KeepWarmCost) -> dg.JobDefinition:
    @dg.op(name="wake", description="One trivial statement in a warehouse session of its own.")
    def wake(context: dg.OpExecutionContext, warehouse: WarehouseResource) -> None:
        from retail_lakehouse.warehouse.errors import WarehouseError

        try:
            seconds = warehouse.wake(f"dagster-run:{context.run.run_id}")
        except WarehouseError as error:
            raise dg.Failure(description=str(error)) from error
        context.log.info(f"The warehouse answered after {seconds:.1f} s.")

    @dg.job(name=JOB_NAME, description=_truth(settings, cost), metadata=_metadata(settings, cost))
    def wake_warehouse() -> None:
        wake()

    return wake_warehouse


def _truth(settings: Settings, cost: KeepWarmCost) -> str:
    return (
        f"Wakes the warehouse by the clock ({settings.keep_warm_cron} in "
        f"{settings.keep_warm_time_zone}, quiet: {settings.keep_warm_quiet or 'never'}). That is "
        f"{cost.wakings:.0f} times a month, each billed for {CHARGE_SECONDS} s or more: at most "
        f"{cost.rpu_hours:.1f} RPU-hours, ${cost.usd:.2f} in us-east-1. It is paid for, and so "
        f"known to be warm, {cost.billed_share:.2%} of the time. See docs/keep-warm.md."
    )


def _metadata(settings: Settings, cost: KeepWarmCost) -> dict[str, float]:
    return {
        "wakings_a_month": round(cost.wakings, 1),
        "base_rpu": settings.warehouse_base_rpu,
        "rpu_hours_a_month": round(cost.rpu_hours, 2),
        "usd_a_month": round(cost.usd, 2),
        "usd_per_rpu_hour": USD_PER_RPU_HOUR,
        "billed_share_of_time": round(cost.billed_share, 5),
    }
