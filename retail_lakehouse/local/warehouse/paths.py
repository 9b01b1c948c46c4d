"""Addresses of local files, as Iceberg writes them.

Here: from address to path. Not here: reading (`lake.py`, `local_files.py`).
"""

from pathlib import Path
from urllib.parse import unquote, urlparse


def local_path(location: str) -> Path:
    """The path of a file: address (file:/x, file:///x or a plain path)."""
    if location.startswith("file:"):
        return Path(unquote(urlparse(location).path))
    return Path(location)
