"""What a sensor keeps in mind from tick to tick, for whoever else judges the same.

Here: the sensors whose memory others need, and finding it in Dagster's instance. Not here: what the
memory is made of (`edges.py`), what of it a verdict needs (`checks/`). Without it a check's button
would know less than the sensor, call a job stalled that slept, and close an alert that is right.
"""

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import SensorInstigatorData

from retail_lakehouse.sensors.edges import CursorError, Memory

STREAM_SENSOR = "watch_stream"
VIEWS_SENSOR = "refresh_due_views"


def remembered(instance: dg.DagsterInstance, sensor: str) -> Memory | None:
    """The memory that the sensor's last tick left; None where it left none that can be read.

    Of several sensors with that name, such as one of a code location that is gone, the one that
    ticked last.
    """
    if instance.schedule_storage is None:
        return None
    left = [
        state.instigator_data
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        if state.instigator_name == sensor
        and isinstance(state.instigator_data, SensorInstigatorData)
        and state.instigator_data.cursor
    ]
    if not left:
        return None
    newest = max(left, key=lambda each: each.last_tick_timestamp or 0.0)
    try:
        return Memory.from_cursor(newest.cursor)
    except CursorError:
        # The sensor's own tick fails by it, and says what to do.
        return None


def not_remembered(sensor: str) -> str:
    """What a verdict says of itself that had to do without the sensor's memory."""
    return f"What the sensor {sensor} saw before: it has left no memory of a tick."
