"""A Glue job runs on what Glue ships: its scripts import nothing that would have to be added."""

import subprocess
import sys
from pathlib import Path

import pytest

GLUE_SCRIPTS = sorted((Path(__file__).parents[2] / "glue_scripts").glob("*_streaming.py"))
# The libraries of ours that Glue 5.1 has, with what they need themselves. Whatever else is here is
# taken for absent there, as no job of ours asks for --additional-python-modules.
# https://docs.aws.amazon.com/glue/latest/dg/aws-glue-programming-python-libraries.html
SHIPPED = {"pyspark", "py4j", "numpy", "pandas", "pyarrow", "dateutil", "pytz", "six", "tzdata"}

# Runs the script as Glue does, up to its arguments: those are missing, and argparse says so.
AS_GLUE_DOES = """
import importlib.metadata, runpy, sys

shipped = set(sys.argv[2].split(","))
installed = set(importlib.metadata.packages_distributions())

class NotThere:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in installed - shipped - {"retail_lakehouse", "glue_scripts"}:
            raise ModuleNotFoundError(f"No module named {name!r}: Glue does not ship it.")

sys.meta_path.insert(0, NotThere())
sys.argv = sys.argv[1:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("script", GLUE_SCRIPTS, ids=lambda script: script.stem)
def test_a_job_gets_to_its_arguments_with_what_glue_ships(script: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", AS_GLUE_DOES, str(script), ",".join(SHIPPED)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the following arguments are required: --JOB_NAME" in told.stderr, told.stderr
    assert told.returncode == 2


def test_what_glue_lacks_is_noticed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import retail_lakehouse.settings\n")
    told = subprocess.run(
        [sys.executable, "-c", AS_GLUE_DOES, str(script), ",".join(SHIPPED)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'pydantic': Glue does not ship it." in told.stderr
