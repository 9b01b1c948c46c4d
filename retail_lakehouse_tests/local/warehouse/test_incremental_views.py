"""What an incremental view shows after every kind of change to its tables."""

import json
from random import Random
from typing import Any

import pytest
from pyiceberg.types import LongType

from retail_lakehouse.local.warehouse.engine import Engine
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.refresh import INCREMENTAL, RECOMPUTED, UP_TO_DATE, FoldLimits
from retail_lakehouse.local.warehouse.session import Session
from retail_lakehouse_tests.local.warehouse.conftest import DATABASE, Asker, TinyLake, engine_over

HOURLY = """
    SELECT event_date, event_hour, store_id,
        SUM(CASE WHEN event_type = 'SALE' THEN quantity ELSE 0 END) AS sold,
        COUNT(*) AS events, COUNT(kafka_offset) AS placed,
        MIN(event_ts) AS first_ts, MAX(event_ts) AS last_ts,
        AVG(quantity) AS mean_quantity, AVG(price) AS mean_price, SUM(price) AS total,
        SUM(price) / COUNT(*) AS by_hand, AVG(event_ms) - MIN(event_ms) AS spread,
        MAX(LPAD(CAST(event_ms AS VARCHAR(20)), 13, '0') || '|' || sku) AS newest
    FROM lake.events WHERE event_type <> 'ADJUST'
    GROUP BY 1, 2, 3 HAVING COUNT(*) > 1
"""
BY_CATEGORY = """
    SELECT p.category, e.store_id, SUM(e.quantity * e.price) AS amount, COUNT(*) AS n
    FROM lake.events e INNER JOIN lake.products p ON p.sku = e.sku GROUP BY 1, 2
"""
TOTAL = "SELECT COUNT(*) AS n, SUM(quantity) AS q, AVG(quantity) AS mean FROM lake.events"
PAIRS = """
    SELECT a.store_id, COUNT(*) AS n FROM lake.events a
    JOIN lake.events b ON b.sku = a.sku GROUP BY 1
"""
ROWS = "SELECT event_id, store_id, quantity FROM lake.events WHERE event_type = 'SALE'"
PACKED = """
    SELECT store_id, sku, MAX(CAST(event_ms AS DECIMAL(38, 0)) * 10000000000000000000000000
        + CAST(COALESCE(kafka_partition, -1) + 1 AS DECIMAL(38, 0)) * 10000000000000000000
        + COALESCE(kafka_offset, -1) + 1) AS newest FROM lake.events GROUP BY 1, 2
"""
DEFINITIONS = {
    "hourly": HOURLY,
    "by_category": BY_CATEGORY,
    "total": TOTAL,
    "sales": ROWS,
    "packed": PACKED,
    "pairs": PAIRS,
}


def same(ask: Asker, view: str) -> bool:
    """True when the view says what its definition says about the tables now."""
    shown: list[Any] = ask.rows(f"SELECT * FROM mart.{view}")
    truth: list[Any] = ask.rows(DEFINITIONS[view])
    return sorted(shown, key=repr) == sorted(truth, key=repr) and len(truth) > 0


def create(ask: Asker, *views: str) -> None:
    for view in views:
        ask.do(f"CREATE MATERIALIZED VIEW mart.{view} AUTO REFRESH NO AS {DEFINITIONS[view]}")


def refresh(ask: Asker, *views: str) -> None:
    for view in views:
        ask.do(f"REFRESH MATERIALIZED VIEW mart.{view}")


@pytest.fixture
def hourly(ask: Asker) -> Asker:
    create(ask, "hourly")
    return ask


def test_a_refresh_folds_in_what_was_appended(hourly: Asker, lake: TinyLake) -> None:
    for count in (50, 1, 300):
        lake.land(count)
        assert not same(hourly, "hourly")
        refresh(hourly, "hourly")
        assert hourly.last_refresh() == INCREMENTAL
        assert same(hourly, "hourly")


def test_a_refresh_with_nothing_new_says_so(hourly: Asker) -> None:
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == UP_TO_DATE


def test_is_stale_tells_whether_a_table_moved_on(hourly: Asker, lake: TinyLake) -> None:
    stale = "SELECT is_stale FROM svv_mv_info"
    assert hourly.value(stale) == "f"
    lake.land(5)
    assert hourly.value(stale) == "t"
    refresh(hourly, "hourly")
    assert hourly.value(stale) == "f"


def test_compaction_folds_nothing(hourly: Asker, lake: TinyLake) -> None:
    lake.compact()
    lake.land(40)
    lake.compact()
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == INCREMENTAL
    assert same(hourly, "hourly")


