"""Tables with landed batches, and the stand-in warehouse over them.

Here: landing, looking at files, and asking views. Not here: rules.
"""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from retail_lakehouse.contracts.events import CLICKSTREAM, INVENTORY, EventContract
from retail_lakehouse.contracts.tables import TableContract, event_table, quarantine_table
from retail_lakehouse.local.warehouse.engine import Engine, EngineSettings
from retail_lakehouse.local.warehouse.refresh import FoldLimits
from retail_lakehouse.local.warehouse.session import Session
from retail_lakehouse.maintenance.compaction import Compaction, CompactionReport
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse_tests.conformance import engines
from retail_lakehouse_tests.conformance.records import HOUR_MS, NOW_MS, Record, event
from retail_lakehouse_tests.local.warehouse.conftest import Asker

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CLOSED = datetime.fromtimestamp(NOW_MS / 1000, UTC).replace(tzinfo=None) + timedelta(minutes=10)
"""A clock at which the hour before NOW_MS is just closed."""

STOCK_VIEW = """CREATE MATERIALIZED VIEW mart.stock AUTO REFRESH NO AS
SELECT store_id, event_hour, COUNT(*) AS events, SUM(quantity_delta) AS moved
FROM lake.inventory_events GROUP BY 1, 2"""
SESSIONS_VIEW = """CREATE MATERIALIZED VIEW mart.sessions AUTO REFRESH NO AS
SELECT session_id, COUNT(*) AS events FROM lake.clickstream_events GROUP BY 1"""


class Tables:
    """One event's two tables, as its streaming job fills them."""

    def __init__(
        self, spark: "SparkSession", settings: Settings, folder: Path, contract: EventContract
    ) -> None:
        self.spark = spark
        self.settings = settings
        self.contract = contract
        self.rows = event_table(contract)
        self.quarantine = quarantine_table(contract)
        self._start = engines.spark_engine(spark, folder / contract.name)
        self._engine: engines.Engine | None = None
        self._offset = 0
        self._empty()
        # A table that is dropped leaves its files, and the next of its name has the same place.
        self._of_others = frozenset(self._all_files(self.rows) + self._all_files(self.quarantine))

    def land(self, *bodies: bytes, kill: engines.Kill | None = None) -> None:
        """One batch of one partition. With `kill` its job dies there, and the next one begins anew.

        What had not landed then is at the same offsets of the next batch.
        """
        records = [
            Record(0, self._offset + n, NOW_MS + 1, None, body) for n, body in enumerate(bodies)
        ]
        # One for the whole test: each start reads the table.
        if self._engine is None:
            self._engine = self._start(self.settings, self.contract)
        if kill is None:
            self._engine.write(records)
            self._offset += len(bodies)
            return
        with pytest.raises(engines.Killed):
            self._engine.write(records, kill)
        self._engine = None

    def load(self, contract: TableContract | None = None) -> Any:
        """The table as pyiceberg has it now."""
        return open_catalog(self.settings).load_table((contract or self.rows).identifier)

    def files(self, contract: TableContract | None = None) -> list[Any]:
        """Its live data files."""
        return [task.file for task in self.load(contract).scan().plan_files()]

    def content(self, contract: TableContract | None = None) -> list[str]:
        """Every row, in an order of its own."""
        return sorted(map(str, self.load(contract).scan().to_arrow().to_pylist()))

    def operations(self, contract: TableContract | None = None) -> list[str]:
        """Of each snapshot, oldest first."""
        return [each.summary.operation.value for each in self.load(contract).snapshots()]

    def compaction(self, contract: TableContract | None = None) -> Compaction:
        catalog = self.settings.catalog_name
        return Compaction(self.spark, catalog, contract or self.rows, "run-of-the-test")

    def compact(
        self, now: datetime = CLOSED, contract: TableContract | None = None, **options: bool
    ) -> CompactionReport:
        return self.compaction(contract).compact(now, **options)

    def on_disk(self, contract: TableContract | None = None) -> list[Path]:
        """Every file under the table's location."""
        found = self._all_files(contract or self.rows)
        return [path for path in found if path not in self._of_others]

    def _empty(self) -> None:
        catalog, contracts = open_catalog(self.settings), (self.rows, self.quarantine)
        for contract in contracts:
            if catalog.table_exists(contract.identifier):
                catalog.drop_table(contract.identifier)
        ensure_tables(catalog, self.settings, contracts)

    def _all_files(self, contract: TableContract) -> list[Path]:
        location = Path(self.load(contract).location().removeprefix("file://"))
        return [path for path in location.rglob("*") if path.is_file() and path.suffix != ".crc"]


def stock(number: int, hours_ago: int, store: str = "S0001") -> bytes:
    """A good inventory event of an hour before NOW_MS."""
    return event(f"e{number}", NOW_MS - hours_ago * HOUR_MS, store_id=f'"{store}"')


def click(number: int, customer: str | None, hours_ago: int = 1, **changes: object) -> bytes:
    """A good clickstream event, unless `changes` spoil it."""
    told: dict[str, object] = {
        "event_id": f"k{number}",
        "session_id": f"s{number % 3}",
        "customer_id": customer,
        "page_type": "HOME",
        "action": "VIEW",
        "event_timestamp": NOW_MS - hours_ago * HOUR_MS,
    }
    return json.dumps(told | changes).encode()


@pytest.fixture
def inventory(spark: "SparkSession", spark_settings: Settings, tmp_path: Path) -> Tables:
    """The inventory's tables, empty."""
    return Tables(spark, spark_settings, tmp_path, INVENTORY)


@pytest.fixture
def clickstream(spark: "SparkSession", spark_settings: Settings, tmp_path: Path) -> Tables:
    """The clickstream's tables, empty, and nothing erased yet."""
    shutil.rmtree(spark_settings.root / "erasures", ignore_errors=True)
    return Tables(spark, spark_settings, tmp_path, CLICKSTREAM)


@pytest.fixture
def warehouse(spark_settings: Settings, tmp_path: Path) -> Iterator[Asker]:
    """A session of the stand-in warehouse over the same catalog, without views."""
    engine = Engine(
        EngineSettings(
            duckdb_path=tmp_path / "warehouse" / "warehouse.duckdb",
            catalog_path=spark_settings.catalog_db,
            catalog_name=spark_settings.catalog_name,
            memory_limit_mb=256,
            threads=1,
            idle_seconds=0.0,
            fold_limits=FoldLimits(),
        )
    )
    session = Session(engine, 1)
    asker = Asker(session)
    asker.do(
        "CREATE EXTERNAL SCHEMA lake FROM DATA CATALOG DATABASE 'retail_db' IAM_ROLE default",
        "CREATE SCHEMA mart",
    )
    yield asker
    session.close()
    engine.close()
