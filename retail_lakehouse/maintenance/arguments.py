"""The arguments of the maintenance job, as Glue passes them: `--name value`.

Here: names and types. Not here: what the job does with them (`job.py`), how settings become
arguments (`job_settings.py`).
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields

from retail_lakehouse.contracts.maintenance import MaintenanceTask
from retail_lakehouse.contracts.tables import MAINTAINED_TABLES, TableContract, table_named


class ArgumentsError(ValueError):
    """An argument that the maintenance job cannot be run with."""


@dataclass(frozen=True, slots=True)
class MaintenanceArguments:
    """What one run is told."""

    job_name: str
    task: str
    """One of contracts.maintenance.MaintenanceTask."""
    catalog_name: str
    catalog_uri: str
    """JDBC address of the local catalog; empty for the Glue Data Catalog."""
    warehouse: str
    snapshot_retention_minutes: int
    tables: str = ""
    """Names of tables with commas between; empty for every one that is maintained."""
    reopened: str = "true"
    """`false`: of a compaction, only the hours that were never compacted."""
    customer: str = ""
    """Of an erasure, whose."""

    @property
    def contracts(self) -> tuple[TableContract, ...]:
        """The tables of the run.

        Raises:
            ArgumentsError: there is no such table, or none that is maintained.
        """
        try:
            named = tuple(table_named(n.strip()) for n in self.tables.split(",") if n.strip())
        except KeyError as error:
            raise ArgumentsError(str(error.args[0])) from None
        for table in named:
            if table not in MAINTAINED_TABLES:
                raise ArgumentsError(
                    f"{table.name} is loaded as one file and needs no maintenance; leave it out."
                )
        return named or MAINTAINED_TABLES

    @property
    def what(self) -> MaintenanceTask:
        """The task.

        Raises:
            ArgumentsError: there is no such task.
        """
        try:
            return MaintenanceTask(self.task)
        except ValueError:
            known = ", ".join(task.value for task in MaintenanceTask)
            raise ArgumentsError(f"There is no task {self.task!r}; there are {known}.") from None

    @staticmethod
    def parse(argv: Sequence[str]) -> "MaintenanceArguments":
        """Arguments from a command line; unknown ones are Glue's or Dagster's, and passed over."""
        parser = argparse.ArgumentParser(allow_abbrev=False)
        for field in fields(MaintenanceArguments):
            is_optional = field.name in {"catalog_uri", "tables", "reopened", "customer"}
            parser.add_argument(
                f"--{_told(field.name)}",
                dest=field.name,
                type=int if field.name == "snapshot_retention_minutes" else str,
                required=not is_optional,
                default=("true" if field.name == "reopened" else "") if is_optional else None,
            )
        known, _ = parser.parse_known_args(argv)
        return MaintenanceArguments(**vars(known))

    def to_argv(self) -> list[str]:
        """The command line that `parse` reads back."""
        return [word for pair in self.to_arguments().items() for word in pair]

    def to_arguments(self) -> dict[str, str]:
        """The same as Glue's StartJobRun takes it."""
        told = {f"--{_told(f.name)}": str(getattr(self, f.name)) for f in fields(self)}
        return {name: value for name, value in told.items() if value}


def _told(name: str) -> str:
    return "JOB_NAME" if name == "job_name" else name