def test_a_delete_is_recomputed_in_full_and_said(hourly: Asker, lake: TinyLake) -> None:
    lake.land(10)
    lake.events.delete("store_id = 'S03'")
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == RECOMPUTED
    assert "no append" in hourly.note("hourly")
    assert same(hourly, "hourly")
    lake.land(10)
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == INCREMENTAL
    assert same(hourly, "hourly")


def test_a_column_that_came_later_is_null_in_old_files(ask: Asker, lake: TinyLake) -> None:
    lake.add_column("colour")
    definition = "SELECT colour, COUNT(*) AS n FROM lake.events GROUP BY 1"
    DEFINITIONS["colours"] = definition
    create(ask, "colours")
    lake.land(30)
    old_shape = lake.extra_columns.pop()
    lake.land(20)
    lake.extra_columns.append(old_shape)
    refresh(ask, "colours")
    assert ask.last_refresh() == INCREMENTAL
    assert same(ask, "colours")


def test_a_column_that_is_added_disturbs_no_view(hourly: Asker, lake: TinyLake) -> None:
    lake.add_column("colour")
    lake.land(30)
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == INCREMENTAL
    assert same(hourly, "hourly")


def test_a_renamed_column_is_read_by_its_field_id(ask: Asker, lake: TinyLake) -> None:
    with lake.events.update_schema() as update:
        update.rename_column("quantity", "units")
    DEFINITIONS["units"] = "SELECT store_id, SUM(units) AS units FROM lake.events GROUP BY 1"
    create(ask, "units")
    rows = lake.rows(25).rename_columns(
        ["units" if c == "quantity" else c for c in lake.rows(1).column_names]
    )
    lake.events.append(rows, snapshot_properties=lake.mark())
    refresh(ask, "units")
    assert ask.last_refresh() == INCREMENTAL
    assert same(ask, "units")


def test_a_dropped_column_makes_the_view_unrefreshable(hourly: Asker, lake: TinyLake) -> None:
    with lake.events.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("price")
    with pytest.raises(WarehouseError) as refused:
        refresh(hourly, "hourly")
    assert refused.value.sqlstate == "42703"
    assert hourly.last_refresh().startswith("Refresh failed. ")
    assert hourly.state("hourly") == 101


def test_a_changed_type_makes_unrefreshable_the_views_that_read_the_column(
    ask: Asker, lake: TinyLake
) -> None:
    DEFINITIONS["counted"] = "SELECT store_id, COUNT(*) AS n FROM lake.events GROUP BY store_id"
    create(ask, "hourly", "counted")
    with lake.events.update_schema() as update:
        update.update_column("quantity", LongType())
    lake.land(20)
    for _ in range(2):
        with pytest.raises(WarehouseError, match=r"was integer .* is bigint") as refused:
            refresh(ask, "hourly")
        assert refused.value.sqlstate == "42804"
        assert ask.last_refresh() == "Refresh failed. Column type was changed"
        assert ask.state("hourly") == 102
    refresh(ask, "counted")
    assert ask.last_refresh() == INCREMENTAL
    assert ask.state("counted") == 1
    ask.do("DROP MATERIALIZED VIEW mart.hourly")
    create(ask, "hourly")
    refresh(ask, "hourly")
    assert same(ask, "hourly")


def test_a_table_without_rows_makes_an_empty_view(ask: Asker, lake: TinyLake) -> None:
    lake.catalog.drop_table(("retail_db", "events"))
    empty = TinyLake(lake.root, seed=2)
    create(ask, "hourly", "total")
    assert ask.rows("SELECT * FROM mart.hourly") == []
    assert ask.rows("SELECT * FROM mart.total") == [(0, None, None)]
    empty.land(100)
    refresh(ask, "hourly", "total")
    assert ask.last_refresh() == INCREMENTAL
    assert same(ask, "hourly")
    assert same(ask, "total")


def test_a_batch_that_landed_nothing_moves_the_base(hourly: Asker, lake: TinyLake) -> None:
    lake.events.append(lake.rows(0), snapshot_properties=lake.mark())
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == INCREMENTAL
    assert hourly.value("SELECT is_stale FROM svv_mv_info") == "f"
    assert same(hourly, "hourly")


def test_a_joined_dimension_that_changed_is_recomputed(ask: Asker, lake: TinyLake) -> None:
    create(ask, "by_category")
    assert ask.state("by_category") == 1
    lake.land(30)
    refresh(ask, "by_category")
    assert ask.last_refresh() == INCREMENTAL
    assert same(ask, "by_category")
    lake.set_products(2)
    lake.land(30)
    refresh(ask, "by_category")
    assert ask.last_refresh() == RECOMPUTED
    assert same(ask, "by_category")


