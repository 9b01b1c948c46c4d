"""The watchdog on AWS: a metric that the control plane sends, and alarms on its absence.

Here: the metric and the alarms as documents for `PutMetricData` and `PutMetricAlarm`. Not here:
sending (`resources/heartbeat.py`), who is told (the alarms' actions, SNS topics as a rule).
A metric that comes has been through daemon, code server and a sensor; one that does not come is the
alarm, and CloudWatch itself gives it: nothing of ours has to be alive for it.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from retail_lakehouse.contracts.alerting import alert_for
from retail_lakehouse.contracts.service_levels import (
    CONTROL_PLANE,
    SERVICE_LEVELS,
    Measure,
    level_of,
)
from retail_lakehouse.settings import Settings

NAMESPACE = "RetailLakehouse"
HEARTBEAT = "Heartbeat"
FAILING = "FailingSensors"
_PERIOD_SECONDS = 60


def dimensions(settings: Settings) -> list[dict[str, str]]:
    """What tells one platform of an account from another: where its tables are."""
    return [{"Name": "Lakehouse", "Value": settings.warehouse_uri[:1024]}]


def heartbeat_data(settings: Settings, failing: int, at_ms: int) -> dict[str, Any]:
    """What one tick puts: that it came, and how many sensors and schedules do not work."""
    stamp = datetime.fromtimestamp(at_ms / 1000, UTC)
    return {
        "Namespace": NAMESPACE,
        "MetricData": [
            {
                "MetricName": name,
                "Dimensions": dimensions(settings),
                "Timestamp": stamp,
                "Value": float(value),
                "Unit": "Count",
            }
            for name, value in ((HEARTBEAT, 1), (FAILING, failing))
        ],
    }


def alarm_documents(settings: Settings, actions: Sequence[str]) -> list[dict[str, Any]]:
    """The input of `PutMetricAlarm`, one an alarm. `actions`: ARNs told of both edges."""
    missing_minutes = SERVICE_LEVELS.heartbeat_missing_minutes
    return [
        _alarm(
            settings,
            actions,
            measure=Measure.DAEMON_TICKS,
            sentence=f"No heartbeat of the control plane for {missing_minutes} minutes: Dagster's "
            "daemon or code server stands still, or cannot reach CloudWatch.",
            metric=HEARTBEAT,
            rule={
                "Statistic": "Sum",
                "EvaluationPeriods": missing_minutes,
                "DatapointsToAlarm": missing_minutes,
                "Threshold": 1.0,
                "ComparisonOperator": "LessThanThreshold",
                "TreatMissingData": "breaching",
            },
        ),
        _alarm(
            settings,
            actions,
            measure=Measure.SENSOR_TICKS,
            sentence="A sensor or schedule fails or does not tick; the ticks of put_heartbeat name "
            "it, with its error.",
            metric=FAILING,
            rule={
                "Statistic": "Maximum",
                "EvaluationPeriods": 1,
                "DatapointsToAlarm": 1,
                "Threshold": 1.0,
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
                # That nothing comes is the other alarm's to say.
                "TreatMissingData": "ignore",
            },
        ),
    ]


def _alarm(
    settings: Settings,
    actions: Sequence[str],
    *,
    measure: Measure,
    sentence: str,
    metric: str,
    rule: dict[str, Any],
) -> dict[str, Any]:
    level, alert = level_of(CONTROL_PLANE, measure), alert_for(measure)
    description = (
        f"{sentence} For the planners: {alert.meaning} Severity: {level.severity}. "
        f"Owner: {level.owner}. Runbook: {level.runbook}. Page: {settings.dagster_address}"
    )
    return {
        "AlarmName": f"retail-lakehouse {measure.value} {settings.warehouse_uri}"[:255],
        "AlarmDescription": description[:1024],
        "ActionsEnabled": True,
        "AlarmActions": list(actions),
        "OKActions": list(actions),
        "Namespace": NAMESPACE,
        "MetricName": metric,
        "Dimensions": dimensions(settings),
        "Period": _PERIOD_SECONDS,
        "Unit": "Count",
        **rule,
    }
