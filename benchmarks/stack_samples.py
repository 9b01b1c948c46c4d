"""One look at a running platform: ages, rate, memory, processor time.

Belongs here: what is measured and how. Doesn't belong here: when (`long_run.py`), what is made of
it (`long_run_report.py`).
"""

import contextlib
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from retail_lakehouse.local import processes
from retail_lakehouse.local.control import (
    ControlError,
    SupervisorClient,
    SupervisorNotRunningError,
)
from retail_lakehouse.local.stack_units import PROCESS_NAMES
from retail_lakehouse.local.status import collect_status
from retail_lakehouse.settings import Settings

SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class Sample:
    """The platform at one moment.

    `at` in seconds since 1970; ages in seconds, the worst of the three event tables and of the
    materialized views, None where unknown; `machine_cpu` in cores used by everything on the
    machine since the sample before.
    """

    at: float
    table_age_seconds: float | None
    view_age_seconds: float | None
    events_per_second: float
    quarantined: int
    duplicates: int
    machine_cpu: float
    problems: list[str]


@dataclass(frozen=True, slots=True)
class MemoryLook:
    """Proportional set size in MB and cores used since the look before, by process."""

    at: float
    pss_mb: dict[str, float]
    cores: dict[str, float]

    @property
    def total_mb(self) -> float:
        """Of the whole stack."""
        return sum(self.pss_mb.values())


@dataclass(slots=True)
class Sampler:
    """Looks at the stack of one state folder again and again.

    What `status --json` prints is taken from the function behind it: a process a sample would
    cost more than what it looks at.
    """

    settings: Settings
    _cpu_seconds: dict[int, float] = field(default_factory=dict)
    _looked_at: float = 0.0

    def sample(self) -> Sample:
        """One sample; parts that are down are None or problems."""
        cores = psutil.cpu_count() or 1
        told = collect_status(self.settings)
        problems = told["problems"]
        return Sample(
            at=time.time(),
            table_age_seconds=_number(told["table_age_seconds"]),
            view_age_seconds=_number(told["view_age_seconds"]),
            events_per_second=_number(told["events_per_second"]) or 0.0,
            quarantined=int(_number(told["quarantined"]) or 0),
            duplicates=int(_number(told["duplicates"]) or 0),
            machine_cpu=round(psutil.cpu_percent(interval=None) * cores / 100, 2),
            problems=[str(each) for each in problems] if isinstance(problems, list) else [],
        )

    def memory(self) -> MemoryLook:
        """Memory and processor time of every process of the stack, by the supervisor's names."""
        now = time.monotonic()
        elapsed = now - self._looked_at
        first = not self._cpu_seconds
        seen: dict[int, float] = {}
        pss: dict[str, float] = {}
        cores: dict[str, float] = {}
        for name, members in self._members().items():
            used = 0.0
            for process in members:
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    seen[process.pid] = times.user + times.system
                    used += seen[process.pid] - self._cpu_seconds.get(process.pid, 0.0)
                    size = process.memory_full_info().pss / 1e6
                    pss[name] = round(pss.get(name, 0.0) + size, 1)
            cores[name] = 0.0 if first else round(used / elapsed, 3)
        self._cpu_seconds, self._looked_at = seen, now
        return MemoryLook(time.time(), pss, cores)

    def _members(self) -> dict[str, list[psutil.Process]]:
        recorded = processes.recorded(self.settings.root, PROCESS_NAMES)
        found = {name: processes.session_members(record) for name, record in recorded.items()}
        with contextlib.suppress(psutil.Error, SupervisorNotRunningError, ControlError):
            pid = SupervisorClient(self.settings.root).about()["pid"]
            found[SUPERVISOR] = [psutil.Process(int(str(pid)))]
        return found


def machine() -> dict[str, Any]:
    """The machine in the terms that figures depend on; nothing that names it."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        told: Mapping[str, str] = dict(
            (part.strip() for part in line.split(":", 1))  # type: ignore[misc]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if ":" in line
        )
        return told.get("model name", platform.machine())
    return platform.machine()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
