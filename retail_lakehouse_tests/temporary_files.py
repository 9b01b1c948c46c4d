"""Where the tests' temporary files lie: in memory, on a machine that has enough of it.

Here: that choice. Not here: fixtures, which take their folders from pytest.

Each commit to a small database (Dagster's history, Iceberg's catalog, the warehouse, Kafka's
metadata) waits for the disk, and the tests make many thousands. They kill processes, never the
machine, so that no test needs what a disk gives beyond that.
"""

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]

MEMORY_DISK = Path("/dev/shm")
FREE_BYTES = 6 * 1024**3
"""More than the tests ever keep at once, and than the free space at which the platform warns."""
AVAILABLE_BYTES = 12 * 1024**3
"""For those files and for a Spark and a Kafka of each file that runs beside others."""


def folder_in_memory() -> Path | None:
    """The folder for temporary files in memory, if this machine has one that will do."""
    if not os.access(MEMORY_DISK, os.W_OK | os.X_OK):
        return None
    will_do = is_roomy(os.statvfs(MEMORY_DISK), psutil.virtual_memory().available)
    return MEMORY_DISK if will_do else None


def is_roomy(disk: os.statvfs_result, available_bytes: int) -> bool:
    """Whether a disk in memory takes the tests' files.

    Args:
        disk: What the system says of it.
        available_bytes: Memory that programs may still take.
    """
    # Fake programs and the libraries that Java unpacks are run from there.
    runs_programs = not disk.f_flag & os.ST_NOEXEC
    has_room = disk.f_bavail * disk.f_frsize >= FREE_BYTES
    return runs_programs and has_room and available_bytes >= AVAILABLE_BYTES
