"""A small lake, an engine over it, and a running server.

Belongs here: how the warehouse's tests build tables and ask questions. Doesn't belong here: the
platform's own tables and views; what is tested here holds for any definition.
"""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Summary

from retail_lakehouse.contracts.mark import Counts, Mark, MarkKind, TimeRange
from retail_lakehouse.local.warehouse.engine import Engine, EngineSettings
from retail_lakehouse.local.warehouse.refresh import FoldLimits
from retail_lakehouse.local.warehouse.session import Session
from retail_lakehouse.local.warehouse_server import WarehouseServer

DATABASE = "retail_db"
PASSWORD = "only-for-tests"
EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("store_id", pa.string()),
        ("sku", pa.string()),
        ("quantity", pa.int32()),
        ("price", pa.decimal128(18, 4)),
        ("event_type", pa.string()),
        ("event_ms", pa.int64()),
        ("event_ts", pa.timestamp("us")),
        ("event_date", pa.date32()),
        ("event_hour", pa.int32()),
        ("raw", pa.binary()),
        ("kafka_topic_id", pa.string()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
    ]
)
PRODUCTS = pa.schema([("sku", pa.string()), ("category", pa.string())])
_START = datetime(2026, 11, 20)  # noqa: DTZ001 - tables hold UTC without zone


@dataclass
class TinyLake:
    """One event table and one dimension in a SQLite catalog; `seed` makes its rows."""

    root: Path
    seed: int = 1
    topic_id: str = "topic-1"
    next_offset: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0, 2: 0})
    extra_columns: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.catalog_path = self.root / "catalog.db"
        self.catalog = SqlCatalog(
            "lake", uri=f"sqlite:///{self.catalog_path}", warehouse=f"file://{self.root}/files"
        )
        self.catalog.create_namespace_if_not_exists(DATABASE)
        for name, schema in (("events", EVENTS), ("products", PRODUCTS)):
            identifier = (DATABASE, name)
            if not self.catalog.table_exists(identifier):
                self.catalog.create_table(identifier, schema, properties={"format-version": "2"})

    @property
    def events(self) -> Table:
        return self.catalog.load_table((DATABASE, "events"))

    @property
    def products(self) -> Table:
        return self.catalog.load_table((DATABASE, "products"))

    def rows(self, count: int, *, offsets: bool = True) -> pa.Table:
        values = [self._row(offsets) for _ in range(count)]
        table = pa.Table.from_pylist(values, schema=EVENTS)
        for name in self.extra_columns:
            filled = [str(self.random.randrange(5)) for _ in range(count)]
            table = table.append_column(name, pa.array(filled, pa.string()))
        return table

    def _row(self, offsets: bool) -> dict[str, Any]:
        moment = _START + timedelta(milliseconds=self.random.randrange(4 * 86_400_000))
        row: dict[str, Any] = {
            "event_id": f"e{self.random.randrange(10**9)}",
            "store_id": f"S{self.random.randrange(12):02d}",
            "sku": f"K{self.random.randrange(30):03d}",
            "quantity": self.random.randrange(-50, 50),
            "price": Decimal(self.random.randrange(10**7)) / 10_000,
            "event_type": self.random.choice(["SALE", "RECEIVE", "ADJUST"]),
            "event_ms": round(moment.timestamp() * 1000),
            "event_ts": moment,
            "event_date": moment.date(),
            "event_hour": moment.hour,
            "raw": None,
        }
        if offsets:
            partition = self.random.choice(list(self.next_offset))
            row |= {
                "kafka_topic_id": self.topic_id,
                "kafka_partition": partition,
                "kafka_offset": self.next_offset[partition],
            }
            self.next_offset[partition] += 1
        return row

    def mark(self) -> dict[str, str]:
        nothing = TimeRange()
        return Mark(
            kind=MarkKind.STREAM,
            cluster_id="cluster",
            topic="retail.events",
            topic_id=self.topic_id,
            ranges={},
            until=dict(self.next_offset),
            event_time=nothing,
            broker_time=nothing,
            batch=Counts(),
            total=Counts(),
            batch_started_ms=0,
            previous_commit_ms=None,
            contract_version=1,
            run_id="test",
            engine="test",
        ).to_summary()

    def land(self, count: int, *, marked: bool = True, offsets: bool = True) -> None:
        """One append, as a streaming batch makes it."""
        rows = self.rows(count, offsets=offsets)
        self.events.append(rows, snapshot_properties=self.mark() if marked else {})

    def compact(self) -> None:
        """One file in place of all, as a `replace` snapshot without a mark."""
        table = self.events
        rows = table.scan().to_arrow()
        old = [task.file for task in table.scan().plan_files()]
        with table.transaction() as transaction:
            update = transaction.update_snapshot()
            with update.overwrite() as rewrite:
                # pyiceberg sums up no `replace` by itself; Spark's compaction writes one.
                summed_up = rewrite._summary

                def as_replace(properties: Any = None) -> Summary:
                    summary = summed_up(properties or {})
                    return Summary(Operation.REPLACE, **summary.additional_properties)

                rewrite._summary = as_replace  # type: ignore[method-assign,assignment]
                for file in old:
                    rewrite.delete_data_file(file)
                for file in _dataframe_to_data_files(
                    table_metadata=transaction.table_metadata, df=rows, io=table.io
                ):
                    rewrite.append_data_file(file)

    def expire_all_but_current(self) -> None:
        table = self.events
        current = table.metadata.current_snapshot_id
        gone = [s.snapshot_id for s in table.metadata.snapshots if s.snapshot_id != current]
        table.maintenance.expire_snapshots().by_ids(gone).commit()

    def set_products(self, categories: int) -> None:
        values = [{"sku": f"K{i:03d}", "category": f"C{i % categories}"} for i in range(30)]
        self.products.overwrite(pa.Table.from_pylist(values, schema=PRODUCTS))

    def add_column(self, name: str) -> None:
        with self.events.update_schema() as update:
            from pyiceberg.types import StringType

            update.add_column(name, StringType())
        self.extra_columns.append(name)


