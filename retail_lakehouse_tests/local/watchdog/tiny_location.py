"""A code location of two sensors, for the real daemon and the real code server of the tests.

`steady` ticks; `moody` raises as long as the file that the environment names is there.
"""

import os
from pathlib import Path

import dagster as dg

MOOD = "TINY_LOCATION_MOOD"


@dg.sensor(minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def steady(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Has nothing to do."""
    return dg.SkipReason("Nothing to do.")


@dg.sensor(minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def moody(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Raises while it is told to."""
    if Path(os.environ[MOOD]).exists():
        raise ValueError("the shelf is empty\nand more that nobody reads")
    return dg.SkipReason("Nothing to do.")


@dg.sensor(minimum_interval_seconds=1)
def idle(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Is off, as its code says."""
    return dg.SkipReason("Nothing to do.")


defs = dg.Definitions(sensors=[steady, moody, idle])
