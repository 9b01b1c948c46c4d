"""What the stand-in says of the tables' columns is what the contracts say Redshift should."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from retail_lakehouse.contracts.redshift_types import export_external_columns
from retail_lakehouse.contracts.tables import DATABASE, TABLES, TableContract
from retail_lakehouse.contracts.view_contract import EXTERNAL_SCHEMA
from retail_lakehouse.local.warehouse.engine import Engine, EngineSettings
from retail_lakehouse.local.warehouse.session import Session
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse_tests.local.warehouse.conftest import Asker


@pytest.fixture(scope="module")
def over_the_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    """The stand-in over the platform's own tables, made as `dev` makes them."""
    settings = Settings.load({"state_dir": tmp_path_factory.mktemp("state")})
    prepare_catalog(settings)
    ensure_tables(open_catalog(settings), settings)
    engine = Engine(
        EngineSettings(
            duckdb_path=settings.root / "warehouse" / "warehouse.duckdb",
            catalog_path=settings.catalog_db,
            catalog_name=settings.catalog_name,
            memory_limit_mb=128,
            threads=1,
        )
    )
    asker = Asker(Session(engine, 1))
    asker.do(
        f"CREATE EXTERNAL SCHEMA {EXTERNAL_SCHEMA} FROM DATA CATALOG DATABASE '{DATABASE}' "
        "IAM_ROLE default"
    )
    yield asker
    asker.session.close()
    engine.close()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_exported_columns_are_those_of_svv_external_columns(
    table: TableContract, over_the_platform: Asker, tmp_path: Path
) -> None:
    export_external_columns(tmp_path)
    exported = json.loads((tmp_path / f"{EXTERNAL_SCHEMA}.{table.name}.columns.json").read_text())
    answer = over_the_platform.rows(
        "SELECT columnname, external_type, columnnum, is_nullable FROM svv_external_columns "
        "WHERE schemaname = $1 AND tablename = $2 ORDER BY columnnum",
        EXTERNAL_SCHEMA,
        table.name,
    )
    assert answer == [tuple(column.values()) for column in exported]


def test_no_table_is_there_that_the_contracts_lack(over_the_platform: Asker) -> None:
    told = over_the_platform.rows("SELECT DISTINCT tablename FROM svv_external_columns")
    assert {name for (name,) in told} == {table.name for table in TABLES}
