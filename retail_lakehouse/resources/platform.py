"""What all resources share: they are configured with the platform's settings.

Here: how settings travel through Dagster's configuration. Not here: a system of the platform.
"""

from typing import Any, Self

import dagster as dg
from pydantic import Field

from retail_lakehouse.settings import Settings


class PlatformResource(dg.ConfigurableResource[Any]):
    """A resource that is configured with the settings, so that the Dagster UI shows them.

    Dagster builds resources anew from their configuration wherever they are used: whatever a
    resource needs must therefore be in it.
    """

    settings: dict[str, Any] = Field(description="Every setting of the platform, by its name.")

    @classmethod
    def of(cls, settings: Settings, **fields: object) -> Self:
        """The resource for these settings."""
        values = settings.model_dump(mode="json", exclude_none=True)
        return cls(settings=values, **fields)

    def platform(self) -> Settings:
        """The settings.

        Raises:
            SettingsError: the configuration was changed by hand to something out of range.
        """
        return Settings.load(self.settings)
