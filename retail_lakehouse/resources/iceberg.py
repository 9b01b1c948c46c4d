"""The Iceberg catalog as a resource (SQLite locally, the Glue Data Catalog on AWS).

Here: opening the catalog and loading the contract's tables, metadata only. Not here: how the
catalog is configured (`retail_lakehouse.tables`), or reading rows: Dagster never scans a table.
"""

import time
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.tables import TABLES, TableContract
from retail_lakehouse.resources.platform import PlatformResource

if TYPE_CHECKING:
    from pyiceberg.table import Table


class IcebergCatalogResource(PlatformResource):
    """The catalog that holds the platform's tables."""

    def tables(self, contracts: tuple[TableContract, ...] = TABLES) -> "dict[str, Table | str]":
        """Each contract's table by its name; a sentence in place of one that cannot be loaded.

        The sentence says what is wrong and what to do, ready for a check to show. Looking makes
        nothing: a catalog that is not there yet stays so. One that lets a request run into its
        deadline is not asked for the other tables: a tick has no time for that.
        """
        from retail_lakehouse.tables.catalog import (
            AWS_TIMEOUT_SECONDS,
            CatalogError,
            load_contract_table,
            open_catalog,
        )

        settings = self.platform()
        try:
            catalog = open_catalog(settings)
        except CatalogError as error:
            return {contract.name: str(error) for contract in contracts}
        answers: dict[str, Table | str] = {}
        unanswered = ""
        for contract in contracts:
            if unanswered:
                answers[contract.name] = unanswered
                continue
            asked = time.monotonic()
            try:
                answers[contract.name] = load_contract_table(catalog, settings, contract)
            except CatalogError as error:
                answers[contract.name] = str(error)
                if time.monotonic() - asked >= AWS_TIMEOUT_SECONDS:
                    unanswered = str(error)
        return answers
