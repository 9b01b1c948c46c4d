"""The sensors of a bare `dagster dev` beside a running `make dev`: off, with the sentence why.

Here: what stands in for a sensor there. Not here: who runs beside whom (`resources/daemon.py`).
Both have the same instance and therefore one state of every sensor, its last tick included: a
sensor that ticked only to say that it leaves the tick to the other would take that tick from it.
So it is off, and its description says why. Its switch is the other's too: one who turns it on and
off again turns it off there.
"""

import dagster as dg


def left_to_dev(sensor: dg.SensorDefinition, why: str) -> dg.SensorDefinition:
    """A sensor in place of another that does nothing; switched on by hand, its ticks say `why`."""

    def skip(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason(why)

    return dg.SensorDefinition(
        name=sensor.name,
        evaluation_fn=skip,
        minimum_interval_seconds=sensor.minimum_interval_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        asset_selection=sensor.asset_selection,
        description=f"{why} Leave its switch alone, both share it. {sensor.description}",
    )
