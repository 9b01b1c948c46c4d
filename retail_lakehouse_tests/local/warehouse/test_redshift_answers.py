"""Where Redshift and DuckDB answer differently, the stand-in answers as Redshift."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse_tests.local.warehouse.conftest import Asker, TinyLake


def utc(*parts: int) -> datetime:
    """A UTC timestamp without zone, as the warehouse gives them."""
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)  # type: ignore[arg-type,misc]


NOW = utc(2026, 11, 23, 10, 11, 12, 654_321)


@pytest.fixture
def small(ask: Asker) -> Asker:
    ask.session.engine.now = lambda: NOW
    ask.do(
        "CREATE TABLE mart.n (i INT, b BIGINT, d DECIMAL(18,4), f DOUBLE PRECISION, s VARCHAR(20))",
        "INSERT INTO mart.n VALUES (1, 10, 1.5000, 0.5, 'one'), (2, 21, 2.2500, 1.5, 'two')",
        "INSERT INTO mart.n VALUES (NULL, NULL, NULL, NULL, NULL), (-4, 9, 0.0001, 2, 'vier')",
    )
    return ask


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7 % 3", 1),
        ("7.0 / 2", Decimal("3.5000")),
        ("7 / 2.0", Decimal("3.5000")),
        ("1::DECIMAL(18,4) / 3", Decimal("0.333333333333333")),
        ("1 / 2::DOUBLE PRECISION", 0.5),
        ("9007199254740993::BIGINT / 1", 9007199254740993),
        ("'abcdef'::VARCHAR(3)", "abc"),
        ("'aéé'::VARCHAR(4)", "aé"),
        ("CAST('abcdef' AS CHAR(2))", "ab"),
        ("TIMESTAMP '2026-01-01 10:00:00'::DATE", date(2026, 1, 1)),
        ("TRUNC(TIMESTAMP '2026-01-01 10:00:00')", date(2026, 1, 1)),
        ("TRUNC(2.75)", Decimal(2)),
        ("GETDATE()", NOW.replace(microsecond=0)),
        ("SYSDATE", NOW),
        ("CURRENT_DATE", NOW.date()),
        ("DATEADD(day, -7, CURRENT_DATE)", utc(2026, 11, 16)),
        ("DATEDIFF(second, '2026-11-23 10:11:00'::TIMESTAMP, GETDATE())", 12),
        ("DATEDIFF(hour, '2026-01-01 00:59:59'::TIMESTAMP, '2026-01-01 01:00:00'::TIMESTAMP)", 1),
        ("DATE_TRUNC('hour', GETDATE())", utc(2026, 11, 23, 10)),
        (
            "CONVERT_TIMEZONE('Asia/Kolkata', TIMESTAMP '2026-01-01 00:00:00')",
            utc(2026, 1, 1, 5, 30),
        ),
        ("TIMESTAMP 'epoch' + 1767225600 * INTERVAL '1 second'", utc(2026, 1, 1)),
        (
            "TO_CHAR(TIMESTAMP '2026-01-02 03:04:05', 'YYYY-MM-DD HH24:MI:SS')",
            "2026-01-02 03:04:05",
        ),
        ("NVL(NULL, 3)", 3),
        ("NVL2(NULL, 1, 2)", 2),
        ("DECODE(2, 1, 'a', 2, 'b', 'c')", "b"),
        ("LEN('abc')", 3),
        ("LPAD('7', 3, '0')", "007"),
        ("SPLIT_PART('a|b|c', '|', 2)", "b"),
        ("'a' || 'b'", "ab"),
        ("MOD(7, 4)", 3),
        ("GREATEST(1, NULL, 3)", 3),
        ("ROUND(2.345::DECIMAL(10,3), 2)", Decimal("2.35")),
        ("JSON_EXTRACT_PATH_TEXT('{\"a\":{\"b\":5}}', 'a', 'b')", "5"),
        ("CURRENT_USER", "lakehouse"),
        ("'100%'", "100%"),
    ],
)
def test_an_expression_has_redshifts_value(small: Asker, expression: str, answer: Any) -> None:
    value = small.value(f"SELECT {expression}")
    assert value == answer
    assert type(value) is type(answer)


@pytest.mark.parametrize(
    ("aggregate", "answer", "kind"),
    [
        ("AVG(i)", 0, "bigint"),
        ("AVG(b)", 13, "bigint"),
        ("AVG(d)", Decimal("1.2500"), "numeric(38,4)"),
        ("AVG(f)", 4 / 3, "double precision"),
        ("SUM(i)", -1, "bigint"),
        ("SUM(b)", Decimal(40), "numeric(38,0)"),
        ("SUM(d)", Decimal("3.7501"), "numeric(38,4)"),
        ("COUNT(*) / 60", 0, "bigint"),
        ("COUNT(i)", 3, "bigint"),
        ("SUM(d) / COUNT(*)", Decimal("0.9375"), "numeric(38,4)"),
        ("MAX(d)", Decimal("2.2500"), "numeric(18,4)"),
        ("MIN(s)", "one", "character varying"),
        ("SUM(i * 1.0)", Decimal("-1.0"), "numeric(38,1)"),
        ("MEDIAN(f)", 1.5, "double precision"),
    ],
)
def test_an_aggregate_has_redshifts_value_and_type(
    small: Asker, aggregate: str, answer: Any, kind: str
) -> None:
    query = f"SELECT {aggregate} FROM mart.n"
    assert small.value(query) == answer
    assert small.types(query) == [kind]


def test_an_average_over_a_window_is_an_integer_too(small: Asker) -> None:
    query = "SELECT AVG(b) OVER (PARTITION BY s IS NULL) FROM mart.n WHERE i = 1 OR i = 2"
    assert small.rows(query) == [(15,), (15,)]


def test_nulls_sort_last_ascending_and_first_descending(small: Asker) -> None:
    assert small.rows("SELECT i FROM mart.n ORDER BY i") == [(-4,), (1,), (2,), (None,)]
    assert small.rows("SELECT i FROM mart.n ORDER BY i DESC") == [(None,), (2,), (1,), (-4,)]


def test_division_by_zero_is_an_error(small: Asker) -> None:
    for expression in ("1 / 0", "i / (i - i)", "d / (i - i)", "f / 0"):
        with pytest.raises(WarehouseError) as failed:
            small.rows(f"SELECT {expression} FROM mart.n WHERE i = 1")
        assert failed.value.sqlstate == "22012"


def test_types_reach_through_views_and_subqueries(small: Asker) -> None:
    small.do(
        "CREATE VIEW mart.v AS SELECT i, d, COUNT(*) AS n FROM mart.n GROUP BY i, d",
        "CREATE VIEW mart.w (a, c) AS SELECT SUM(n), AVG(d) FROM mart.v",
    )
    assert small.rows("SELECT a / 3, c FROM mart.w") == [(Decimal(1), Decimal("1.2500"))]
    assert small.rows(
        "WITH x AS (SELECT i, i AS j FROM mart.v) SELECT SUM(i / 2), MAX(j) FROM x WHERE i > 0"
    ) == [(1, 2)]


def test_a_view_sees_the_clock_of_its_reader(small: Asker) -> None:
    small.do("CREATE VIEW mart.clock AS SELECT GETDATE() AS at, COUNT(*) AS n FROM mart.n")
    assert small.rows("SELECT at FROM mart.clock") == [(NOW.replace(microsecond=0),)]


def test_a_statement_sees_one_snapshot_of_a_table(ask: Asker, lake: TinyLake) -> None:
    query = (
        "SELECT (SELECT COUNT(*) FROM lake.events) - COUNT(*) FROM lake.events e "
        "WHERE e.event_id IN (SELECT event_id FROM lake.events)"
    )
    assert ask.value(query) == 0
    lake.land(10)
    assert ask.value("SELECT COUNT(*) FROM lake.events") == 210


def test_a_late_binding_view_sees_what_its_tables_became(ask: Asker, lake: TinyLake) -> None:
    ask.do("CREATE VIEW mart.late AS SELECT * FROM lake.events WITH NO SCHEMA BINDING")
    lake.add_column("colour")
    lake.land(10)
    assert ask.value("SELECT COUNT(colour) FROM mart.late") == 10


def test_a_bound_view_keeps_the_columns_it_was_made_with(ask: Asker) -> None:
    ask.do(
        "CREATE TABLE mart.t (a INT)",
        "CREATE VIEW mart.v AS SELECT * FROM mart.t",
        "CREATE OR REPLACE VIEW mart.v AS SELECT a, a + 1 AS b FROM mart.t",
        "INSERT INTO mart.t VALUES (1)",
    )
    assert ask.rows("SELECT * FROM mart.v") == [(1, 2)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (
            "SELECT COUNT(*), SUM(i) AS s, i + 1, 'x', NULL FROM mart.n GROUP BY i",
            ["count", "s", "?column?", "?column?", "?column?"],
        ),
        ("SELECT * FROM mart.n", ["i", "b", "d", "f", "s"]),
        ('SELECT N.I, n.s AS "Mixed" FROM mart.n', ["i", "mixed"]),
        ("SELECT $1, CASE WHEN i = 1 THEN 2 END FROM mart.n", ["?column?", "case"]),
    ],
)
def test_columns_are_named_as_postgres_names_them(
    small: Asker, query: str, names: list[str]
) -> None:
    columns = small.session.describe(small.session.prepare(query, (705,)))
    assert [column.name for column in columns or ()] == names


def test_a_parameter_takes_the_type_of_what_it_meets(ask: Asker) -> None:
    assert ask.value("SELECT COUNT(*) FROM lake.events WHERE event_date >= $1", "2000-01-01") == 200
    assert ask.value("SELECT COUNT(*) FROM lake.events WHERE quantity > $1", "1000") == 0
    assert ask.rows("SELECT 7 / $1", 2, oids=(23,)) == [(3,)]
    injected = "x' OR '1'='1"
    assert ask.value("SELECT COUNT(*) FROM lake.events WHERE sku = $1", injected) == 0


def test_system_views_answer(ask: Asker) -> None:
    ask.do("CREATE TABLE mart.t (a INT)", "GRANT SELECT ON mart.t TO reader")
    assert ("mart", "t") in ask.rows("SELECT table_schema, table_name FROM svv_tables")
    assert ask.value("SELECT databasename FROM svv_external_schemas") == "retail_db"
    columns = "SELECT external_type FROM svv_external_columns WHERE columnname = 'price'"
    assert ask.rows(columns) == [("decimal(18,4)",)]
    assert ask.value("SELECT COUNT(*) FROM pg_catalog.svv_external_tables") == 2


def test_the_query_history_tells_label_text_and_outcome(ask: Asker) -> None:
    ask.do("SET query_group TO 'refresh:7'", "SELECT 41 + 1")
    with pytest.raises(WarehouseError):
        ask.rows("SELECT missing FROM lake.events")
    rows = ask.rows(
        "SELECT query_text, query_label, status FROM sys_query_history "
        "WHERE query_label = 'refresh:7' ORDER BY query_id"
    )
    assert ("SELECT 41 + 1", "refresh:7", "success") in rows


def test_a_failed_transaction_refuses_until_it_ends(ask: Asker) -> None:
    ask.do("CREATE TABLE mart.t (a INT)", "BEGIN", "INSERT INTO mart.t VALUES (1)")
    with pytest.raises(WarehouseError):
        ask.rows("SELECT 1 / 0")
    with pytest.raises(WarehouseError) as refused:
        ask.rows("SELECT 1")
    assert refused.value.sqlstate == "25P02"
    ask.do("COMMIT")
    assert ask.value("SELECT COUNT(*) FROM mart.t") == 0


def test_definitions_roll_back_with_their_transaction(ask: Asker) -> None:
    ask.do(
        "BEGIN",
        "CREATE TABLE mart.t (a INT)",
        "CREATE VIEW mart.v AS SELECT a FROM mart.t",
        "CREATE MATERIALIZED VIEW mart.m AS SELECT sku FROM lake.events",
        "SELECT * FROM mart.v",
        "SELECT * FROM mart.m",
        "ROLLBACK",
    )
    for name in ("t", "v", "m"):
        with pytest.raises(WarehouseError, match="does not exist"):
            ask.rows(f"SELECT * FROM mart.{name}")


def test_what_others_stand_on_is_dropped_with_cascade_only(ask: Asker) -> None:
    ask.do(
        "CREATE MATERIALIZED VIEW mart.m AS SELECT sku FROM lake.events",
        "CREATE VIEW mart.v AS SELECT sku FROM mart.m",
        "CREATE VIEW mart.w AS SELECT sku FROM mart.v",
        "CREATE VIEW mart.late AS SELECT sku FROM mart.m WITH NO SCHEMA BINDING",
    )
    with pytest.raises(WarehouseError) as refused:
        ask.rows("DROP MATERIALIZED VIEW mart.m")
    assert refused.value.sqlstate == "2BP01"
    assert refused.value.detail == "mart.v"
    ask.do("DROP MATERIALIZED VIEW mart.m CASCADE")
    for name in ("m", "v", "w", "late"):
        with pytest.raises(WarehouseError, match="does not exist"):
            ask.rows(f"SELECT * FROM mart.{name}")
    ask.do("CREATE MATERIALIZED VIEW mart.m AS SELECT sku FROM lake.events")
    assert len(ask.rows("SELECT * FROM mart.late")) == 200
