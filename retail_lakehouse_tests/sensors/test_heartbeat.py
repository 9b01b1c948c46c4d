"""The heartbeat that CloudWatch waits for, over a real instance and a stubbed control plane."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
from botocore.stub import ANY, Stubber
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
    TickData,
    TickStatus,
)
from dagster._utils.error import serializable_error_info_from_exc_info

from retail_lakehouse.build import build_defs
from retail_lakehouse.resources import heartbeat
from retail_lakehouse.resources.heartbeat import HeartbeatError, HeartbeatResource
from retail_lakehouse.sensors.heartbeat import declared_in, states_of
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.looks import TickEnd
from retail_lakehouse_tests.watchdog.test_cloudwatch import AWS


@pytest.fixture
def settings() -> Settings:
    return Settings.load(AWS)


@pytest.fixture
def stub(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    client = boto3.client(
        "cloudwatch",
        region_name=settings.aws_region,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    monkeypatch.setattr(heartbeat, "cloudwatch_client", lambda region: client)
    with Stubber(client) as found:
        yield found


def expected(failing: float) -> dict[str, Any]:
    dimensions = [{"Name": "Lakehouse", "Value": "s3://bucket/lake"}]
    return {
        "Namespace": "RetailLakehouse",
        "MetricData": [
            {
                "MetricName": name,
                "Dimensions": dimensions,
                "Timestamp": ANY,
                "Value": value,
                "Unit": "Count",
            }
            for name, value in (("Heartbeat", 1.0), ("FailingSensors", failing))
        ],
    }


def evaluate(settings: Settings, instance: dg.DagsterInstance) -> str:
    repository = build_defs(settings).get_repository_def()
    with dg.build_sensor_context(
        instance=instance,
        repository_def=repository,
        resources={"heartbeat": HeartbeatResource.of(settings)},
    ) as context:
        told = repository.get_sensor_def("put_heartbeat")(context)
    assert isinstance(told, dg.SkipReason)
    return str(told.skip_message)


def leave_ticks(instance: dg.DagsterInstance, name: str, *statuses: TickStatus) -> None:
    """A sensor with ticks that ended so, the oldest first."""
    location = GrpcServerCodeLocationOrigin(host="localhost", socket="/x", location_name="here")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)
    instance.add_instigator_state(
        InstigatorState(
            origin,
            InstigatorType.SENSOR,
            InstigatorStatus.DECLARED_IN_CODE,
            SensorInstigatorData(min_interval=30),
        )
    )
    try:
        raise ValueError("no such topic\nand more")
    except ValueError:
        error = serializable_error_info_from_exc_info(sys.exc_info())
    for place, status in enumerate(statuses):
        instance.create_tick(
            TickData(
                instigator_origin_id=origin.get_id(),
                instigator_name=name,
                instigator_type=InstigatorType.SENSOR,
                status=status,
                timestamp=time.time() - 120 + 30 * place,
                selector_id=origin.get_selector().get_id(),
                run_ids=[],
                error=error if status is TickStatus.FAILURE else None,
            )
        )


def declared(settings: Settings) -> int:
    return len(list(declared_in(build_defs(settings).get_repository_def())))


def test_a_tick_sends_a_heartbeat_that_all_sensors_work(
    settings: Settings, stub: Stubber, tmp_path: Path
) -> None:
    all_of_them = declared(settings)
    assert all_of_them >= 4
    stub.add_response("put_metric_data", {}, expected(0.0))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert (
            evaluate(settings, instance)
            == f"{all_of_them} of {all_of_them} sensors and schedules work."
        )
    stub.assert_no_pending_responses()


def test_a_sensor_that_raises_at_every_tick_is_counted_and_named(
    settings: Settings, stub: Stubber, tmp_path: Path
) -> None:
    stub.add_response("put_metric_data", {}, expected(1.0))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        leave_ticks(instance, "send_alerts", *[TickStatus.FAILURE] * 3)
        told = evaluate(settings, instance)
    all_of_them = declared(settings)
    assert told.startswith(
        f"{all_of_them - 1} of {all_of_them} sensors and schedules work. "
        "The sensor send_alerts failed in its last 3 ticks, "
    )
    assert told.endswith("UTC: ValueError: no such topic")


def test_a_heartbeat_that_is_refused_fails_the_tick_with_what_to_do(
    settings: Settings, stub: Stubber, tmp_path: Path
) -> None:
    stub.add_client_error("put_metric_data", "AccessDenied", "not allowed", 403)
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        pytest.raises(HeartbeatError, match=r"\(AccessDenied\).*Allow cloudwatch:PutMetricData"),
    ):
        evaluate(settings, instance)


def test_on_one_machine_there_is_no_heartbeat_since_the_watchdog_looks_itself() -> None:
    names = {sensor.name for sensor in build_defs(Settings.load()).sensors or []}
    assert "put_heartbeat" not in names


def test_a_tick_that_found_nothing_to_do_has_ended_well_and_one_under_way_has_not_ended(
    tmp_path: Path,
) -> None:
    statuses = (TickStatus.FAILURE, TickStatus.SKIPPED, TickStatus.SUCCESS, TickStatus.STARTED)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        leave_ticks(instance, "send_alerts", *statuses)
        (state,) = states_of(instance)
    # The latest first.
    ends = [TickEnd.OPEN, TickEnd.WELL, TickEnd.WELL, TickEnd.FAILED]
    assert [tick.end for tick in state.ticks] == ends