@dataclass
class Asker:
    """Runs statements in one session, as a client would."""

    session: Session

    def rows(self, text: str, *values: object, oids: tuple[int, ...] = ()) -> list[Any]:
        prepared = self.session.prepare(text, oids or (705,) * len(values))
        self.session.describe(prepared)
        return self.session.execute(prepared, values).fetch(1_000_000)

    def types(self, text: str) -> list[str]:
        columns = self.session.describe(self.session.prepare(text))
        return [column.type.name for column in columns or ()]

    def value(self, text: str, *values: object) -> Any:
        ((value,),) = self.rows(text, *values)
        return value

    def do(self, *texts: str) -> list[str]:
        """Runs the statements and returns what the warehouse remarked."""
        for text in texts:
            self.rows(text)
        notices = list(self.session.notices)
        self.session.notices.clear()
        return notices

    def last_refresh(self) -> str:
        rows = self.rows("SELECT status FROM sys_mv_refresh_history ORDER BY start_time DESC")
        return str(rows[0][0])

    def note(self, view: str) -> str:
        return str(self.value(f"SELECT note FROM local_mv_detail WHERE name = '{view}'"))

    def state(self, view: str) -> int:
        return int(self.value(f"SELECT state FROM svv_mv_info WHERE name = '{view}'"))


@pytest.fixture
def lake(tmp_path: Path) -> TinyLake:
    tiny = TinyLake(tmp_path)
    tiny.land(200)
    tiny.set_products(3)
    return tiny


def engine_over(lake: TinyLake, **settings: Any) -> Engine:
    given: dict[str, Any] = {
        "duckdb_path": lake.root / "warehouse" / "warehouse.duckdb",
        "catalog_path": lake.catalog_path,
        "catalog_name": "lake",
        "memory_limit_mb": 256,
        "threads": 1,
        "idle_seconds": 0.0,
        "fold_limits": FoldLimits(),
    }
    return Engine(EngineSettings(**(given | settings)))


@pytest.fixture
def engine(lake: TinyLake) -> Iterator[Engine]:
    opened = engine_over(lake)
    yield opened
    opened.close()


@pytest.fixture
def ask(engine: Engine) -> Iterator[Asker]:
    session = Session(engine, 1)
    asker = Asker(session)
    asker.do(
        f"CREATE EXTERNAL SCHEMA lake FROM DATA CATALOG DATABASE '{DATABASE}' IAM_ROLE default",
        "CREATE SCHEMA mart",
    )
    yield asker
    session.close()


@dataclass
class RunningServer:
    """A server on its own thread, with its port."""

    port: int
    server: WarehouseServer
    loop: asyncio.AbstractEventLoop

    def connect(self, **options: Any) -> Any:
        import redshift_connector

        arguments: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "database": "dev",
            "user": "lakehouse",
            "password": PASSWORD,
            "ssl": False,
        }
        autocommit = options.pop("autocommit", True)
        connection = redshift_connector.connect(**(arguments | options))
        connection.autocommit = autocommit
        return connection


@pytest.fixture
def server(lake: TinyLake) -> Iterator[RunningServer]:
    password_file = lake.root / "password"
    password_file.write_text(PASSWORD + "\n")
    warehouse = WarehouseServer(
        password_file=password_file,
        duckdb_path=lake.root / "warehouse.duckdb",
        catalog_uri=f"sqlite:///{lake.catalog_path}",
        catalog_name="lake",
        port=0,
        memory_limit_mb=256,
        threads=1,
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(warehouse.start(), loop).result(30)
    yield RunningServer(port, warehouse, loop)
    asyncio.run_coroutine_threadsafe(warehouse.stop(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def day(text: str) -> date:
    return date.fromisoformat(text)
