"""What the daemon keeps of a sensor, as a test wants it."""

import json
from typing import Any

import dagster as dg
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)


def cursor(facts: dict[str, Any]) -> str:
    """The cursor of a sensor that has reported nothing and knows these facts."""
    return json.dumps({"reported": {}, "facts": facts})


def leave_cursor(
    instance: dg.DagsterInstance,
    sensor: str,
    text: str | None,
    *,
    location: str = "here",
    ticked_at: float = 1.0,
) -> None:
    """Leaves the cursor of a tick in the instance; `ticked_at` is in seconds since 1970."""
    origin = GrpcServerCodeLocationOrigin(host="localhost", socket="/x", location_name=location)
    instance.add_instigator_state(
        InstigatorState(
            RemoteInstigatorOrigin(RemoteRepositoryOrigin(origin, "__repository__"), sensor),
            InstigatorType.SENSOR,
            InstigatorStatus.DECLARED_IN_CODE,
            SensorInstigatorData(last_tick_timestamp=ticked_at, min_interval=30, cursor=text),
        )
    )
