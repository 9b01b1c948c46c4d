"""One example a rule: what Redshift refuses, and what makes it recompute in full."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from retail_lakehouse.local.warehouse.engine import Engine
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.rules import RULES, Effect
from retail_lakehouse.local.warehouse.session import Session
from retail_lakehouse_tests.local.warehouse.conftest import Asker, TinyLake, engine_over

_BY_STORE = "SELECT store_id, COUNT(*) AS n FROM lake.events GROUP BY 1"


def _mv(query: str, options: str = "AUTO REFRESH NO") -> str:
    return f"CREATE MATERIALIZED VIEW mart.example {options} AS {query}"


REFUSED: dict[str, str] = {
    "several-statements": "SELECT 1; SELECT 2",
    "no-scheduler": "CREATE SCHEDULE five_minutes AS 'cron(*/5 * * * ? *)'",
    "parameters-in-ddl": "CREATE VIEW mart.example AS SELECT $1 AS a",
    "unknown-function": "SELECT list_sort([1]) FROM lake.events",
    "time-travel": "SELECT * FROM lake.events FOR SYSTEM_TIME AS OF '2026-01-01'",
    "integer-to-timestamp": "SELECT (event_ms / 1000)::timestamp FROM lake.events",
    "leader-node-function-on-tables": "SELECT now() FROM lake.events",
    "view-on-external-table": "CREATE VIEW mart.example AS SELECT sku FROM lake.events",
    "late-binding-needs-schemas": (
        "CREATE VIEW mart.example AS SELECT a FROM small WITH NO SCHEMA BINDING"
    ),
    "external-schema-session-role": (
        "CREATE EXTERNAL SCHEMA x FROM DATA CATALOG DATABASE 'd' IAM_ROLE default CATALOG_ID '1'"
    ),
    "external-schema-needs-role": "CREATE EXTERNAL SCHEMA x FROM DATA CATALOG DATABASE 'd'",
    "external-table-in-transaction": "CREATE EXTERNAL TABLE lake.x (a INT) STORED AS PARQUET",
    "external-table-by-platform": "CREATE EXTERNAL TABLE lake.x (a INT) STORED AS PARQUET",
    "grant-on-external-table": "GRANT SELECT ON lake.events TO reader",
    "external-tables-are-read-only": "DELETE FROM lake.events WHERE sku = 'K001'",
    "views-are-read-only": "INSERT INTO mart.plain VALUES (1)",
    "auto-refresh-mutable": _mv(
        "SELECT store_id, MAX(GETDATE()) AS m FROM lake.events GROUP BY 1", "AUTO REFRESH YES"
    ),
    "auto-refresh-external": _mv(_BY_STORE, "AUTO REFRESH YES"),
    "auto-refresh-nested": _mv("SELECT n FROM mart.base", "AUTO REFRESH YES"),
    "mv-late-binding": _mv(_BY_STORE + " WITH NO SCHEMA BINDING"),
    "mv-ordered": _mv(_BY_STORE + " ORDER BY 1"),
    "mv-on-plain-view": _mv("SELECT a FROM mart.plain"),
    "mv-on-system-table": _mv("SELECT name FROM svv_mv_info"),
    "mv-on-temporary-table": _mv("SELECT a FROM passing"),
    "mv-leader-node-function": _mv("SELECT ASCII(sku) AS a FROM lake.events"),
    "mv-on-iceberg-v3": _mv("SELECT sku FROM lake.newer"),
    "refresh-cascade-external": "REFRESH MATERIALIZED VIEW mart.base CASCADE",
}
RECOMPUTED: dict[str, str] = {
    "mutable-function": "SELECT sku, CURRENT_DATE AS today FROM lake.events",
    "date-time-function": "SELECT DATEADD(hour, 8, event_ts) AS local_ts FROM lake.events",
    "outer-join": (
        "SELECT e.sku, p.category FROM lake.events e LEFT JOIN lake.products p ON p.sku = e.sku"
    ),
    "set-operation": "SELECT sku FROM lake.events UNION ALL SELECT sku FROM lake.products",
    "distinct": "SELECT store_id, COUNT(DISTINCT sku) AS skus FROM lake.events GROUP BY 1",
    "window-function": (
        "SELECT sku, ROW_NUMBER() OVER (PARTITION BY sku ORDER BY event_ts) AS n FROM lake.events"
    ),
    "subquery": "SELECT n FROM (SELECT sku, COUNT(*) AS n FROM lake.events GROUP BY 1) AS t",
    "other-aggregate": "SELECT store_id, MEDIAN(quantity) AS m FROM lake.events GROUP BY 1",
    "grouping-sets": "SELECT store_id, COUNT(*) AS n FROM lake.events GROUP BY ROLLUP (store_id)",
    "varbyte": "SELECT sku, raw FROM lake.events",
    "several-databases": (
        "SELECT e.sku, n.note FROM lake.events e JOIN elsewhere.notes n ON n.sku = e.sku"
    ),
    "table-twice": (
        "SELECT a.sku, b.store_id FROM lake.events a JOIN lake.events b ON b.event_id = a.event_id"
    ),
    "base-is-local": "SELECT a FROM mart.small",
}
MORE_RECOMPUTED = (
    "WITH t AS (SELECT sku FROM lake.events) SELECT sku FROM t",
    "SELECT DISTINCT sku FROM lake.events",
    "SELECT sku FROM lake.events INTERSECT SELECT sku FROM lake.products",
    "SELECT sku FROM lake.events EXCEPT SELECT sku FROM lake.products",
    "SELECT e.sku FROM lake.events e FULL JOIN lake.products p ON p.sku = e.sku",
    "SELECT sku FROM lake.events WHERE sku IN (SELECT sku FROM lake.products)",
    "SELECT a.sku FROM lake.events a, lake.events b WHERE b.event_id = a.event_id",
    "SELECT a.sku FROM lake.events a JOIN same_lake.events b ON b.event_id = a.event_id",
    "SELECT a.store_id, COUNT(*) AS n FROM lake.events a JOIN lake.products p ON p.sku = a.sku "
    "JOIN lake.events b ON b.event_id = a.event_id GROUP BY 1",
    "SELECT LISTAGG(sku, ',') AS s FROM lake.events",
    "SELECT STDDEV(quantity) AS s FROM lake.events",
    "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY quantity) AS p FROM lake.events",
    "SELECT APPROXIMATE COUNT(DISTINCT sku) AS n FROM lake.events",
    "SELECT BOOL_OR(quantity > 1) AS b FROM lake.events",
    "SELECT sku, GETDATE() AS now_ts FROM lake.events",
    "SELECT sku, SYSDATE AS now_ts FROM lake.events",
    "SELECT sku, RANDOM() AS r FROM lake.events",
    "SELECT EXTRACT(hour FROM event_ts) AS h FROM lake.events",
    "SELECT DATEDIFF(second, event_ts, event_ts) AS d FROM lake.events",
    "SELECT TO_CHAR(event_ts, 'YYYY') AS y FROM lake.events",
    "SELECT TIMESTAMP 'epoch' + event_ms / 1000 * INTERVAL '1 second' AS ts FROM lake.events",
)
INCREMENTAL = (
    _BY_STORE,
    "SELECT store_id, AVG(price) AS p, MIN(sku) AS s FROM lake.events GROUP BY 1 HAVING MIN(1) = 1",
    "SELECT DATE_TRUNC('hour', event_ts) AS h, COUNT(*) AS n FROM lake.events GROUP BY 1",
    "SELECT DATE(event_ts) AS d, COUNT(*) AS n FROM lake.events GROUP BY DATE(event_ts)",
    "SELECT event_ts::date AS d, COUNT(*) AS n FROM lake.events GROUP BY 1",
    "SELECT DATE_PART(month, event_date) AS m, COUNT(*) AS n FROM lake.events GROUP BY 1",
    "SELECT sku, quantity FROM lake.events WHERE quantity > 3",
    "SELECT p.category, COUNT(*) AS n FROM lake.events JOIN lake.products p USING (sku) GROUP BY 1",
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> TinyLake:
    tiny = TinyLake(tmp_path_factory.mktemp("rules"))
    tiny.land(50)
    tiny.set_products(3)
    newer = tiny.catalog.create_table(("retail_db", "newer"), tiny.products.schema())
    # pyiceberg writes no version 3 yet; Spark does.
    metadata = Path(newer.metadata_location.removeprefix("file://"))
    metadata.write_text(metadata.read_text().replace('"format-version":2', '"format-version":3'))
    tiny.catalog.create_namespace("other_db")
    notes = pa.schema([("sku", pa.string()), ("note", pa.string())])
    tiny.catalog.create_table(("other_db", "notes"), notes)
    return tiny


@pytest.fixture(scope="module")
def warehouse(lake: TinyLake) -> Iterator[Engine]:
    engine = engine_over(lake)
    ask = Asker(Session(engine, 1))
    ask.do(
        "CREATE EXTERNAL SCHEMA lake FROM DATA CATALOG DATABASE 'retail_db' IAM_ROLE default",
        "CREATE EXTERNAL SCHEMA same_lake FROM DATA CATALOG DATABASE 'retail_db' IAM_ROLE default",
        "CREATE EXTERNAL SCHEMA elsewhere FROM DATA CATALOG DATABASE 'other_db' IAM_ROLE default",
        "CREATE SCHEMA mart",
        "CREATE TABLE mart.small (a INT)",
        "CREATE VIEW mart.plain AS SELECT a FROM mart.small",
        f"CREATE MATERIALIZED VIEW mart.base AS {_BY_STORE}",
    )
    ask.session.close()
    yield engine
    engine.close()


@pytest.fixture
def furnished(warehouse: Engine) -> Iterator[Asker]:
    ask = Asker(Session(warehouse, 2))
    ask.do("CREATE TEMP TABLE passing (a INT)", "SET search_path TO mart")
    yield ask
    ask.do("ROLLBACK", "DROP MATERIALIZED VIEW IF EXISTS mart.example", "DROP TABLE passing")
    ask.session.close()


def test_every_rule_has_an_example() -> None:
    ids = [rule.rule_id for rule in RULES]
    assert len(ids) == len(set(ids))
    assert set(REFUSED) == {r.rule_id for r in RULES if r.effect is Effect.REFUSE}
    assert set(RECOMPUTED) == {r.rule_id for r in RULES if r.effect is Effect.RECOMPUTE}
    assert all(rule.source for rule in RULES)


@pytest.mark.parametrize("rule_id", sorted(REFUSED))
def test_what_redshift_refuses_is_refused(furnished: Asker, rule_id: str) -> None:
    if rule_id == "external-table-in-transaction":
        furnished.do("BEGIN")
    rule = next(rule for rule in RULES if rule.rule_id == rule_id)
    with pytest.raises(WarehouseError) as refused:
        furnished.rows(REFUSED[rule_id])
    assert refused.value.message == rule.message
    assert refused.value.sqlstate == rule.sqlstate
    assert refused.value.detail == f"rule {rule_id}, {rule.source}"


AS_IN_A_SELECT = (
    "unknown-function",
    "time-travel",
    "integer-to-timestamp",
    "leader-node-function-on-tables",
)


def _refusal(ask: Asker, text: str) -> tuple[str, str]:
    with pytest.raises(WarehouseError) as refused:
        ask.rows(text)
    return refused.value.message, refused.value.sqlstate


def _of_rule(rule_id: str) -> tuple[str, str]:
    rule = next(rule for rule in RULES if rule.rule_id == rule_id)
    return rule.message, rule.sqlstate


@pytest.mark.parametrize("rule_id", AS_IN_A_SELECT)
@pytest.mark.parametrize(
    "around",
    [
        "EXPLAIN {}",
        "CREATE TABLE mart.made AS {}",
        "CREATE TEMP TABLE made AS {}",
        "INSERT INTO mart.small {}",
        "INSERT INTO mart.small (a) {}",
        "INSERT INTO mart.small ({})",
    ],
)
def test_what_a_select_refuses_is_refused_around_it(
    furnished: Asker, rule_id: str, around: str
) -> None:
    assert _refusal(furnished, around.format(REFUSED[rule_id])) == _of_rule(rule_id)


@pytest.mark.parametrize(
    ("rule_id", "text"),
    [
        ("unknown-function", "INSERT INTO mart.small VALUES (list_sort(1))"),
        ("unknown-function", "UPDATE mart.small SET a = list_sort(a)"),
        ("unknown-function", "DELETE FROM mart.small WHERE list_sort(a) = 1"),
        ("integer-to-timestamp", "UPDATE mart.small SET a = 1 WHERE a::timestamp > GETDATE()"),
        ("integer-to-timestamp", "DELETE FROM mart.small WHERE a::timestamp > GETDATE()"),
        ("leader-node-function-on-tables", "UPDATE mart.small SET a = ASCII('x')"),
        (
            "leader-node-function-on-tables",
            "DELETE FROM mart.small USING lake.events e WHERE a = ASCII(e.sku)",
        ),
    ],
)
def test_what_a_select_refuses_is_refused_where_rows_change(
    furnished: Asker, rule_id: str, text: str
) -> None:
    assert _refusal(furnished, text) == _of_rule(rule_id)


def test_where_rows_change_what_redshift_takes_is_taken(furnished: Asker) -> None:
    furnished.do(
        "CREATE TEMP TABLE mine (a INT, b VARCHAR(9) DEFAULT UPPER('x'), t TIMESTAMP)",
        "INSERT INTO mine (a, t) (SELECT quantity, event_ts FROM lake.events WHERE quantity > 0)",
        "INSERT INTO mine (a, b) VALUES (1, UPPER('new')), (2, DEFAULT)",
        "UPDATE mine SET b = 'gone', t = GETDATE() WHERE a = 2",
        "UPDATE mine SET b = LOWER(b) FROM mart.small s WHERE mine.a = s.a",
        "DELETE FROM mine WHERE t IS NOT NULL OR a > (SELECT MAX(s.a) FROM mart.small s)",
        "EXPLAIN SELECT LEN(sku) FROM lake.events",
    )
    assert furnished.rows("SELECT a, b FROM mine") == [(1, "NEW")]
    furnished.do("DROP TABLE mine")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM lake.events FOR VERSION AS OF 1",
        "SELECT * FROM lake.events VERSION AS OF 1",
        "SELECT * FROM lake.events TIMESTAMP AS OF '2026-01-01'",
        "SELECT * FROM (SELECT sku FROM lake.events FOR SYSTEM_TIME AS OF '2026-01-01') AS t",
        "SELECT a FROM mart.plain FOR VERSION AS OF 1",
        "CREATE VIEW mart.example AS SELECT a FROM mart.small VERSION AS OF 1",
        _mv("SELECT sku FROM lake.events FOR TIMESTAMP AS OF '2026-01-01'"),
        "DELETE FROM mart.small USING lake.events VERSION AS OF 1 WHERE a = quantity",
    ],
)
def test_every_form_of_time_travel_is_refused(furnished: Asker, text: str) -> None:
    assert _refusal(furnished, text) == _of_rule("time-travel")


@pytest.mark.parametrize("rule_id", sorted(RECOMPUTED))
def test_what_redshift_recomputes_has_state_0(furnished: Asker, rule_id: str) -> None:
    rule = next(rule for rule in RULES if rule.rule_id == rule_id)
    notices = furnished.do(_mv(RECOMPUTED[rule_id]))
    assert furnished.state("example") == 0
    assert rule.message in furnished.note("example")
    assert rule.message in notices[0]


@pytest.mark.parametrize("query", MORE_RECOMPUTED)
def test_more_of_what_redshift_recomputes(furnished: Asker, lake: TinyLake, query: str) -> None:
    furnished.do(_mv(query))
    assert furnished.state("example") == 0
    lake.land(5)
    furnished.do("REFRESH MATERIALIZED VIEW mart.example")
    assert furnished.last_refresh() == "Refresh successfully recomputed MV from scratch"


@pytest.mark.parametrize("query", INCREMENTAL)
def test_what_redshift_refreshes_incrementally_has_state_1(
    furnished: Asker, lake: TinyLake, query: str
) -> None:
    assert furnished.do(_mv(query)) == []
    assert furnished.state("example") == 1
    lake.land(5)
    furnished.do("REFRESH MATERIALIZED VIEW mart.example")
    assert furnished.last_refresh() == "Refresh successfully updated MV incrementally"
    shown = furnished.rows("SELECT * FROM mart.example")
    assert sorted(shown, key=repr) == sorted(furnished.rows(query), key=repr)


def test_a_view_with_a_mutable_function_is_always_stale(furnished: Asker) -> None:
    furnished.do(_mv(RECOMPUTED["mutable-function"]))
    stale = "SELECT is_stale FROM svv_mv_info WHERE name = 'example'"
    assert furnished.value(stale) == "t"
    furnished.do("REFRESH MATERIALIZED VIEW mart.example")
    assert furnished.value(stale) == "t"


@pytest.mark.parametrize(
    "text",
    [
        "DROP TABLE lake.events",
        "INSERT INTO lake.events SELECT * FROM lake.events",
        "UPDATE lake.events SET quantity = 1",
        "ANALYZE lake.events",
        "REVOKE SELECT ON lake.events FROM reader",
        "CREATE TABLE lake.mine (a INT)",
        "CREATE MATERIALIZED VIEW lake.mine AS SELECT 1 AS a",
        "CREATE MATERIALIZED VIEW mart.unnamed AS SELECT 1 + 1",
        "CREATE MATERIALIZED VIEW mart.twice AS SELECT sku AS a, sku AS a FROM lake.events",
        "CREATE MATERIALIZED VIEW mart.base AS SELECT 1 AS a",
        "CREATE SCHEMA mart",
        "DROP SCHEMA mart",
        "DROP VIEW mart.base",
        "DROP MATERIALIZED VIEW mart.plain",
        "REFRESH MATERIALIZED VIEW mart.plain",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM 'x.parquet'",
        "SELECT * FROM bookkeeping.grants",
        "SELECT * FROM segments.view_100001_1",
        "COPY mart.small FROM 's3://x'",
        "ALTER TABLE mart.small ADD COLUMN b INT",
        "CALL DBMS_SCHEDULER.CREATE_JOB('x')",
        "ATTACH 'x.duckdb'",
        "PRAGMA version",
        "INSTALL httpfs",
        "VACUUM",
    ],
)
def test_what_is_not_redshifts_or_not_ours_is_refused(furnished: Asker, text: str) -> None:
    with pytest.raises(WarehouseError):
        furnished.rows(text)
