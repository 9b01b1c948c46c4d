"""The sensor whose ticks CloudWatch counts, on AWS: when they stay away, its alarm tells people.

Here: the ticks of all sensors and schedules as Dagster's instance has them, and one heartbeat. Not
here: verdicts (`watchdog/tickers.py`), the metric and its alarms (`watchdog/cloudwatch.py`). On one
machine the watchdog sees the same from outside.
"""

import time
from collections.abc import Iterable, Iterator

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    ScheduleInstigatorData,
    TickStatus,
)
from dagster_shared.error import SerializableErrorInfo

from retail_lakehouse.assets.stream import now_ms
from retail_lakehouse.resources.heartbeat import HeartbeatResource
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.judge import limits_of
from retail_lakehouse.watchdog.looks import (
    UNREACHED_ERRORS,
    Declared,
    Memory,
    State,
    Tick,
    TickEnd,
    TickerKind,
)
from retail_lakehouse.watchdog.memory import BREAK_SECONDS
from retail_lakehouse.watchdog.tickers import look_at_tickers

NAME = "put_heartbeat"
TICKS_READ = 6
_ENDS = {
    TickStatus.SUCCESS: TickEnd.WELL,
    TickStatus.SKIPPED: TickEnd.WELL,
    TickStatus.FAILURE: TickEnd.FAILED,
}
_IS_ON = {InstigatorStatus.RUNNING: True, InstigatorStatus.STOPPED: False}
_KINDS = {
    InstigatorType.SENSOR: TickerKind.SENSOR,
    InstigatorType.SCHEDULE: TickerKind.SCHEDULE,
}


class _Watch:
    """What the sensor's process remembers; a new one begins anew, and so do all limits."""

    def __init__(self) -> None:
        self.memory = Memory()


def heartbeat_sensor(settings: Settings) -> dg.SensorDefinition:
    """Sends a heartbeat every `sensor_seconds`, and how many of the others do not work."""
    watch, limits = _Watch(), limits_of(settings)
    # One tick that came late, or was lost, is no pause of the platform.
    break_seconds = max(BREAK_SECONDS, 3.0 * settings.sensor_seconds)

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells CloudWatch that Dagster lives; its alarm is that nothing comes.",
    )
    def put_heartbeat(
        context: dg.SensorEvaluationContext, heartbeat: HeartbeatResource
    ) -> dg.SkipReason:
        at_ms = now_ms()
        watch.memory, seen = look_at_tickers(
            watch.memory,
            tuple(declared_in(context.repository_def)),
            states_of(context.instance),
            time.monotonic(),
            at_ms,
            limits,
            break_seconds,
        )
        failing = [each.sentence for each in seen if not each.passed]
        heartbeat.put(len(failing), at_ms)
        told = f"{len(seen) - len(failing)} of {len(seen)} sensors and schedules work."
        return dg.SkipReason(" ".join([told, *failing]))

    return put_heartbeat


def declared_in(repository: dg.RepositoryDefinition | None) -> Iterator[Declared]:
    """Every sensor and schedule of the code but this one, which counts itself by coming."""
    if repository is None:
        return
    for sensor in repository.sensor_defs:
        if sensor.name != NAME:
            is_on = sensor.default_status is dg.DefaultSensorStatus.RUNNING
            interval = sensor.minimum_interval_seconds or 30
            yield Declared(TickerKind.SENSOR, sensor.name, is_on, float(interval))
    for schedule in repository.schedule_defs:
        is_on = schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        yield Declared(TickerKind.SCHEDULE, schedule.name, is_on)


def states_of(instance: dg.DagsterInstance) -> list[State]:
    """What the instance remembers of every sensor and schedule, with the last ticks."""
    return [
        _state(instance, state)
        for state in instance.all_instigator_state()
        if state.instigator_type in _KINDS
    ]


def _state(instance: dg.DagsterInstance, state: InstigatorState) -> State:
    data = state.instigator_data
    noted = data.last_iteration_timestamp if isinstance(data, ScheduleInstigatorData) else None
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=TICKS_READ)
    return State(
        kind=_KINDS[state.instigator_type],
        name=state.instigator_name,
        is_on=_IS_ON.get(state.status),
        ticks=tuple(_ticks(ticks)),
        noted_ms=None if noted is None else round(noted * 1000),
    )


def _ticks(ticks: Iterable[InstigatorTick]) -> Iterator[Tick]:
    for tick in ticks:
        at_ms, end = round(tick.timestamp * 1000), _ENDS.get(tick.status, TickEnd.OPEN)
        line = ""
        error: SerializableErrorInfo | None = tick.error
        while error is not None:
            if error.cls_name in UNREACHED_ERRORS:
                end = TickEnd.UNREACHED
            line = next(iter(error.message.strip().splitlines()), line)
            error = error.cause
        yield Tick(int(tick.tick_id), end, at_ms, line)
