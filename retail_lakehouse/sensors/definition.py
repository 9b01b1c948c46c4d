"""How every sensor of ours is defined: on from the start, and ticked by one daemon only.

Here: what holds for all sensors. Not here: what one of them does. A bare `dagster dev` beside a
running `make dev` works on the same instance with a daemon of its own: it would report every
snapshot twice and refresh every view twice, so that it leaves the sensors to the other.
"""

from collections.abc import Callable, Sequence
from functools import wraps

import dagster as dg

from retail_lakehouse.resources.daemon import other_daemon
from retail_lakehouse.settings import Settings

Tick = Callable[..., dg.SensorResult]


def platform_sensor(
    settings: Settings,
    *,
    interval_seconds: int,
    description: str,
    shown_on: Sequence[dg.AssetKey] | None = None,
) -> Callable[[Tick], dg.SensorDefinition]:
    """A sensor from the function of its tick, named as that.

    `shown_on`: assets whose pages name the sensor; none of ours ever asks for a run of them.
    """

    def define(tick: Tick) -> dg.SensorDefinition:
        # `wraps`: Dagster reads from the signature which resources the tick wants.
        @wraps(tick)
        def tick_of_one_daemon(
            context: dg.SensorEvaluationContext, **resources: object
        ) -> dg.SensorResult:
            other = other_daemon(settings)
            return dg.SensorResult(skip_reason=other) if other else tick(context, **resources)

        return dg.sensor(
            minimum_interval_seconds=interval_seconds,
            default_status=dg.DefaultSensorStatus.RUNNING,
            asset_selection=shown_on,
            description=description,
        )(tick_of_one_daemon)

    return define
