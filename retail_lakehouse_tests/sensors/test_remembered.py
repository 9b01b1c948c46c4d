"""What a sensor knows is found by others: the newest memory of that name, or none."""

from pathlib import Path

import dagster as dg

from retail_lakehouse.sensors.remembered import STREAM_SENSOR, VIEWS_SENSOR, remembered
from retail_lakehouse_tests.sensors.cursors import cursor, leave_cursor


def test_the_memory_of_the_sensor_that_ticked_last_is_the_one(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert remembered(instance, STREAM_SENSOR) is None
        leave_cursor(instance, STREAM_SENSOR, cursor({"at": "old"}), location="gone")
        leave_cursor(instance, STREAM_SENSOR, cursor({"at": "new"}), ticked_at=2.0)
        leave_cursor(instance, STREAM_SENSOR, None, location="never ticked", ticked_at=3.0)
        found = remembered(instance, STREAM_SENSOR)
        assert found is not None
        assert found.facts == {"at": "new"}
        leave_cursor(instance, VIEWS_SENSOR, "no cursor of ours")
        assert remembered(instance, VIEWS_SENSOR) is None


def test_an_instance_without_sensors_remembers_nothing() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert remembered(instance, STREAM_SENSOR) is None
