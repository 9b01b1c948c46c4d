"""The real redshift_connector against the running server."""

import threading
import time
from datetime import UTC, date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
import redshift_connector
from redshift_connector.error import InterfaceError, ProgrammingError

from retail_lakehouse_tests.local.warehouse.conftest import PASSWORD, RunningServer, TinyLake

pytestmark = pytest.mark.stack
_MOMENT = datetime(2026, 11, 23, 1, 2, 3, 456_789, tzinfo=UTC).replace(tzinfo=None)


def _rows(connection: Any, text: str, *values: object) -> list[list[Any]]:
    cursor = connection.cursor()
    cursor.execute(text, values or None)
    return [] if cursor.description is None else [list(row) for row in cursor.fetchall()]


@pytest.fixture
def connection(server: RunningServer) -> Any:
    opened = server.connect()
    _rows(
        opened,
        "CREATE EXTERNAL SCHEMA lake FROM DATA CATALOG DATABASE 'retail_db' IAM_ROLE default",
    )
    _rows(opened, "CREATE SCHEMA mart")
    return opened


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1::SMALLINT", 1),
        ("2147483647", 2147483647),
        ("9223372036854775807::BIGINT", 9223372036854775807),
        ("1.5::REAL", 1.5),
        ("0.1::DOUBLE PRECISION", 0.1),
        ("-12.3400::DECIMAL(18,4)", Decimal("-12.3400")),
        ("1234567890123456789012345.678::DECIMAL(38,3)", Decimal("1234567890123456789012345.678")),
        ("TRUE", True),
        ("FALSE", False),
        ("'čaj ☕'", "čaj ☕"),
        ("''", ""),
        ("NULL", None),
        ("DATE '1969-12-31'", date(1969, 12, 31)),
        ("TIMESTAMP '2026-11-23 01:02:03.456789'", _MOMENT),
        (
            "TIMESTAMPTZ '2026-11-23 01:02:03.456789+00'",
            _MOMENT.replace(tzinfo=timezone.utc),  # noqa: UP017 - the driver's own constant
        ),
        ("'ab'::VARBYTE", "6162"),
    ],
)
def test_a_value_comes_back_as_the_driver_decodes_it(
    connection: Any, expression: str, value: object
) -> None:
    ((got,),) = _rows(connection, f"SELECT {expression}")
    assert got == value
    assert type(got) is type(value)


def test_a_numeric_of_more_than_28_digits_is_cut_by_the_driver(connection: Any) -> None:
    # redshift_connector scales decimals in Python's default context, on Redshift too: packed
    # values are unpacked in SQL, or read as text.
    digits = "12345678901234567890123456789012345678"
    ((number, text),) = _rows(
        connection, f"SELECT {digits}::DECIMAL(38,0), {digits}::DECIMAL(38,0)::VARCHAR(40)"
    )
    assert str(number) != digits
    assert text == digits


@pytest.mark.parametrize(
    "value",
    [
        1,
        -(2**40),
        2**62,
        1.25,
        "it's",
        "",
        True,
        None,
        Decimal("12.3456"),
        date(2026, 1, 2),
        _MOMENT,
    ],
)
def test_a_bound_parameter_comes_back_unchanged(connection: Any, value: object) -> None:
    _rows(
        connection,
        "CREATE TABLE IF NOT EXISTS mart.p (i BIGINT, f DOUBLE PRECISION, s VARCHAR(20), "
        "b BOOLEAN, n DECIMAL(18,4), d DATE, t TIMESTAMP)",
    )
    columns = {int: "i", float: "f", str: "s", bool: "b", Decimal: "n", date: "d", datetime: "t"}
    column = columns.get(type(value), "s")
    _rows(connection, f"INSERT INTO mart.p ({column}) VALUES (%s)", value)
    assert [value] in _rows(connection, f"SELECT {column} FROM mart.p")
    if value is not None:
        assert _rows(connection, f"SELECT {column} FROM mart.p WHERE {column} = %s", value)


def test_an_error_carries_sqlstate_message_and_hint(connection: Any) -> None:
    with pytest.raises(ProgrammingError) as failed:
        _rows(connection, "GRANT SELECT ON lake.events TO reader")
    fields = failed.value.args[0]
    assert fields["C"] == "0A000"
    assert fields["S"] == "ERROR"
    assert fields["M"] == "Operation not supported on external tables"
    assert "USAGE" in fields["H"]
    assert _rows(connection, "SELECT 1") == [[1]]


@pytest.mark.parametrize(
    ("wrong", "state"),
    [({"password": "guess"}, "28000"), ({"user": "root"}, "28000"), ({"database": "x"}, "3D000")],
)
def test_a_wrong_login_is_refused(server: RunningServer, wrong: dict[str, str], state: str) -> None:
    with pytest.raises((InterfaceError, ProgrammingError)) as refused:
        server.connect(**wrong)
    assert refused.value.args[0]["C"] == state
    assert PASSWORD not in str(refused.value)


