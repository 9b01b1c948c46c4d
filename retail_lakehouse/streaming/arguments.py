"""The arguments of a streaming job, as Glue passes them: `--name value`.

Here: names and types. Not here: what the job does with them, how settings become arguments
(`job_settings.py`).
On AWS the same list stands in the job's `DefaultArguments`; Glue's own (`--conf`,
`--datalake-formats`, …) are left alone.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

EXIT_NEEDS_A_PERSON = 3
"""Exit status of a job that found records lost, or the like: a start by itself is no use."""
EXIT_KEPT_OUT = 4
"""Exit status of a job whose topic another job writes: it may end at any time."""


@dataclass(frozen=True, slots=True)
class JobArguments:
    """What one streaming job is told. Paths are local or s3://…; an empty string means none."""

    job_name: str
    bootstrap_servers: str
    kafka_security: str
    """`plaintext` on loopback, `iam` for MSK with IAM authentication over TLS."""
    catalog_name: str
    catalog_uri: str
    """JDBC address of the local catalog; empty for the Glue Data Catalog."""
    warehouse: str
    checkpoint: str
    index_dir: str
    """Folder of the dedupe index, on the driver's local disk."""
    lock_dir: str
    """Folder of the topic locks; empty on Glue, where MaxConcurrentRuns=1 is the lock."""
    trigger_seconds: float
    max_offsets_per_trigger: int
    dedupe_horizon_hours: int
    snapshot_retention_minutes: int
    accept_loss: str
    """Codes of losses that a person has accepted, with commas (see `startup.py`)."""

    @staticmethod
    def parse(argv: Sequence[str]) -> "JobArguments":
        """Arguments from a command line; unknown ones are Glue's and are passed over."""
        parser = argparse.ArgumentParser(allow_abbrev=False)
        types: dict[str, Any] = {"float": float, "int": int, "str": str}
        for field in fields(JobArguments):
            name = "--JOB_NAME" if field.name == "job_name" else f"--{field.name}"
            parser.add_argument(
                name,
                dest=field.name,
                type=types[field.type if isinstance(field.type, str) else field.type.__name__],
                required=field.name not in {"accept_loss", "lock_dir", "catalog_uri"},
                default="",
            )
        known, _ = parser.parse_known_args(argv)
        return JobArguments(**vars(known))

    def to_argv(self) -> list[str]:
        """The command line that `parse` reads back."""
        argv = []
        for field in fields(self):
            name = "--JOB_NAME" if field.name == "job_name" else f"--{field.name}"
            value = str(getattr(self, field.name))
            if value:
                argv += [name, value]
        return argv
