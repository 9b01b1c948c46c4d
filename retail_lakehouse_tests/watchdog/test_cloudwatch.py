"""The watchdog's alarms on AWS, against botocore's own description of the API."""

from __future__ import annotations

import json
import operator
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.settings import Settings
from retail_lakehouse.watchdog.cloudwatch import alarm_documents, heartbeat_data

COMPARISONS = {
    "LessThanThreshold": operator.lt,
    "GreaterThanOrEqualToThreshold": operator.ge,
}
ARN = "arn:aws:sns:eu-central-1:123456789012:on-call"
AWS: dict[str, str] = {
    "profile": "aws",
    "bootstrap_servers": "b-1.example:9098",
    "warehouse_host": "wg.123456789012.eu-central-1.redshift-serverless.amazonaws.com",
    "aws_region": "eu-central-1",
    "warehouse_location": "s3://bucket/lake",
    "checkpoint_location": "s3://bucket/checkpoints",
    "dagster_url": "https://dagster.example",
}


def faults(operation: str, given: dict[str, Any]) -> str:
    model = ServiceModel(Loader().load_service_model("cloudwatch", "service-2"))
    shape = model.operation_model(operation).input_shape
    assert shape is not None
    unknown = sorted(given.keys() - shape.members.keys())
    return f"{unknown or ''}{ParamValidator().validate(given, shape).generate_report()}"


@pytest.fixture
def settings() -> Settings:
    return Settings.load(AWS)


def test_the_documents_are_what_the_api_takes(settings: Settings) -> None:
    for document in alarm_documents(settings, [ARN]):
        assert faults("PutMetricAlarm", document) == ""
    assert faults("PutMetricData", heartbeat_data(settings, 2, 1_795_000_000_000)) == ""


def test_a_metric_that_does_not_come_is_the_alarm_and_nobody_is_told_twice(
    settings: Settings,
) -> None:
    missing, failing = alarm_documents(settings, [ARN])
    assert missing["TreatMissingData"] == "breaching"
    assert missing["Period"] * missing["EvaluationPeriods"] == 300
    assert failing["TreatMissingData"] == "ignore"
    for each in (missing, failing):
        assert each["AlarmActions"] == each["OKActions"] == [ARN]
        assert each["Dimensions"] == [{"Name": "Lakehouse", "Value": "s3://bucket/lake"}]
        assert "docs/runbooks/" in each["AlarmDescription"]
        assert "https://dagster.example" in each["AlarmDescription"]


def test_a_heartbeat_is_well_and_a_sensor_that_fails_is_not(settings: Settings) -> None:
    missing, failing = alarm_documents(settings, [ARN])

    def breaches(alarm: dict[str, Any], value: float) -> bool:
        return bool(COMPARISONS[alarm["ComparisonOperator"]](value, alarm["Threshold"]))

    # Of several heartbeats within one period it is the sum, of several counts the worst.
    assert (missing["Statistic"], failing["Statistic"]) == ("Sum", "Maximum")
    assert [breaches(missing, heartbeats) for heartbeats in (0, 1, 4)] == [True, False, False]
    assert [breaches(failing, sensors) for sensors in (0, 1, 7)] == [False, True, True]
    # The one has to stay away all the time, the other is told at once.
    assert missing["DatapointsToAlarm"] == missing["EvaluationPeriods"] == 5
    assert failing["DatapointsToAlarm"] == failing["EvaluationPeriods"] == 1


def test_what_is_sent_is_what_the_alarms_look_at(settings: Settings) -> None:
    sent = heartbeat_data(settings, 3, 1_795_000_000_000)
    looked_at = {each["MetricName"] for each in alarm_documents(settings, [])}
    assert {each["MetricName"] for each in sent["MetricData"]} == looked_at
    assert [each["Value"] for each in sent["MetricData"]] == [1.0, 3.0]
    for each, alarm in zip(sent["MetricData"], alarm_documents(settings, []), strict=True):
        assert (sent["Namespace"], each["Dimensions"]) == (alarm["Namespace"], alarm["Dimensions"])


def test_the_command_prints_them_and_is_refused_where_the_watchdog_runs_itself() -> None:
    assigned = [part for name, value in AWS.items() for part in ("--set", f"{name}={value}")]
    told = CliRunner().invoke(app, ["alerts", "cloudwatch", "--action", ARN, *assigned])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout) == alarm_documents(Settings.load(AWS), [ARN])
    refused = CliRunner().invoke(app, ["alerts", "cloudwatch"])
    assert refused.exit_code == 2
    assert "the watchdog itself tells" in " ".join(refused.output.split())


def test_a_minute_with_a_heartbeat_is_well_and_one_sensor_that_fails_is_enough(
    settings: Settings,
) -> None:
    compare = {"LessThanThreshold": operator.lt, "GreaterThanOrEqualToThreshold": operator.ge}
    missing, failing = alarm_documents(settings, [ARN])
    for alarm, alarms in ((missing, [True, False, False]), (failing, [False, True, True])):
        is_bad = compare[alarm["ComparisonOperator"]]
        assert [is_bad(value, alarm["Threshold"]) for value in (0.0, 1.0, 2.0)] == alarms
    # Every one of the minutes, or nothing; and of the other the worst tick of the last minute.
    assert missing["DatapointsToAlarm"] == missing["EvaluationPeriods"] > 1
    assert (failing["EvaluationPeriods"], failing["DatapointsToAlarm"]) == (1, 1)
    assert (missing["Statistic"], failing["Statistic"]) == ("Sum", "Maximum")