def test_a_table_joined_with_itself_is_recomputed(ask: Asker, lake: TinyLake) -> None:
    create(ask, "pairs")
    assert ask.state("pairs") == 0
    lake.land(30)
    refresh(ask, "pairs")
    assert ask.last_refresh() == RECOMPUTED
    assert same(ask, "pairs")


def test_an_expired_base_costs_a_delta_by_offsets(hourly: Asker, lake: TinyLake) -> None:
    lake.land(30)
    lake.next_offset[7] = 0
    lake.land(40)
    lake.expire_all_but_current()
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == INCREMENTAL
    assert "expired" in hourly.note("hourly")
    assert same(hourly, "hourly")
    lake.land(40)
    refresh(hourly, "hourly")
    assert hourly.note("hourly") == ""
    assert same(hourly, "hourly")


def test_the_mark_before_a_compaction_counts(hourly: Asker, lake: TinyLake) -> None:
    lake.compact()
    refresh(hourly, "hourly")
    lake.land(30)
    lake.expire_all_but_current()
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == INCREMENTAL
    assert same(hourly, "hourly")


def _backfill(lake: TinyLake) -> None:
    lake.land(10, offsets=False)


def _replay_of_old_offsets(lake: TinyLake) -> None:
    before = dict(lake.next_offset)
    lake.next_offset = dict.fromkeys(before, 0)
    rows = lake.rows(5)
    lake.next_offset = before
    lake.events.append(rows, snapshot_properties=lake.mark())


def _another_topic(lake: TinyLake) -> None:
    lake.topic_id = "topic-2"
    lake.land(20)


def _delete_and_insert(lake: TinyLake) -> None:
    lake.events.delete("store_id = 'S05'")


def _rows_without_a_mark(lake: TinyLake) -> None:
    lake.land(10, marked=False)
    lake.land(1, marked=False)


@pytest.mark.parametrize(
    "change",
    [
        _backfill,
        _replay_of_old_offsets,
        _another_topic,
        _delete_and_insert,
        _rows_without_a_mark,
    ],
)
def test_what_offsets_cannot_tell_after_expiry_is_recomputed(
    hourly: Asker, lake: TinyLake, change: Any
) -> None:
    lake.land(20)
    change(lake)
    lake.land(20, marked=change is not _rows_without_a_mark)
    lake.expire_all_but_current()
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == RECOMPUTED
    assert "expired" in hourly.note("hourly")
    assert same(hourly, "hourly")


def test_a_table_made_anew_is_recomputed(hourly: Asker, lake: TinyLake) -> None:
    lake.catalog.drop_table(("retail_db", "events"))
    again = TinyLake(lake.root, seed=9)
    again.land(400)
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == RECOMPUTED
    assert same(hourly, "hourly")


def test_segments_are_folded_and_say_the_same(lake: TinyLake) -> None:
    engine = engine_over(lake, fold_limits=FoldLimits(rows=50, share=0.1))
    ask = Asker(Session(engine, 1))
    ask.do(
        "CREATE EXTERNAL SCHEMA lake FROM DATA CATALOG DATABASE 'retail_db' IAM_ROLE default",
        "CREATE SCHEMA mart",
    )
    create(ask, "hourly", "total")
    for _ in range(8):
        lake.land(30)
        refresh(ask, "hourly", "total")
        assert same(ask, "hourly")
        assert same(ask, "total")
    ask.session.close()
    engine.close()
    reopened = engine_over(lake)
    ask = Asker(Session(reopened, 1))
    assert ask.value("SELECT generation FROM local_mv_detail WHERE name = 'hourly'") > 1
    assert ask.value("SELECT MAX(segment_count) FROM local_mv_detail WHERE name = 'hourly'") < 8
    lake.land(30)
    refresh(ask, "hourly", "total")
    assert same(ask, "hourly")
    assert same(ask, "total")
    ask.session.close()
    reopened.close()


def test_any_sequence_of_changes_leaves_the_views_exact(ask: Asker, lake: TinyLake) -> None:
    create(ask, *("hourly", "by_category", "total", "sales", "packed"))
    random = Random(20_261_123)
    changes: list[Any] = [lake.land] * 6 + [lake.compact, lake.expire_all_but_current, _backfill]
    for _ in range(30):
        change = random.choice(changes)
        if change == lake.land:
            lake.land(random.randrange(1, 40))
        elif change is _backfill:
            _backfill(lake)
        else:
            change()
        if random.random() < 0.6:
            view = random.choice(["hourly", "by_category", "total", "sales", "packed"])
            refresh(ask, view)
            assert same(ask, view)
    for view in ("hourly", "by_category", "total", "sales", "packed"):
        refresh(ask, view)
        assert same(ask, view)


