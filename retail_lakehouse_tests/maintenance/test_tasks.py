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


@pytest.mark.parametrize("reopened", [True, False])
def test_a_compaction_takes_reopened_hours_when_it_is_told_to(
    reopened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []

    class Noting:
        def __init__(self, *_: object) -> None:
            pass

        def compact(self, *, reopened: bool) -> None:
            taken.append(reopened)

    monkeypatch.setattr(tasks, "Compaction", Noting)
    monkeypatch.setattr(tasks, "compaction_figures", lambda _: {"rows": 1})
    settings, task = Settings.load(AWS), MaintenanceTask.COMPACTION
    table = MAINTAINED_TABLES[0]
    arguments = maintenance_arguments(settings, task, [table.name], reopened=reopened)
    spark: Any = object()
    assert list(run_task(spark, arguments)) == [(table.name, {"rows": 1})]
    assert taken == [reopened]
