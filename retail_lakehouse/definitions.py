"""The code location that `dagster` and `dg` load: settings, and one call into `build.py`."""

import logging

import dagster as dg

from retail_lakehouse.build import build_defs
from retail_lakehouse.resources.daemon import nobody_is_told, other_daemon
from retail_lakehouse.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """The platform's definitions for the settings of this environment, built when asked for."""
    settings = Settings.load()
    sensors_left = other_daemon(settings)
    if sensors_left:
        logging.getLogger(__name__).warning(sensors_left)
    return build_defs(settings, sensors_left=sensors_left, alerts_left=nobody_is_told(settings))
