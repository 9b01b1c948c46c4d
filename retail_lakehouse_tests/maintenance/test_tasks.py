"""Rules of a task over several tables: one that fails holds up no other, and is told."""

from typing import Any

import pytest
from pyspark.errors import AnalysisException

from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.tables import MAINTAINED_TABLES, TableContract
from retail_lakehouse.job_settings import maintenance_arguments
from retail_lakehouse.maintenance import tasks
from retail_lakehouse.maintenance.compaction import CompactionFailedError
from retail_lakehouse.maintenance.tasks import TablesFailedError, run_task
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.streaming.test_arguments import AWS


def test_a_table_that_cannot_be_maintained_holds_up_no_other_and_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, *others = MAINTAINED_TABLES

    def of_table(_: object, __: object, ___: object, contract: TableContract) -> dict[str, int]:
        if contract is first:
            raise CompactionFailedError("It was not compacted; nothing changed.")
        if contract is second:
            raise AnalysisException("No space left on device\n\tat somewhere in Java")
        return {"rows": 1}

    monkeypatch.setattr(tasks, "_of_table", of_table)
    arguments = maintenance_arguments(Settings.load(AWS), MaintenanceTask.COMPACTION)
    spark: Any = object()
    run = run_task(spark, arguments)
    assert [next(run)[0] for _ in others] == [table.name for table in others]
    with pytest.raises(TablesFailedError) as told:
        next(run)
    assert str(told.value).startswith("It was not compacted; nothing changed. The compaction of ")
    assert f"{second.qualified_name} failed (No space left on device)." in str(told.value)
    assert "Java" not in str(told.value)
