"""The maintenance job on Glue: one task, reported to Dagster where Dagster started it.

Here: session, exit status, Pipes. Not here: the tasks (`tasks.py`). `dagster-pipes` is a module of
its own without dependencies; the job's definition brings it with `--additional-python-modules`.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from retail_lakehouse.maintenance.arguments import ArgumentsError, MaintenanceArguments
from retail_lakehouse.maintenance.compaction import (
    CompactionFailedError,
    CompactionRefusedError,
    CompactionUncertainError,
)
from retail_lakehouse.maintenance.erasure import ErasureError
from retail_lakehouse.maintenance.report import Figures
from retail_lakehouse.maintenance.tasks import TablesFailedError, run_task
from retail_lakehouse.streaming.iceberg import TableNotReadyError
from retail_lakehouse.streaming.session import spark_session

logger = logging.getLogger(__name__)

_PIPES_ARGUMENT = "--dagster-pipes-context"


class Reporter(Protocol):
    """Who is told of each table."""

    def __call__(self, task: str, table: str, figures: Figures) -> None:
        """One table of the task is done."""
        ...


def run_maintenance(argv: Sequence[str]) -> int:
    """Runs one task; returns the exit status: 0 done, 1 failed, 2 wrong arguments."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("py4j").setLevel(logging.WARNING)
    arguments = MaintenanceArguments.parse(argv)
    try:
        task = arguments.what
        with _reporter(argv) as report:
            spark = spark_session(arguments)
            try:
                for table, figures in run_task(spark, arguments):
                    report(task.value, table, figures)
            finally:
                spark.stop()
    except ArgumentsError as error:
        logger.error("%s", error)
        return 2
    except (
        CompactionFailedError,
        CompactionRefusedError,
        CompactionUncertainError,
        ErasureError,
        TableNotReadyError,
        TablesFailedError,
    ) as error:
        logger.error("%s", error)
        return 1
    return 0


@contextlib.contextmanager
def _reporter(argv: Sequence[str]) -> "Iterator[Reporter]":
    if not any(word.startswith(_PIPES_ARGUMENT) for word in argv):
        yield lambda task, table, figures: None
        return
    import boto3
    from dagster_pipes import (
        PipesCliArgsParamsLoader,
        PipesS3ContextLoader,
        PipesS3MessageWriter,
        open_dagster_pipes,
    )

    client = boto3.client("s3")
    with open_dagster_pipes(
        context_loader=PipesS3ContextLoader(client=client),
        message_writer=PipesS3MessageWriter(client=client),
        params_loader=PipesCliArgsParamsLoader(),  # type: ignore[no-untyped-call]
    ) as pipes:
        wanted: Any = set(pipes.asset_keys)

        def report(task: str, table: str, figures: Figures) -> None:
            key = f"maintenance/{task}/{table}"
            if key in wanted:
                pipes.report_asset_materialization(asset_key=key, metadata=dict(figures))

        yield report
