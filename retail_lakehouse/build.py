"""Everything that Dagster knows of the platform, put together in one place.

Here: `build_defs`, used by `dagster dev`, by production and by tests. Not here: a definition
itself. Building reads nothing and opens nothing: every client is opened where it is used.
"""

import warnings

import dagster as dg

from retail_lakehouse.assets.history import history_asset
from retail_lakehouse.assets.job_control import control_jobs
from retail_lakehouse.assets.keep_warm import keep_warm_schedules
from retail_lakehouse.assets.maintenance import maintenance_assets
from retail_lakehouse.assets.quarantine_replay import quarantine_replay_asset
from retail_lakehouse.assets.streaming_jobs import job_specs
from retail_lakehouse.assets.tables import table_specs
from retail_lakehouse.assets.topics import topic_assets
from retail_lakehouse.assets.views import materialized_view_assets, plain_view_specs
from retail_lakehouse.checks.data import data_checks
from retail_lakehouse.checks.stream import stream_checks
from retail_lakehouse.checks.views import view_checks
from retail_lakehouse.resources.heartbeat import HeartbeatResource
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.kafka import KafkaResource
from retail_lakehouse.resources.maintenance import MaintenanceResource
from retail_lakehouse.resources.notifier import NotifierResource
from retail_lakehouse.resources.spark import SparkResource
from retail_lakehouse.resources.streaming_jobs import StreamingJobsResource
from retail_lakehouse.resources.warehouse import WarehouseResource
from retail_lakehouse.schedules import maintenance_schedules, schedule_left_to_dev
from retail_lakehouse.sensors.alerts import alerts_sensor
from retail_lakehouse.sensors.heartbeat import heartbeat_sensor
from retail_lakehouse.sensors.history import history_sensor
from retail_lakehouse.sensors.left_to_dev import left_to_dev
from retail_lakehouse.sensors.stream import stream_sensor
from retail_lakehouse.sensors.tables import tables_sensor
from retail_lakehouse.sensors.views import views_sensor
from retail_lakehouse.settings import Settings


def build_defs(
    settings: Settings,
    *,
    sensors_left: str | None = None,
    alerts_left: str | None = None,
    **overrides: object,
) -> dg.Definitions:
    """The definitions for `settings`; `overrides` replace resources by their name.

    `sensors_left`: why another daemon ticks sensors and schedules; they are off then, and say so.
    What wakes the warehouse is left out: its ticks are the other's too.
    `alerts_left`: why nobody is told of what fails; the sensor that tells is off then, and says so.

    Raises:
        TypeError: an override names no resource.
    """
    resources: dict[str, object] = {
        "kafka": KafkaResource.of(settings),
        "iceberg": IcebergCatalogResource.of(settings),
        "warehouse": WarehouseResource.of(settings),
        "spark": SparkResource.of(settings),
        "maintenance": MaintenanceResource.of(settings),
        "streaming_jobs": StreamingJobsResource.of(settings),
        "notifier": NotifierResource.of(settings),
    }
    if not settings.is_local:
        resources["heartbeat"] = HeartbeatResource.of(settings)
    unknown = overrides.keys() - resources.keys()
    if unknown:
        raise TypeError(
            f"There is no resource called {', '.join(sorted(unknown))}; the platform has "
            f"{', '.join(sorted(resources))}."
        )
    with warnings.catch_warnings():
        # Observable assets and code references are beta in Dagster 1.13, and its version is pinned.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _definitions(settings, resources | overrides, sensors_left, alerts_left)


def _definitions(
    settings: Settings,
    resources: dict[str, object],
    sensors_left: str | None,
    alerts_left: str | None,
) -> dg.Definitions:
    alerts = alerts_sensor(settings)
    sensors = [
        stream_sensor(settings),
        tables_sensor(settings),
        views_sensor(settings),
        left_to_dev(alerts, alerts_left) if alerts_left else alerts,
        history_sensor(settings),
    ]
    if not settings.is_local:
        sensors.append(heartbeat_sensor(settings))
    schedules = maintenance_schedules()
    return dg.Definitions(
        assets=[
            topic_assets(settings),
            *job_specs(settings),
            *table_specs(settings),
            quarantine_replay_asset(),
            materialized_view_assets(settings),
            *plain_view_specs(settings),
            history_asset(settings),
            *maintenance_assets(),
        ],
        asset_checks=[stream_checks(settings), data_checks(settings), view_checks(settings)],
        jobs=control_jobs(),
        sensors=[left_to_dev(s, sensors_left) for s in sensors] if sensors_left else sensors,
        schedules=(
            [schedule_left_to_dev(s, sensors_left) for s in schedules]
            if sensors_left
            else [*schedules, *keep_warm_schedules(settings)]
        ),
        resources=resources,
        # Every run of ours is a few calls: a process for each step would cost more than the step.
        executor=dg.in_process_executor,
    )
