"""One whole look on one machine.

Here: putting together what Dagster's history, its code server, the file system and the supervisor
say; nothing that one of them does keeps the others from being seen. Not here: what it means.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from retail_lakehouse.local.control import (
    ControlError,
    ProcessState,
    ProcessStatus,
    SupervisorClient,
    SupervisorNotRunningError,
)
from retail_lakehouse.local.dagster_instance import dagster_home
from retail_lakehouse.local.dagster_workspace import CODE_LOCATION, code_server_socket
from retail_lakehouse.local.watchdog.code_server import CodeServerAsker
from retail_lakehouse.local.watchdog.history import HistoryUnreadableError, read_history
from retail_lakehouse.watchdog.looks import Disk, History, Kept, Look

DAEMON_PROCESS = "dagster-daemon"
CODE_SERVER_PROCESS = "dagster-code-server"


class Looker:
    """Looks at the stack of one state folder."""

    def __init__(self, root: Path) -> None:
        """Describe it; nothing is opened before `look`."""
        self._root = root
        self._code = CodeServerAsker(code_server_socket(root), CODE_LOCATION)
        self._supervisor = SupervisorClient(root)

    def look(self) -> Look:
        """One look; takes milliseconds, and half a minute at most."""
        history, why = self._history()
        code = self._code.ask()
        kept = self._kept()
        return Look(
            at_seconds=time.monotonic(),
            at_ms=time.time_ns() // 1_000_000,
            code=code,
            history=history,
            why_no_history=why,
            disk=disk_of(self._root),
            daemon_kept=_kept(kept.get(DAEMON_PROCESS)),
            code_kept=_kept(kept.get(CODE_SERVER_PROCESS)),
        )

    def _history(self) -> tuple[History | None, str]:
        try:
            return read_history(dagster_home(self._root)), ""
        except HistoryUnreadableError as error:
            return None, str(error)

    def _kept(self) -> Mapping[str, ProcessStatus]:
        try:
            return self._supervisor.status()
        except (SupervisorNotRunningError, ControlError):
            return {}


def disk_of(root: Path, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> Disk | None:
    """The file system of the folder, or of what is left above it; None where nothing can be told.

    Counted is what everybody may use, not what is set aside for root.
    """
    for folder in (root, *root.parents):
        try:
            told = statvfs(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return Disk(told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize)
    return None


def _kept(status: ProcessStatus | None) -> Kept | None:
    if status is None:
        return None
    is_stopped = status.state in (ProcessState.STOPPED, ProcessState.STOPPING)
    up = float("inf") if status.started_at is None else max(0.0, time.time() - status.started_at)
    return Kept(status.state is ProcessState.RUNNING, is_stopped, status.message, up)
