"""The code location that `dagster` and `dg` load: nothing but one call into `build.py`."""

import dagster as dg

from retail_lakehouse.build import build_defs
from retail_lakehouse.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """The platform's definitions for the settings of this environment, built when asked for."""
    return build_defs(Settings.load())