def test_another_layout_of_the_program_is_recomputed(
    hourly: Asker, lake: TinyLake, engine: Engine
) -> None:
    cursor = engine.store.cursor()
    cursor.execute("UPDATE bookkeeping.materialized_views SET layout = 'of an older program'")
    cursor.close()
    lake.land(10)
    refresh(hourly, "hourly")
    assert hourly.last_refresh() == RECOMPUTED
    assert same(hourly, "hourly")


def test_a_refresh_inside_a_transaction_is_lost_with_it(hourly: Asker, lake: TinyLake) -> None:
    lake.land(50)
    before = hourly.rows("SELECT * FROM mart.hourly ORDER BY 1, 2, 3")
    hourly.do("BEGIN", "REFRESH MATERIALIZED VIEW mart.hourly")
    assert same(hourly, "hourly")
    hourly.do("ROLLBACK")
    assert hourly.rows("SELECT * FROM mart.hourly ORDER BY 1, 2, 3") == before
    hourly.do("BEGIN", "REFRESH MATERIALIZED VIEW mart.hourly", "COMMIT")
    assert same(hourly, "hourly")


def test_a_second_refresh_of_the_same_view_is_refused(
    hourly: Asker, lake: TinyLake, engine: Engine
) -> None:
    lake.land(10)
    hourly.do("BEGIN", "REFRESH MATERIALIZED VIEW mart.hourly")
    other = Asker(Session(engine, 2))
    with pytest.raises(WarehouseError, match="already running"):
        refresh(other, "hourly")
    assert "Serializable isolation violation" in other.last_refresh()
    hourly.do("COMMIT")
    refresh(other, "hourly")
    assert other.last_refresh() == UP_TO_DATE
    other.session.close()


def test_a_session_that_ends_lets_go_of_its_views(
    hourly: Asker, lake: TinyLake, engine: Engine
) -> None:
    lake.land(10)
    other = Asker(Session(engine, 2))
    other.do("BEGIN", "REFRESH MATERIALIZED VIEW mart.hourly")
    other.session.close()
    refresh(hourly, "hourly")
    assert same(hourly, "hourly")


def test_the_refresh_history_counts_microseconds(hourly: Asker, lake: TinyLake) -> None:
    lake.land(10)
    refresh(hourly, "hourly")
    ((kind, duration, seconds, name),) = hourly.rows(
        "SELECT refresh_type, duration, DATEDIFF(second, start_time, end_time), mv_name "
        "FROM sys_mv_refresh_history"
    )
    assert (kind, name) == ("Manual", "hourly")
    assert 1_000 < duration < 60_000_000
    assert seconds <= duration / 1_000_000 + 1


DIGEST = (
    "SELECT refresh_count, row_count, digest, base, columns FROM local_mv_digest "
    "WHERE schema_name = 'mart' AND name = 'hourly'"
)


def test_the_digest_is_that_of_the_rows_and_tells_how_far_they_go(
    hourly: Asker, lake: TinyLake
) -> None:
    seen = set()
    for number, count in enumerate((30, 1, 60), 1):
        lake.land(count)
        refresh(hourly, "hourly", "hourly")
        ((refreshes, rows, digest, base, columns),) = hourly.rows(DIGEST)
        row = ", ".join(name for name, _ in json.loads(columns))
        told = f"SELECT count(*), sum(hash({row}))::VARCHAR FROM mart.hourly"
        assert hourly.session.cursor.execute(told).fetchone() == (rows, digest)
        assert refreshes == number
        folded = json.loads(base)[f"{DATABASE}.events"]
        assert folded["until"] == {str(p): offset for p, offset in lake.next_offset.items()}
        assert folded["snapshot_id"] == lake.events.metadata.current_snapshot_id
        assert json.loads(columns)[:2] == [["event_date", "DATE"], ["event_hour", "INTEGER"]]
        seen.add(digest)
    assert len(seen) == 3


def test_the_digest_is_of_one_moment_inside_a_transaction(hourly: Asker, lake: TinyLake) -> None:
    other = Asker(Session(hourly.session.engine, 2))
    other.do("BEGIN")
    before = other.rows(DIGEST)
    lake.land(30)
    refresh(hourly, "hourly")
    assert other.rows(DIGEST) == before
    other.do("COMMIT")
    assert other.rows(DIGEST) == hourly.rows(DIGEST) != before
    other.session.close()


def test_a_digest_of_an_empty_view_and_of_no_view(ask: Asker) -> None:
    assert ask.rows("SELECT * FROM local_mv_digest") == []
    ask.do(
        "CREATE MATERIALIZED VIEW mart.nothing AUTO REFRESH NO AS SELECT store_id, COUNT(*) AS n "
        "FROM lake.events WHERE event_type = 'none' GROUP BY 1"
    )
    assert ask.rows("SELECT row_count, digest FROM local_mv_digest") == [(0, "0")]
