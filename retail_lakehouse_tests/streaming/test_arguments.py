"""Rules of a job's command line: it is read back as it was told, and Glue's own is left alone."""

from collections.abc import Mapping

import pytest

from retail_lakehouse.job_settings import job_arguments
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.arguments import JobArguments

AWS: Mapping[str, object] = {
    "profile": "aws",
    "bootstrap_servers": "b-1.example:9098",
    "warehouse_host": "w.example",
    "aws_region": "eu-central-1",
    "warehouse_location": "s3://bucket/tables",
    "checkpoint_location": "s3://bucket/checkpoints",
}
PROFILES = pytest.mark.parametrize("told", [{}, AWS, {"accept_loss": "0123456789ab"}])


@PROFILES
def test_a_command_line_is_read_back_as_it_was_told(told: Mapping[str, object]) -> None:
    arguments = job_arguments(Settings.load(told), "inventory")
    assert JobArguments.parse(arguments.to_argv()) == arguments


@PROFILES
def test_what_is_empty_is_not_told(told: Mapping[str, object]) -> None:
    argv = job_arguments(Settings.load(told), "inventory").to_argv()
    assert "" not in argv


def test_glues_own_arguments_are_passed_over_also_where_they_begin_like_ours() -> None:
    arguments = job_arguments(Settings.load(AWS), "inventory")
    argv = ["--conf", "spark.x=y", *arguments.to_argv(), "--trigger", "900", "--accept", "all"]
    assert JobArguments.parse(argv) == arguments


@pytest.mark.parametrize("name", ["--JOB_NAME", "--checkpoint", "--warehouse", "--index_dir"])
def test_a_job_without_a_place_to_write_to_does_not_start(name: str) -> None:
    argv = job_arguments(Settings.load(AWS), "inventory").to_argv()
    at = argv.index(name)
    with pytest.raises(SystemExit):
        JobArguments.parse(argv[:at] + argv[at + 2 :])
