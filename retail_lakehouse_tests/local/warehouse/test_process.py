"""The server as a process: killed at any point, stopped, refused."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redshift_connector.error

from retail_lakehouse.local.ports import free_port
from retail_lakehouse.local.warehouse.session import Session
from retail_lakehouse_tests.local.warehouse.conftest import PASSWORD, Asker, TinyLake, engine_over
from retail_lakehouse_tests.local.warehouse.test_incremental_views import DEFINITIONS

pytestmark = pytest.mark.stack
_VIEWS = ("hourly", "by_category", "packed")


class Process:
    """The server under test, started as `retail-lakehouse dev` starts it."""

    def __init__(self, lake: TinyLake, port: int, duckdb_path: Path | None = None):
        password_file = lake.root / "password"
        password_file.write_text(PASSWORD)
        self.port = port
        self.log = lake.root / f"server-{time.monotonic_ns()}.log"
        arguments = {
            "port": port,
            "password-file": password_file,
            "duckdb-path": duckdb_path or lake.root / "warehouse.duckdb",
            "catalog-uri": f"sqlite:///{lake.catalog_path}",
            "catalog-name": "lake",
            "memory-limit-mb": 256,
            "threads": 1,
        }
        given = [f"--{name}={value}" for name, value in arguments.items()]
        with self.log.open("w") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "retail_lakehouse.local.warehouse_server", *given],
                stderr=log,
                cwd=Path(__file__).parents[3],
            )

    def ready(self, seconds: float = 60) -> "Process":
        until = time.monotonic() + seconds
        while "ready" not in self.log.read_text():
            assert self.popen.poll() is None, self.log.read_text()
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.05)
        return self

    def connect(self) -> Any:
        connection = redshift_connector.connect(
            host="127.0.0.1",
            port=self.port,
            database="dev",
            user="lakehouse",
            password=PASSWORD,
            ssl=False,
        )
        connection.autocommit = True
        return connection

    def end(self, number: int = signal.SIGTERM) -> float:
        started = time.monotonic()
        if self.popen.poll() is None:
            os.kill(self.popen.pid, number)
        self.popen.wait(30)
        return time.monotonic() - started


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def process(lake: TinyLake, port: int) -> Iterator[Process]:
    started = Process(lake, port).ready()
    yield started
    started.end(signal.SIGKILL)


def _rows(connection: Any, text: str) -> list[Any]:
    cursor = connection.cursor()
    cursor.execute(text)
    return [] if cursor.description is None else [tuple(row) for row in cursor.fetchall()]


def _furnish(connection: Any) -> None:
    _rows(
        connection,
        "CREATE EXTERNAL SCHEMA lake FROM DATA CATALOG DATABASE 'retail_db' IAM_ROLE default",
    )
    _rows(connection, "CREATE SCHEMA mart")
    for view in _VIEWS:
        _rows(connection, f"CREATE MATERIALIZED VIEW mart.{view} AS {DEFINITIONS[view]}")


def test_a_kill_at_any_point_leaves_the_views_exact(lake: TinyLake, process: Process) -> None:
    """Killed in the middle of refreshes, at many moments; each start finds exact views."""
    connection = process.connect()
    _furnish(connection)
    chance = random.Random(5)
    for round_number in range(5):
        lake.land(60)
        if round_number == 3:
            lake.compact()
        cursor = connection.cursor()
        # The refresh is sent and not waited for: the kill falls somewhere inside it.
        connection._usock.settimeout(chance.uniform(0.0005, 0.06))
        with contextlib.suppress(OSError, redshift_connector.error.Error):
            for view in _VIEWS:
                cursor.execute(f"REFRESH MATERIALIZED VIEW mart.{view}")
        process.end(signal.SIGKILL)
        process = Process(lake, process.port).ready()
        connection = process.connect()
        for view in _VIEWS:
            _check_before_or_after(connection, view)
            _rows(connection, f"REFRESH MATERIALIZED VIEW mart.{view}")
            shown = _rows(connection, f"SELECT * FROM mart.{view}")
            assert sorted(shown, key=repr) == sorted(_rows(connection, DEFINITIONS[view]), key=repr)
    process.end(signal.SIGKILL)


_KILLED = """
import os, signal, sys
from retail_lakehouse.local.warehouse import delta, refreshing, registry
from retail_lakehouse.local.warehouse.engine import Engine, EngineSettings
from retail_lakehouse.local.warehouse.refresh import ViewLocks
from retail_lakehouse.local.warehouse.session import Session
from pathlib import Path

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(function):
    def wrapped(*arguments, **options):
        result = function(*arguments, **options)
        die()
        return result
    return wrapped

duckdb_path, catalog_path, point = sys.argv[1:]
engine = Engine(EngineSettings(Path(duckdb_path), Path(catalog_path), "lake", threads=1))
session = Session(engine, 1)
if point == "rows read":
    delta.files_source = after(delta.files_source)
elif point == "rows inserted":
    registry.put_materialized_view = die
elif point == "base recorded":
    registry.put_materialized_view = after(registry.put_materialized_view)
