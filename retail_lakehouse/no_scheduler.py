"""The scheduler of a bare `dagster dev` on this project: none.

Here: what `dagster.yaml` in the repository's root names (`local/dagster_instance.py`). Not here:
the schedules (`schedules.py`), the sensors there (`sensors/left_to_dev.py`).

Alone, a bare `dagster dev` starts nothing, and a schedule would start runs of Spark. Beside a
`make dev`, whose instance it shares, its scheduler would delete the state of each schedule that is
not on in its own code: the other's would begin anew with every minute, and never be due.
"""

from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from dagster._config import UserConfigSchema
from dagster._core.scheduler import Scheduler
from dagster._serdes import ConfigurableClass, ConfigurableClassData


class NoScheduler(Scheduler, ConfigurableClass):
    """Any scheduler but Dagster's own: for its daemon there is no scheduler then."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        """Keep what Dagster made it of."""
        self._inst_data = inst_data

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """What Dagster made it of."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing can be set."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> Self:
        """As `dagster.yaml` has it."""
        return cls(inst_data)

    def debug_info(self) -> str:
        """Why nothing is due."""
        return "Schedules tick where `make dev` runs."

    def get_logs_path(self, instance: dg.DagsterInstance, schedule_origin_id: str) -> str:
        """None is written."""
        return ""

    def wipe(self, instance: dg.DagsterInstance) -> None:
        """Nothing is kept."""
