"""Rules of the job's arguments: what settings say comes through, what is none is refused."""

import pytest

from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.tables import MAINTAINED_TABLES, event_table
from retail_lakehouse.job_settings import maintenance_arguments
from retail_lakehouse.maintenance.arguments import MaintenanceArguments
from retail_lakehouse.maintenance.job import run_maintenance
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.streaming.test_arguments import AWS


def test_arguments_come_back_from_a_command_line_with_glues_own_among_them() -> None:
    told = maintenance_arguments(
        Settings.load(AWS), MaintenanceTask.COMPACTION, ["inventory_events"], reopened=False
    )
    argv = [*told.to_argv(), "--TempDir", "s3://elsewhere", "--dagster-pipes-context", "x"]
    assert MaintenanceArguments.parse(argv) == told
    assert told.what is MaintenanceTask.COMPACTION
    assert told.contracts == (event_table("inventory"),)
    assert told.snapshot_retention_minutes == 24 * 60


def test_no_table_means_every_one_that_is_maintained() -> None:
    told = maintenance_arguments(Settings.load(AWS), MaintenanceTask.EXPIRY)
    assert MaintenanceArguments.parse(told.to_argv()).contracts == MAINTAINED_TABLES


@pytest.mark.parametrize(
    "argument, value, sentence",
    [
        ("--task", "dusting", "There is no task 'dusting'"),
        ("--tables", "weather", "There is no table 'weather'"),
        ("--tables", "dim_store", "needs no maintenance"),
        ("--customer", "", "needs --customer"),
    ],
)
def test_what_cannot_be_meant_ends_the_job_with_a_sentence(
    argument: str,
    value: str,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoSpark:
        def stop(self) -> None:
            pass

    monkeypatch.setattr("retail_lakehouse.maintenance.job.spark_session", lambda _: NoSpark())
    told = maintenance_arguments(Settings.load(AWS), MaintenanceTask.ERASURE).to_arguments()
    told[argument] = value
    argv = [word for pair in told.items() for word in pair if pair[1]]
    assert run_maintenance(argv) == 2
    assert sentence in caplog.text
