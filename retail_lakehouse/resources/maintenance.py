"""Maintenance as a resource: on one machine in a session of dagster-pyspark, on AWS a Glue job.

Here: where a task runs, and its figures as materializations. Not here: the tasks
(`retail_lakehouse.maintenance`). On AWS the same code runs in `glue_scripts/maintenance.py`, which
reports through Dagster Pipes over the bucket of the checkpoints.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dagster as dg

from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.job_settings import MAINTENANCE_JOB, maintenance_arguments
from retail_lakehouse.resources.platform import PlatformResource
from retail_lakehouse.settings import Settings

if TYPE_CHECKING:
    from retail_lakehouse.maintenance.arguments import MaintenanceArguments


_MESSAGES_SECONDS = 10.0


class MaintenanceError(RuntimeError):
    """A maintenance task that was not done."""


class MaintenanceResource(PlatformResource):
    """Runs maintenance tasks where the profile has them run."""

    def run(
        self,
        context: dg.AssetExecutionContext,
        task: MaintenanceTask,
        contracts: Iterable[TableContract],
        *,
        reopened: bool = True,
    ) -> Iterator[Any]:
        """Runs the task over the tables; a materialization for each, as soon as it is done.

        Raises:
            MaintenanceError: tables could not be maintained; the others are.
        """
        settings = self.platform()
        names = [contract.name for contract in contracts]
        arguments = maintenance_arguments(settings, task, names, reopened=reopened)
        if settings.is_local:
            yield from self._in_this_process(arguments)
        else:
            yield from run_on_glue(context, settings, arguments)

    def _in_this_process(
        self, arguments: "MaintenanceArguments"
    ) -> Iterator[dg.MaterializeResult[Any]]:
        from retail_lakehouse.maintenance.tasks import TablesFailedError, run_task
        from retail_lakehouse.resources.spark import SparkResource

        spark = SparkResource(settings=self.settings)
        with spark.session(arguments) as session:
            try:
                for table, figures in run_task(session, arguments):
                    yield dg.MaterializeResult(
                        asset_key=dg.AssetKey(["maintenance", arguments.task, table]),
                        metadata=dict(figures),
                    )
            except TablesFailedError as error:
                raise MaintenanceError(str(error)) from error


def run_on_glue(
    context: dg.AssetExecutionContext,
    settings: Settings,
    arguments: "MaintenanceArguments",
    *,
    glue: Any = None,
    s3: Any = None,
) -> Iterator[Any]:
    """Runs the Glue job and hands on what it reported. `glue`, `s3`: boto3 clients if given.

    Raises:
        MaintenanceError: the run did not succeed, or Glue did not start it or lost sight of it.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from dagster_aws.pipes import (
        PipesGlueClient,
        PipesS3ContextInjector,
        PipesS3MessageReader,
    )

    if glue is None or s3 is None:
        import boto3

        glue = boto3.client("glue", region_name=settings.aws_region)
        s3 = boto3.client("s3", region_name=settings.aws_region)
    bucket = urlsplit(settings.checkpoints).netloc
    client = PipesGlueClient(
        context_injector=PipesS3ContextInjector(bucket=bucket, client=s3),
        message_reader=PipesS3MessageReader(bucket=bucket, client=s3, interval=_MESSAGES_SECONDS),
        client=glue,
    )
    told = arguments.to_arguments()
    # Glue sets it itself.
    told.pop("--JOB_NAME")
    try:
        done = client.run(
            context=context,
            start_job_run_params={"JobName": MAINTENANCE_JOB, "Arguments": told},
        )
    except RuntimeError as error:
        raise MaintenanceError(
            f"{error}. See the run's log in Glue's console; the next run looks at the tables as "
            "they are."
        ) from error
    except (BotoCoreError, ClientError) as error:
        raise MaintenanceError(
            f"Glue refused or did not answer ({error}). See in its console whether a run of "
            f"{MAINTENANCE_JOB} is under way, which lets no second one start; the next run looks "
            "at the tables as they are."
        ) from error
    yield from done.get_results()
