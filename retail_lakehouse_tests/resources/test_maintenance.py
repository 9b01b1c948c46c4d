"""Rules of maintenance on Glue: the same task, told by arguments, its figures come back."""

import json
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from botocore.exceptions import ClientError

from retail_lakehouse.assets.keys import maintenance_key
from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.job_settings import maintenance_arguments
from retail_lakehouse.maintenance import job
from retail_lakehouse.maintenance.arguments import MaintenanceArguments
from retail_lakehouse.resources.maintenance import MaintenanceError, run_on_glue
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.streaming.test_arguments import AWS

TABLE = event_table("inventory")
KEY = maintenance_key(MaintenanceTask.COMPACTION, TABLE)
FIGURES = {"files_before": 720, "files_after": 24, "planning_ms_before": 41.5}


@dataclass
class Bucket:
    """S3 as Pipes uses it."""

    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def put_object(self, *, Body: bytes | str, Bucket: str, Key: str) -> None:  # noqa: N803
        self.objects[Bucket, Key] = Body.encode() if isinstance(Body, str) else Body

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        self.head_object(Bucket=Bucket, Key=Key)
        return {"Body": BytesIO(self.objects[Bucket, Key])}

    def head_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        if (Bucket, Key) not in self.objects:
            raise ClientError({"Error": {"Code": "404"}}, "HeadObject")

    def delete_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        self.objects.pop((Bucket, Key), None)


@dataclass
class Glue:
    """Glue with one job, whose script runs here, with Spark's part of it in the test's hand."""

    bucket: Bucket
    monkeypatch: pytest.MonkeyPatch
    state: str = "SUCCEEDED"
    started: list[dict[str, Any]] = field(default_factory=list)

    class meta:  # noqa: N801 - as boto3 has it
        region_name = "ap-south-1"

    def start_job_run(self, **request: Any) -> dict[str, str]:
        self.started.append(request)
        if self.state == "BUSY":
            refusal = {"Code": "ConcurrentRunsExceededException", "Message": "One at a time."}
            raise ClientError({"Error": refusal}, "StartJobRun")
        argv = [word for pair in request["Arguments"].items() for word in pair]
        argv = ["--JOB_NAME", request["JobName"], *argv]
        self.monkeypatch.setattr("sys.argv", ["maintenance.py", *argv])
        if self.state == "SUCCEEDED":
            assert job.run_maintenance(argv) == 0
        return {"JobRunId": "jr_1"}

    def get_job_run(self, **_: str) -> dict[str, Any]:
        run = {"Id": "jr_1", "JobName": "lakehouse_maintenance", "JobRunState": self.state}
        return {"JobRun": run | {"ErrorMessage": "out of memory"}}


def _run(monkeypatch: pytest.MonkeyPatch, state: str) -> tuple[Any, Glue, MaintenanceArguments]:
    settings = Settings.load(AWS)
    bucket = Bucket()
    glue = Glue(bucket, monkeypatch, state)
    arguments = maintenance_arguments(settings, MaintenanceTask.COMPACTION, [TABLE.name])

    class NoSpark:
        def stop(self) -> None:
            pass

    def tasks(_: object, told: MaintenanceArguments) -> Any:
        assert told == arguments
        yield TABLE.name, FIGURES

    monkeypatch.setattr(job, "spark_session", lambda _: NoSpark())
    monkeypatch.setattr(job, "run_task", tasks)
    monkeypatch.setattr("retail_lakehouse.resources.maintenance._MESSAGES_SECONDS", 0.1)
    # A run that fails sends no last message, and Dagster would wait for one.
    monkeypatch.setattr("dagster._core.pipes.utils.WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 0)
    monkeypatch.setattr("boto3.client", lambda *_, **__: bucket)

    @dg.asset(key=KEY)
    def compaction(context: dg.AssetExecutionContext) -> Any:
        yield from run_on_glue(context, settings, arguments, glue=glue, s3=bucket)

    return dg.materialize([compaction], raise_on_error=False), glue, arguments


def test_the_glue_job_is_told_the_task_and_its_figures_are_the_asset_s_metadata(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, glue, arguments = _run(monkeypatch, "SUCCEEDED")
    assert result.success
    (request,) = glue.started
    assert request["JobName"] == "lakehouse_maintenance"
    told = request["Arguments"]
    assert told["--task"] == "compaction"
    assert told["--tables"] == "inventory_events"
    assert told["--warehouse"] == arguments.warehouse
    assert "--JOB_NAME" not in told
    (materialization,) = result.asset_materializations_for_node(KEY.to_python_identifier())
    shown = {name: value.value for name, value in materialization.metadata.items()}
    assert FIGURES.items() <= shown.items()
    assert isinstance(materialization.metadata["files_before"], dg.IntMetadataValue)


def test_a_glue_run_that_fails_fails_the_asset_with_what_glue_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, _, _ = _run(monkeypatch, "FAILED")
    assert not result.success
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    error = event.step_failure_data.error
    assert MaintenanceError.__name__ in str(error)
    assert "out of memory" in str(error)


def test_a_glue_job_that_runs_already_fails_the_asset_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, _, _ = _run(monkeypatch, "BUSY")
    assert not result.success
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    error = str(event.step_failure_data.error)
    assert MaintenanceError.__name__ in error
    assert "ConcurrentRunsExceededException" in error
    assert "whether a run of lakehouse_maintenance is under way" in error


def test_glue_s_script_says_the_same_task_as_its_arguments(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "glue_scripts" / "maintenance.py"
    assert "run_maintenance(sys.argv[1:])" in script.read_text(encoding="utf-8")
    told = maintenance_arguments(Settings.load(AWS), MaintenanceTask.ORPHANS).to_arguments()
    assert json.loads(json.dumps(told)) == told
