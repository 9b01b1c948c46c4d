"""Names that a client makes up never become SQL of their own."""

import pytest

from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.identifiers import checked, quoted
from retail_lakehouse_tests.local.warehouse.conftest import Asker


@pytest.mark.parametrize("name", ['a"b', '"', "a\0b"])
def test_an_identifier_with_a_double_quote_or_nul_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(WarehouseError, match="holds a double quote or a NUL") as refused:
        checked(name)
    assert refused.value.sqlstate == "42602"
    assert "\0" not in refused.value.message


def test_a_name_is_quoted_part_by_part() -> None:
    assert quoted("my mart", 'a"b') == '"my mart"."a""b"'


@pytest.mark.parametrize(
    "text",
    [
        'CREATE SCHEMA "a""; DROP SCHEMA mart; --"',
        'DROP SCHEMA "mart"" CASCADE; --"',
        """CREATE EXTERNAL SCHEMA "a""b" FROM DATA CATALOG DATABASE 'd' IAM_ROLE default""",
        'CREATE TABLE mart."a""b" (a INT)',
        'CREATE TABLE mart.t ("a"" INT, ""b" INT)',
        'CREATE TEMP TABLE "a""b" (a INT)',
        'CREATE TABLE mart.t AS SELECT 1 AS "a""b"',
        'CREATE VIEW mart.v ("a""b") AS SELECT 1',
        'CREATE VIEW mart."a""b" AS SELECT 1 AS a',
        'CREATE VIEW mart.v AS SELECT 1 AS "a""b"',
        'CREATE MATERIALIZED VIEW mart.m ("a""b") AS SELECT sku FROM lake.events',
        'CREATE MATERIALIZED VIEW mart.m AS SELECT sku AS "a""b" FROM lake.events',
        "CREATE MATERIALIZED VIEW mart.m AS SELECT sku AS 'a\"b' FROM lake.events",
        'SELECT 1 AS "a""b"',
        "SELECT 1 AS a\0b",
        'DROP TABLE mart."t""; --"',
        'REFRESH MATERIALIZED VIEW mart."m""b"',
        'GRANT USAGE ON SCHEMA "a""b" TO reader',
    ],
)
def test_a_double_quote_or_nul_in_a_name_is_refused(ask: Asker, text: str) -> None:
    with pytest.raises(WarehouseError) as refused:
        ask.rows(text)
    assert refused.value.sqlstate == "42602"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM \"read_csv\"('/etc/passwd')",
        "SELECT \"list_sort\"('x') FROM lake.events",
        "INSERT INTO mart.t SELECT content FROM \"read_text\"('/etc/passwd')",
    ],
)
def test_a_quoted_function_is_looked_up_like_any_other(ask: Asker, text: str) -> None:
    with pytest.raises(WarehouseError) as refused:
        ask.rows(text)
    assert refused.value.sqlstate == "42883"


def test_a_quoted_mutable_function_is_recomputed_like_any_other(ask: Asker) -> None:
    ask.do('CREATE MATERIALIZED VIEW mart.m AS SELECT sku, "getdate"() AS at FROM lake.events')
    assert ask.state("m") == 0


def test_a_name_in_the_place_of_a_unit_is_a_word_or_nothing(ask: Asker) -> None:
    unit_and_more = "day + to_days(list_sort([1])[1])"
    for unit in (f'"{unit_and_more}"', f"'{unit_and_more}'"):
        with pytest.raises(WarehouseError) as refused:
            ask.rows(f"SELECT DATEADD({unit}, 1, event_ts) FROM lake.events")
        assert refused.value.sqlstate == "42601"


def test_names_that_need_quotes_are_kept(ask: Asker) -> None:
    ask.do(
        'CREATE SCHEMA "my mart"',
        'CREATE TABLE "my mart"."order" ("group by" INT NOT NULL)',
        'INSERT INTO "my mart"."order" ("group by") VALUES (7)',
        'CREATE VIEW "my mart"."v 1" ("net (eur)") AS SELECT "group by" FROM "my mart"."order"',
        'CREATE MATERIALIZED VIEW "my mart"."m;" AS '
        'SELECT sku AS "stock unit", COUNT(*) AS "n" FROM lake.events GROUP BY sku',
        'REFRESH MATERIALIZED VIEW "my mart"."m;"',
    )
    assert ask.rows('SELECT "net (eur)" FROM "my mart"."v 1"') == [(7,)]
    assert ask.value('SELECT SUM(n) FROM "my mart"."m;" WHERE "stock unit" IS NOT NULL') == 200
    assert ask.value("SELECT row_count FROM local_mv_digest WHERE name = 'm;'") > 0
    ask.do('DROP TABLE "my mart"."order" CASCADE', 'DROP SCHEMA "my mart" CASCADE')
