"""`status --json` is enough for another program to read the tables and the views."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from retail_lakehouse.contracts.tables import DATABASE, EVENT_TABLES, TABLES
from retail_lakehouse.contracts.views import VIEWS
from retail_lakehouse.local.stack_settings import write_settings
from retail_lakehouse.local.state_folder import hold
from retail_lakehouse.warehouse.client import Session
from retail_lakehouse_tests.warehouse.conftest import Lakehouse

pytestmark = pytest.mark.stack


def test_what_the_json_says_opens_the_catalog_and_the_warehouse(
    lakehouse: Lakehouse, session: Session
) -> None:
    import redshift_connector
    from pyiceberg.catalog.sql import SqlCatalog

    told = status_json(lakehouse)

    catalog = SqlCatalog(
        told["catalog"]["name"],
        uri=told["catalog"]["uri"],
        warehouse=told["catalog"]["warehouse"],
    )
    listed = set(catalog.list_tables(DATABASE))
    assert listed >= {contract.identifier for contract in TABLES}
    assert catalog.load_table(EVENT_TABLES[0].identifier).scan().count() == 0

    warehouse = told["warehouse"]
    connection = redshift_connector.connect(
        host=warehouse["host"],
        port=warehouse["port"],
        database=warehouse["database"],
        user=warehouse["user"],
        password=Path(warehouse["password_file"]).read_text().strip(),
        ssl=warehouse["ssl"],
    )
    try:
        cursor = connection.cursor()
        for view in VIEWS:
            cursor.execute(f"SELECT count(*) FROM {warehouse['schemas']['views']}.{view.name}")
            assert len(cursor.fetchall()) == 1
        external = warehouse["schemas"]["external"]
        cursor.execute(f"SELECT count(*) FROM {external}.{EVENT_TABLES[0].name}")
        assert list(cursor.fetchall()[0]) == [0]
    finally:
        connection.close()


def status_json(lakehouse: Lakehouse) -> Any:
    """What the command prints while a platform with these settings holds the state folder."""
    write_settings(lakehouse.settings)
    with closing(hold(lakehouse.settings.root)):
        answer = subprocess.run(
            [
                *(sys.executable, "-m", "retail_lakehouse.cli", "status", "--json"),
                *("--state-dir", str(lakehouse.settings.state_dir)),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert answer.stdout, answer.stderr
    return json.loads(answer.stdout)
