"""Emptying the state folder.

Belongs here: what may be removed, and refusing while it is in use. Doesn't belong here: asking the
person (`commands/reset.py`).
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from retail_lakehouse.local.stack_units import PROCESS_NAMES
from retail_lakehouse.local.state_folder import hold
from retail_lakehouse.local.supervisor import end_recorded
from retail_lakehouse.settings import Settings

STATE = frozenset(
    {
        "alerts",
        "kafka",
        "catalog",
        "warehouse",
        "checkpoints",
        "index",
        "locks",
        "logs",
        "run",
        "ledger",
        "erasures",
        "secrets",
        "dagster",
    }
)
"""What the platform itself makes in the state folder; anything else there is not ours."""
DOWNLOADS = frozenset({"cache", "tools"})


def what_to_remove(settings: Settings, *, everything: bool = False) -> list[Path]:
    """What `empty` would remove: entries of the state folder that the platform made.

    Args:
        settings: They name the folder.
        everything: Downloads too.
    """
    names = STATE | DOWNLOADS if everything else STATE
    return sorted(settings.root / name for name in names if (settings.root / name).exists())


def what_stays(settings: Settings, *, everything: bool = False) -> tuple[list[Path], list[Path]]:
    """What `empty` would leave in the state folder: downloads, and what is not the platform's."""
    if not settings.root.exists():
        return [], []
    removed = what_to_remove(settings, everything=everything)
    left = sorted(each for each in settings.root.iterdir() if each not in removed)
    downloads = [each for each in left if each.name in DOWNLOADS]
    return downloads, [each for each in left if each.name not in DOWNLOADS]


def empty(settings: Settings, *, everything: bool = False) -> int:
    """Remove the state; returns the bytes that were freed.

    Processes which a killed `dev` left are ended first. Only what the platform made is removed:
    a folder that was named by mistake keeps everything else.

    Raises:
        AlreadyRunningError: `dev` runs on the folder.
        StragglersError: A process that was left there does not end.
    """
    if not settings.root.exists():
        return 0
    freed = 0
    with contextlib.closing(hold(settings.root, "reset")):
        end_recorded(settings.root, PROCESS_NAMES, grace_seconds=5.0)
        # The folder of the lock goes last: until then no other run can begin.
        found = what_to_remove(settings, everything=everything)
        for path in sorted(found, key=lambda each: each.name == "run"):
            freed += _size(path)
            if path.is_symlink() or path.is_file():
                path.unlink()
            else:
                shutil.rmtree(path)
    return freed


def _size(path: Path) -> int:
    if path.is_symlink():
        return 0
    if path.is_file():
        return path.stat().st_size
    return sum(each.lstat().st_size for each in path.rglob("*") if not each.is_dir())
