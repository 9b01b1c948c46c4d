"""Opening the Iceberg catalog of the profile.

Here: the catalog's properties and the local SQLite file. Not here: what is in the catalog.
"""

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retail_lakehouse.contracts.tables import CATALOG_BUSY_SECONDS, DATABASE, TableContract
from retail_lakehouse.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

AWS_TIMEOUT_SECONDS = 5
AWS_ATTEMPTS = 2
"""Of one request to Glue: pyiceberg's own patience is minutes, in which a sensor's tick is given up
before it has told anybody that the catalog does not answer."""


class CatalogError(RuntimeError):
    """The catalog, or a table of it, cannot be read."""


class TableMissingError(CatalogError):
    """The catalog does not have the table."""


def catalog_properties(settings: Settings) -> dict[str, str]:
    """What pyiceberg's `load_catalog` takes; on the local profile also what `SqlCatalog` takes."""
    if settings.is_local:
        return {
            "type": "sql",
            "uri": f"sqlite:///{settings.catalog_db}?timeout={CATALOG_BUSY_SECONDS}",
            "warehouse": settings.warehouse_uri,
        }
    return {
        "type": "glue",
        "glue.region": settings.aws_region,
        "warehouse": settings.warehouse_uri,
        "s3.connect-timeout": str(AWS_TIMEOUT_SECONDS),
        "s3.request-timeout": str(2 * AWS_TIMEOUT_SECONDS),
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
    with sqlite3.connect(settings.catalog_db, timeout=CATALOG_BUSY_SECONDS) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    catalog = open_catalog(settings)
    catalog.create_namespace_if_not_exists(DATABASE)


def open_catalog(settings: Settings) -> "Catalog":
    """The profile's catalog. One a thread: SQLite connections and Glue clients are not shared.

    Raises:
        CatalogError: the local catalog's file is not there yet, or the catalog does not answer.
    """
    from pyiceberg.catalog import load_catalog

    if settings.is_local and not settings.catalog_db.exists():
        raise CatalogError(
            f"There is no catalog at {settings.catalog_db}: nothing has been created in this state "
            "folder yet. Start the platform once with `retail-lakehouse dev`."
        )
    properties: Mapping[str, Any] = catalog_properties(settings)
    if not settings.is_local:
        properties = {**properties, **_bounded_requests()}
    try:
        return load_catalog(settings.catalog_name, **properties)
    except Exception as error:
        raise CatalogError(
            f"The catalog at {_place(settings)} cannot be opened: {_told(error)}. Check that the "
            "file or service can be read and is not locked; the next look tries again."
        ) from error


def load_contract_table(catalog: "Catalog", settings: Settings, contract: TableContract) -> "Table":
    """The contract's table as it is now.

    Raises:
        TableMissingError: the catalog does not have it.
        CatalogError: the catalog did not answer, or the table's metadata file cannot be read. A
            damaged file is one of many kinds of errors, so every kind is turned into the sentence.
    """
    from pyiceberg.exceptions import NoSuchTableError

    name = contract.qualified_name
    try:
        return catalog.load_table(contract.identifier)
    except NoSuchTableError:
        raise TableMissingError(
            f"The table {name} does not exist. The platform makes it from its contract when it "
            "starts: start it with `retail-lakehouse dev`."
        ) from None
    except FileNotFoundError as error:
        raise CatalogError(
            f"The catalog knows {name}, but its metadata file is gone ({_told(error)}). "
            "Bring the file back from a copy of the warehouse; without one the table is lost and "
            "`retail-lakehouse reset` starts from nothing."
        ) from error
    except Exception as error:
        raise CatalogError(
            f"{name} cannot be loaded from the catalog at {_place(settings)}: "
            f"{_told(error)}. Check that the file or service can be read and is not locked; "
            "the next look tries again."
        ) from error


def _bounded_requests() -> dict[str, Any]:
    """What gives pyiceberg's client to Glue a deadline; made by nobody but it, with our session.

    Source: https://py.iceberg.apache.org/configuration/#glue-catalog (`glue.max-retries`)
    """
    from botocore.config import Config
    from botocore.session import get_session
    from pyiceberg.catalog import BOTOCORE_SESSION

    session = get_session()
    session.set_default_client_config(
        Config(connect_timeout=AWS_TIMEOUT_SECONDS, read_timeout=AWS_TIMEOUT_SECONDS)
    )
    return {BOTOCORE_SESSION: session, "glue.max-retries": AWS_ATTEMPTS - 1}


def _place(settings: Settings) -> str:
    return str(settings.catalog_db) if settings.is_local else f"Glue in {settings.aws_region}"


def _told(error: Exception) -> str:
    """The error's kind and its first line: what follows is SQL or a stack."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
