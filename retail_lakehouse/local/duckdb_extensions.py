"""DuckDB with the extensions that read Iceberg, loaded from the packages that PyPI has.

Here: finding and loading them, an in-memory connection that reads tables. Not here: queries, the
warehouse's file.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# In this order: iceberg needs avro. They come from PyPI, never from DuckDB's site.
_EXTENSIONS = ("avro", "iceberg")


class ExtensionMissingError(RuntimeError):
    """An extension of DuckDB's is not installed."""


def extension_file(name: str) -> Path:
    """The extension's file in the package that belongs to the installed DuckDB.

    Raises:
        ExtensionMissingError: the package is missing or of another version.
    """
    import duckdb

    package = f"duckdb_extension_{name}"
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}"
        found = folder / f"{name}.duckdb_extension"
        if found.is_file():
            return found
    raise ExtensionMissingError(
        f"DuckDB's extension {name} for version {duckdb.__version__} is missing: install "
        f"{package.replace('_', '-')}=={duckdb.__version__} (`uv sync` does)."
    )


def load_extensions(connection: "DuckDBPyConnection") -> None:
    """Makes the connection read Iceberg tables.

    Raises:
        ExtensionMissingError: a package is missing or of another version.
    """
    for name in _EXTENSIONS:
        connection.load_extension(str(extension_file(name)))


@contextmanager
def iceberg_reader(memory_limit_mb: int, spill_folder: Path) -> "Iterator[DuckDBPyConnection]":
    """An in-memory DuckDB that can scan Iceberg tables; it never asks the network for anything."""
    import duckdb

    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": f"{memory_limit_mb}MB",
            "preserve_insertion_order": False,
            "temp_directory": str(spill_folder),
        }
    )
    try:
        load_extensions(connection)
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()
