"""Ticks as Dagster's daemon leaves them, written without one.

Belongs here: the writes of one tick. Doesn't belong here: evaluating a sensor
(`driven_platform.py`).
"""

import time

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin


class TickBook:
    """Stores a sensor's ticks and its state as Dagster's daemon does, in as many writes."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._states: dict[str, InstigatorState] = {}
        self.took_ms: list[float] = []

    def state(self, name: str) -> InstigatorState:
        """The sensor's state, made when it is first asked for."""
        if name not in self._states:
            target = LoadableTargetOrigin(module_name="retail_lakehouse.definitions")
            location = ManagedGrpcPythonEnvCodeLocationOrigin(target, "retail_lakehouse")
            origin = RemoteInstigatorOrigin(
                RemoteRepositoryOrigin(location, "__repository__"), name
            )
            data = SensorInstigatorData()
            state = InstigatorState(
                origin, InstigatorType.SENSOR, InstigatorStatus.DECLARED_IN_CODE, data
            )
            self._states[name] = self._instance.add_instigator_state(state)
        return self._states[name]

    def note(self, name: str, cursor: str | None, sentence: str) -> None:
        """One tick that asked for no run."""
        state, at, begun = self.state(name), time.time(), time.perf_counter()
        self._instance.update_instigator_state(state)
        tick = self._instance.create_tick(
            TickData(
                state.instigator_origin_id,
                name,
                InstigatorType.SENSOR,
                TickStatus.STARTED,
                at,
                selector_id=state.selector_id,
            )
        )
        tick = tick.with_log_key(["__repository__", name, str(tick.tick_id)])
        tick = tick.with_status(TickStatus.SKIPPED, failure_count=0, consecutive_failure_count=0)
        tick = tick.with_reason(sentence).with_cursor(cursor)
        self._instance.update_tick(tick)
        data = SensorInstigatorData(
            last_tick_timestamp=at, cursor=cursor, last_tick_start_timestamp=at
        )
        self._states[name] = self._instance.update_instigator_state(state.with_data(data))
        self.took_ms.append((time.perf_counter() - begun) * 1000)
