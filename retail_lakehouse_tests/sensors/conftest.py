"""What the sensors' tests share: a lakehouse of their own and a way to tick."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.resources.fakes import Lakehouse, settings_in

Tick = Callable[..., dg.SensorResult]
Later = Callable[[int], None]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def lakehouse(settings: Settings) -> Lakehouse:
    return Lakehouse(settings)


@pytest.fixture
def tick() -> Iterator[Tick]:
    """Evaluates a sensor with the cursor of its tick before; the instance is one for the test."""
    cursors: dict[str, str | None] = {}

    def evaluate(sensor: dg.SensorDefinition, **resources: Any) -> dg.SensorResult:
        with dg.build_sensor_context(
            instance=instance, cursor=cursors.get(sensor.name), resources=resources
        ) as context:
            result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        cursors[sensor.name] = result.cursor
        return result

    with dg.DagsterInstance.ephemeral() as instance:
        yield evaluate


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Moves the clock on by so many seconds."""
    real, ahead = time.time_ns, [0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + ahead[0] * 10**9)

    def move(seconds: int) -> None:
        ahead[0] += seconds

    return move
