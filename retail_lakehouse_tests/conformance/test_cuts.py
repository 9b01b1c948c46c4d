"""The same bytes, cut differently, give the same tables, quarantine and counts."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retail_lakehouse.contracts.events import CLICKSTREAM, INVENTORY, TRANSACTIONS, EventContract
from retail_lakehouse.settings import Settings
from retail_lakehouse.tables.catalog import open_catalog
from retail_lakehouse.tables.evolve import ensure_tables
from retail_lakehouse_tests.conformance.engines import TOPIC_ID, StartEngine, land
from retail_lakehouse_tests.conformance.landed import (
    assert_is,
    assert_marks_hold,
    read_tables,
    shuffled_within,
)
from retail_lakehouse_tests.conformance.records import (
    HORIZON_HOURS,
    NOW_MS,
    Batch,
    Record,
    corpus,
    cut_at,
    cut_by_partition,
    cut_evenly,
    end_of,
    event,
)
from retail_lakehouse_tests.conformance.reference import expected

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

RECORDS = corpus()
WANTED = expected(RECORDS, INVENTORY, HORIZON_HOURS)
CUTS: dict[str, list[Batch]] = {
    "one batch": [RECORDS],
    "one batch, out of order": [shuffled_within(RECORDS)],
    "two halves": cut_evenly(RECORDS, 2),
    "five parts": cut_evenly(RECORDS, 5),
    "partition after partition": cut_by_partition(RECORDS),
    "partitions out of step": cut_at(RECORDS, [{0: 0.9}, {0: 0.95, 1: 0.8}, {2: 0.97, 1: 0.85}]),
    # Where the sequences of copies lie: one record a batch.
    "record by record at the end": cut_at(
        RECORDS, [dict.fromkeys((0, 1, 2), 1 - n / 60) for n in range(12, 0, -1)]
    ),
}


@pytest.mark.parametrize("batches", CUTS.values(), ids=CUTS.keys())
def test_a_records_fate_does_not_hang_on_where_a_batch_begins(
    start_engine: StartEngine, lakehouse: Settings, batches: list[Batch]
) -> None:
    land(start_engine, lakehouse, INVENTORY, batches)
    landed = read_tables(lakehouse, INVENTORY)
    assert_is(landed, WANTED, RECORDS)
    assert_marks_hold(landed)
    assert landed.last_mark.until == end_of(RECORDS)
    assert {row["kafka_topic_id"] for row in landed.rows + landed.quarantine} == {TOPIC_ID}


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shares=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=3),
    restarts=st.booleans(),
)
def test_cuts_that_nobody_thought_of_give_the_same_tables(
    start_engine: StartEngine, lakehouse: Settings, shares: list[list[float]], restarts: bool
) -> None:
    _empty(lakehouse)
    batches = cut_at(RECORDS, [dict(enumerate(sorted_by)) for sorted_by in sorted(shares)])
    if restarts:
        for batch in batches:
            land(start_engine, lakehouse, INVENTORY, [batch])
    else:
        land(start_engine, lakehouse, INVENTORY, batches)
    landed = read_tables(lakehouse, INVENTORY)
    assert_is(landed, WANTED, RECORDS)
    assert_marks_hold(landed)


ELSEWHERE = [
    Record(partition, offset, NOW_MS + ms, None, event(name, NOW_MS))
    for partition, offset, ms, name in (
        *((0, 0, 0, "left"), (0, 1, 5, "twice"), (0, 2, 6, "right")),
        *((1, 0, 1, "far"), (1, 1, 3, "twice"), (1, 2, 9, "near")),
    )
]


@pytest.mark.parametrize(
    "batches, lands_in",
    [
        ([ELSEWHERE], 1),
        (cut_evenly(ELSEWHERE, 3), 1),
        (cut_by_partition(ELSEWHERE), 1),
        (cut_by_partition(ELSEWHERE)[::-1], 0),
    ],
    ids=["one batch", "three parts", "1 before 0", "0 before 1"],
)
def test_of_copies_in_two_partitions_exactly_one_lands(
    start_engine: StartEngine, lakehouse: Settings, batches: list[Batch], lands_in: int
) -> None:
    land(start_engine, lakehouse, INVENTORY, batches)
    landed = read_tables(lakehouse, INVENTORY)
    assert_marks_hold(landed)
    total = landed.last_mark.total
    assert (total.landed, total.duplicates, total.quarantined) == (5, 1, 0)
    rows = {row["event_id"]: row for row in landed.rows}
    assert set(rows) == {"left", "twice", "right", "far", "near"}
    # Within a batch the earlier of the two by the broker's clock.
    assert rows["twice"]["kafka_partition"] == lands_in
    assert rows["twice"]["event_timestamp"] == NOW_MS


def test_many_dropped_records_are_dropped_one_by_one(
    start_engine: StartEngine, lakehouse: Settings
) -> None:
    count = 10_500
    originals = [event(f"e{n}", NOW_MS - n % 7_000_000) for n in range(count)]
    records = [
        Record(n % 2, n // 2, NOW_MS, b"k", value) for n, value in enumerate(originals + originals)
    ]
    land(start_engine, lakehouse, INVENTORY, [records])
    landed = read_tables(lakehouse, INVENTORY)
    assert_is(landed, expected(records, INVENTORY, HORIZON_HOURS), records)
    assert landed.last_mark.total.duplicates == count


_LINE = (
    b'{"event_id":"t%d","transaction_id":"T1","line_number":1,"store_id":"S0001","sku":"SKU-1",'
    b'"quantity":%d,"unit_price":"10.00","discount":0,"currency":"INR","channel":"STORE",'
    b'"payment_type":"UPI","event_timestamp":%d}'
)
_STEP = (
    b'{"event_id":"c%d","session_id":"s1","customer_id":null,"page_type":"PRODUCT",'
    b'"action":"VIEW","referrer":%d,"event_timestamp":%d}'
)


@pytest.mark.parametrize("contract, text", [(TRANSACTIONS, _LINE), (CLICKSTREAM, _STEP)])
def test_the_other_events_land_by_their_own_contracts(
    start_engine: StartEngine, lakehouse: Settings, contract: EventContract, text: bytes
) -> None:
    values = [text % (n % 8, n % 8 // 2, NOW_MS) for n in range(12)]
    records = [Record(0, n, NOW_MS, None, value) for n, value in enumerate(values)]
    land(start_engine, lakehouse, contract, cut_evenly(records, 2))
    wanted = expected(records, contract, HORIZON_HOURS)
    assert wanted.duplicates
    landed = read_tables(lakehouse, contract)
    assert_is(landed, wanted, records)
    assert_marks_hold(landed)


def _empty(settings: Settings) -> None:
    catalog = open_catalog(settings)
    for name in ("inventory_events", "inventory_events_quarantine"):
        catalog.drop_table(("retail_db", name))
    ensure_tables(catalog, settings)