elif point == "before the commit":
    refreshing._note = after(refreshing._note)
elif point == "after the commit":
    ViewLocks.end_refresh = die
session.execute(session.prepare("REFRESH MATERIALIZED VIEW mart.hourly"))
"""


@pytest.mark.parametrize(
    "point",
    ["rows read", "rows inserted", "base recorded", "before the commit", "after the commit"],
)
def test_a_refresh_killed_at_a_known_point_is_whole_or_not_at_all(
    lake: TinyLake, point: str
) -> None:
    path = lake.root / "warehouse.duckdb"
    engine = engine_over(lake, duckdb_path=path)
    ask = Asker(Session(engine, 1))
    ask.do(
        "CREATE EXTERNAL SCHEMA lake FROM DATA CATALOG DATABASE 'retail_db' IAM_ROLE default",
        "CREATE SCHEMA mart",
        f"CREATE MATERIALIZED VIEW mart.hourly AS {DEFINITIONS['hourly']}",
    )
    before = ask.rows("SELECT * FROM mart.hourly ORDER BY 1, 2, 3")
    ask.session.close()
    engine.close()
    lake.land(80)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(path), str(lake.catalog_path), point],
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    engine = engine_over(lake, duckdb_path=path)
    ask = Asker(Session(engine, 1))
    shown = ask.rows("SELECT * FROM mart.hourly ORDER BY 1, 2, 3")
    truth = sorted(ask.rows(DEFINITIONS["hourly"]), key=repr)
    stale = ask.value("SELECT is_stale FROM svv_mv_info")
    if point == "after the commit":
        assert (sorted(shown, key=repr), stale) == (truth, "f")
    else:
        assert (shown, stale) == (before, "t")
    ask.do("REFRESH MATERIALIZED VIEW mart.hourly")
    assert sorted(ask.rows("SELECT * FROM mart.hourly"), key=repr) == truth
    ask.session.close()
    engine.close()


def _check_before_or_after(connection: Any, view: str) -> None:
    """The view and its record of how far it got belong to the same moment."""
    ((stale,),) = _rows(connection, f"SELECT is_stale FROM svv_mv_info WHERE name = '{view}'")
    if stale == "f":
        shown = _rows(connection, f"SELECT * FROM mart.{view}")
        assert sorted(shown, key=repr) == sorted(_rows(connection, DEFINITIONS[view]), key=repr)


def test_sigterm_closes_within_three_seconds(lake: TinyLake, process: Process) -> None:
    connection = process.connect()
    _furnish(connection)
    lake.land(100)
    _rows(connection, "BEGIN")
    _rows(connection, "REFRESH MATERIALIZED VIEW mart.hourly")
    assert process.end() < 3
    assert process.popen.returncode == 0
    assert not (lake.root / "warehouse.duckdb.wal").exists()
    again = Process(lake, process.port).ready()
    assert _rows(again.connect(), "SELECT is_stale FROM svv_mv_info WHERE name = 'hourly'") == [
        ("t",)
    ]
    assert again.end() < 3


def test_sigterm_stops_a_statement_that_runs(lake: TinyLake, process: Process) -> None:
    connection = process.connect()
    _furnish(connection)
    connection._usock.settimeout(0.5)
    endless = ", ".join(f"lake.events e{i}" for i in range(6))
    glued = " || ".join(f"e{i}.sku" for i in range(6))
    with pytest.raises((OSError, redshift_connector.error.Error)):
        _rows(connection, f"SELECT COUNT(*) FROM {endless} WHERE LEN({glued}) > 900")
    assert process.end() < 3


def test_a_port_that_is_taken_is_named_in_one_sentence(lake: TinyLake) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = Process(lake, port)
        assert process.popen.wait(60) == 1
    (line,) = process.log.read_text().splitlines()
    assert f"port {port}" in line
    assert "Traceback" not in line


def test_a_second_server_on_the_same_file_is_told_in_one_sentence(
    lake: TinyLake, process: Process
) -> None:
    second = Process(lake, free_port())
    assert second.popen.wait(60) == 1
    (line,) = second.log.read_text().splitlines()
    assert "held by another process" in line


def test_a_damaged_file_is_told_in_one_sentence(lake: TinyLake, port: int) -> None:
    damaged = lake.root / "damaged.duckdb"
    damaged.write_bytes(b"not a database" * 1000)
    process = Process(lake, port, damaged)
    assert process.popen.wait(60) == 1
    (line,) = process.log.read_text().splitlines()
    assert "cannot be opened" in line


def test_the_first_statement_after_a_rest_waits_for_the_cold_start(lake: TinyLake) -> None:
    engine = engine_over(lake, cold_start_seconds=0.4, idle_seconds=0.6)
    ask = Asker(Session(engine, 1))
    times = []
    for pause in (0.0, 0.0, 0.8, 0.0):
        time.sleep(pause)
        started = time.monotonic()
        ask.rows("SELECT 1")
        times.append(time.monotonic() - started)
    ask.session.close()
    engine.close()
    assert times[0] >= 0.4
    assert times[1] < 0.4
    assert times[2] >= 0.4
    assert times[3] < 0.4
