"""Addresses of local files, as Iceberg writes them.

Here: from address to path. Not here: reading (`lake.py`, `local_files.py`).
"""

from pathlib import Path


def local_path(location: str) -> Path:
    """The path of a file: address (Spark's file:/x, pyiceberg's file:///x) or of a plain path.

    Iceberg's addresses are no URIs: a space stands in them as it is.
    """
    if location.startswith("file:"):
        return Path("/" + location.removeprefix("file:").lstrip("/"))
    return Path(location)
