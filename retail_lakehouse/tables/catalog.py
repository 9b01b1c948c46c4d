"""Opening the Iceberg catalog of the profile.

Here: the catalog's properties and the local SQLite file. Not here: what is in the catalog.
"""

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.tables import DATABASE
from retail_lakehouse.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

BUSY_TIMEOUT_SECONDS = 60


class CatalogError(RuntimeError):
    """The catalog cannot be opened."""


def catalog_properties(settings: Settings) -> dict[str, str]:
    """What pyiceberg's `load_catalog` takes; on the local profile also what `SqlCatalog` takes."""
    if settings.is_local:
        return {
            "type": "sql",
            "uri": f"sqlite:///{settings.catalog_db}?timeout={BUSY_TIMEOUT_SECONDS}",
            "warehouse": settings.warehouse_uri,
        }
    return {
        "type": "glue",
        "glue.region": settings.aws_region,
        "warehouse": settings.warehouse_uri,
    }


def prepare_catalog(settings: Settings) -> None:
    """Makes the local catalog's SQLite file and the warehouse folder, once; nothing on AWS.

    Write-ahead logging is a property of the file: without it one reader more makes Iceberg's
    JdbcCatalog fail with SQLITE_BUSY.
    """
    if not settings.is_local:
        return
    settings.catalog_db.parent.mkdir(parents=True, exist_ok=True)
    (settings.root / "warehouse" / "iceberg").mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(settings.catalog_db, timeout=BUSY_TIMEOUT_SECONDS) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    catalog = open_catalog(settings)
    catalog.create_namespace_if_not_exists(DATABASE)


def open_catalog(settings: Settings) -> "Catalog":
    """The profile's catalog. One a thread: SQLite connections and Glue clients are not shared.

    Raises:
        CatalogError: the local catalog's file is not there yet.
    """
    from pyiceberg.catalog import load_catalog

    if settings.is_local and not settings.catalog_db.exists():
        raise CatalogError(
            f"There is no catalog at {settings.catalog_db}: nothing has been created in this state "
            "folder yet. Start the platform once with `retail-lakehouse dev`."
        )
    properties: Mapping[str, str] = catalog_properties(settings)
    return load_catalog(settings.catalog_name, **properties)
