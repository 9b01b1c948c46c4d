"""The settings of the running stack, handed on to its processes and to those who ask about it.

Belongs here: settings as an environment and as a file of the state folder. Doesn't belong here:
what the settings mean (`settings.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

from retail_lakehouse.settings import ENV_PREFIX, Settings


def settings_file(root: Path) -> Path:
    """Where the settings of the running stack stand, for those who ask about it."""
    return root / "run" / "settings.json"


def settings_environment(settings: Settings) -> dict[str, str]:
    """The environment that gives another process the same settings."""
    told = settings.model_dump(mode="json", include=settings.model_fields_set | {"state_dir"})
    told["state_dir"] = str(settings.root)
    told["cache_dir"] = str(settings.cache)
    return {f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in told.items()}


def write_settings(settings: Settings) -> None:
    """Write down the settings of the stack that starts now."""
    told = settings.model_dump(mode="json", exclude_none=True)
    told["state_dir"] = str(settings.root)
    path = settings_file(settings.root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1))


def read_settings(root: Path) -> dict[str, object] | None:
    """What `write_settings` wrote, or None if there is nothing to be read."""
    try:
        told = json.loads(settings_file(root).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return dict(told) if isinstance(told, dict) else None