def test_a_client_that_wants_tls_is_told_there_is_none(server: RunningServer) -> None:
    with pytest.raises(InterfaceError, match="SSL"):
        server.connect(ssl=True)


def test_without_autocommit_work_is_lost_unless_committed(
    server: RunningServer, connection: Any
) -> None:
    _rows(connection, "CREATE TABLE mart.t (a INT)")
    careful = server.connect(autocommit=False)
    _rows(careful, "INSERT INTO mart.t VALUES (1)")
    assert _rows(connection, "SELECT COUNT(*) FROM mart.t") == [[0]]
    careful.rollback()
    assert _rows(connection, "SELECT COUNT(*) FROM mart.t") == [[0]]
    _rows(careful, "INSERT INTO mart.t VALUES (2)")
    careful.commit()
    assert _rows(connection, "SELECT COUNT(*) FROM mart.t") == [[1]]
    careful.close()


def test_many_rows_arrive_whole(connection: Any, lake: TinyLake) -> None:
    lake.land(20_000)
    rows = _rows(connection, "SELECT event_id, price, event_ts FROM lake.events")
    assert len(rows) == 20_200


def test_reads_go_on_while_a_refresh_writes(
    server: RunningServer, connection: Any, lake: TinyLake
) -> None:
    _rows(
        connection,
        "CREATE MATERIALIZED VIEW mart.v AUTO REFRESH NO AS "
        "SELECT store_id, COUNT(*) AS n FROM lake.events GROUP BY 1",
    )
    lake.land(100)
    other = server.connect(autocommit=False)
    _rows(other, "REFRESH MATERIALIZED VIEW mart.v")
    assert _rows(other, "SELECT SUM(n) FROM mart.v") == [[Decimal(300)]]
    assert _rows(connection, "SELECT SUM(n) FROM mart.v") == [[Decimal(200)]]
    other.commit()
    assert _rows(connection, "SELECT SUM(n) FROM mart.v") == [[Decimal(300)]]
    other.close()


def test_sessions_at_once_do_not_disturb_each_other(
    server: RunningServer, connection: Any, lake: TinyLake
) -> None:
    for view in ("v", "w"):
        _rows(
            connection,
            f"CREATE MATERIALIZED VIEW mart.{view} AUTO REFRESH NO AS "
            "SELECT store_id, sku, COUNT(*) AS n FROM lake.events GROUP BY 1, 2",
        )
    failures: list[Exception] = []

    def work(view: str, refreshes: bool) -> None:
        try:
            own = server.connect()
            for _ in range(15):
                if refreshes:
                    _rows(own, f"REFRESH MATERIALIZED VIEW mart.{view}")
                _rows(own, f"SELECT SUM(n) FROM mart.{view}")
            own.close()
        except Exception as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=arguments)
        for arguments in (("v", True), ("w", True), ("v", False), ("w", False))
    ]
    for thread in threads:
        thread.start()
    for _ in range(10):
        lake.land(20)
    for thread in threads:
        thread.join(60)
    assert failures == []
    for view in ("v", "w"):
        _rows(connection, f"REFRESH MATERIALIZED VIEW mart.{view}")
        assert _rows(connection, f"SELECT SUM(n) FROM mart.{view}") == [[Decimal(400)]]


def test_an_idle_server_runs_no_statement(server: RunningServer, connection: Any) -> None:
    query = "SELECT COUNT(*) FROM sys_query_history WHERE query_text NOT LIKE '%sys_query_history%'"
    ((before,),) = _rows(connection, query)
    time.sleep(0.5)
    assert _rows(connection, query) == [[before]]


def test_a_statement_is_stopped_at_its_timeout(connection: Any) -> None:
    _rows(connection, "CREATE TABLE mart.t AS SELECT event_ms AS a FROM lake.events")
    _rows(connection, "SET statement_timeout TO 200")
    started = time.monotonic()
    with pytest.raises(ProgrammingError) as stopped:
        _rows(
            connection,
            "SELECT COUNT(*) FROM mart.t a, mart.t b, mart.t c, mart.t d "
            "WHERE LEN(a.a || b.a || c.a || d.a) > 900",
        )
    assert stopped.value.args[0]["C"] == "57014"
    assert time.monotonic() - started < 10
    _rows(connection, "SET statement_timeout TO 0")
    assert _rows(connection, "SELECT 1") == [[1]]


def test_executemany_and_the_drivers_statement_cache_work(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE mart.t (a INT, b VARCHAR(5))")
    cursor.executemany("INSERT INTO mart.t VALUES (%s, %s)", [(1, "a"), (2, "b"), (3, None)])
    for number in (1, 2, 3):
        cursor.execute("SELECT a FROM mart.t WHERE a = %s", (number,))
        assert list(cursor.fetchone()) == [number]
    cursor.execute("DROP TABLE mart.t")
    with pytest.raises(ProgrammingError):
        cursor.execute("SELECT a FROM mart.t WHERE a = %s", (1,))
    assert redshift_connector.paramstyle == "format"
