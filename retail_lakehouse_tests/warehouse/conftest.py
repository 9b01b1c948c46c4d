"""A catalog with our tables and dimensions, and the stand-in server over it.

Here: fixtures that start the real server in a process of its own. Not here: rows.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from retail_lakehouse.contracts.tables import TableContract
from retail_lakehouse.local.ports import free_port
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import catalog_properties, open_catalog, prepare_catalog
from retail_lakehouse.tables.dimensions import load_dimensions
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse.warehouse.client import Session, WarehouseClient
from retail_lakehouse.warehouse.ddl import ensure_schemas, ensure_views
from retail_lakehouse.warehouse.errors import WarehouseUnreachable
from retail_lakehouse_tests.warehouse.raw_rows import Row, arrow

_START_SECONDS = 60


@dataclass
class Lakehouse:
    """The tables of one state folder and the warehouse over them."""

    settings: Settings
    catalog: Catalog
    server: "subprocess.Popen[bytes] | None" = None

    @property
    def client(self) -> WarehouseClient:
        return WarehouseClient.from_settings(self.settings)

    def land(self, contract: TableContract, rows: list[Row]) -> int:
        """Commits the rows; returns the snapshot's id."""
        table = self.catalog.load_table(contract.identifier)
        table.append(arrow(contract, rows))
        snapshot = table.current_snapshot()
        assert snapshot is not None
        return snapshot.snapshot_id

    def start(self) -> None:
        """Starts the server and waits until it lets us in."""
        settings = self.settings
        arguments = {
            "port": settings.warehouse_port,
            "password-file": settings.password_file,
            "duckdb-path": settings.root / "warehouse" / "warehouse.duckdb",
            "catalog-uri": catalog_properties(settings)["uri"],
            "catalog-name": settings.catalog_name,
            "user": settings.warehouse_user,
            "database": settings.warehouse_database,
        }
        flags = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
        module = "retail_lakehouse.local.warehouse_server"
        with (settings.root / "warehouse.log").open("ab") as log:
            self.server = subprocess.Popen(
                [sys.executable, "-m", module, *flags], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with self.client.session("tests:start"):
                    return
            except WarehouseUnreachable:
                if time.monotonic() > deadline or self.server.poll() is not None:
                    self.stop()
                    raise
                time.sleep(0.1)

    def stop(self, kill: bool = False) -> None:
        """Ends the server, cleanly or by SIGKILL."""
        if self.server is not None:
            if kill:
                self.server.kill()
            else:
                self.server.terminate()
            self.server.wait(30)
            self.server = None


def make_lakehouse(root: Path, **overrides: object) -> Lakehouse:
    """Tables and dimensions under `root`, and the server, started; `overrides` are settings."""
    # A name that no tool on the way may take for anything but a name.
    named = {"state_dir": root / "a state é", "warehouse_port": free_port()}
    settings = Settings.load({**named, **overrides})
    settings.password_file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(settings.password_file, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(16))
    prepare_catalog(settings)
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings)
    load_dimensions(catalog)
    lakehouse = Lakehouse(settings, catalog)
    lakehouse.start()
    return lakehouse


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Lakehouse]:
    """A lakehouse of one's own, without views."""
    made = make_lakehouse(tmp_path / "state")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakehouse]:
    """A lakehouse that the tests of a module share: rows of other tests may be in it."""
    made = make_lakehouse(tmp_path_factory.mktemp("lakehouse") / "state")
    yield made
    made.stop()


@pytest.fixture
def session(lakehouse: Lakehouse) -> Iterator[Session]:
    """A session of the shared lakehouse in which the views are there."""
    with lakehouse.client.session("tests:views") as opened:
        ensure_schemas(opened)
        ensure_views(opened)
        yield opened
