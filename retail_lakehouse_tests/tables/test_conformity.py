"""What a contract forbids is found in rows that landed all the same, and good rows pass."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from retail_lakehouse.contracts.cases import BROKER_TIME_MS, CASES, Case
from retail_lakehouse.contracts.events import EVENTS, INVENTORY, TRANSACTIONS, EventContract
from retail_lakehouse.contracts.judge import Good, judge
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.tables.conformity import broken_rules, columns_of
from retail_lakehouse_tests.resources.fakes import good_rows


def changed(event: EventContract, **values: Any) -> pa.Table:
    """One good row with other values in some columns."""
    rows = good_rows(event_table(event), 1).select(columns_of(event))
    for name, value in values.items():
        place = rows.schema.get_field_index(name)
        column = pa.array([value], rows.schema.field(name).type)
        rows = rows.set_column(place, pa.field(name, column.type), column)
    return rows


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_good_rows_break_no_rule(event: EventContract) -> None:
    assert broken_rules(changed(event), event) == {}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.reason is None], ids=lambda case: case.name
)
def test_what_the_judge_lets_in_breaks_no_rule(case: Case) -> None:
    verdict = judge(case.body, BROKER_TIME_MS, INVENTORY)
    assert isinstance(verdict, Good)
    at = datetime.fromtimestamp(int(str(verdict.values["event_timestamp"])) / 1000, UTC)
    derived = {
        "event_ts": at.replace(tzinfo=None),
        "event_date": at.date(),
        "event_hour": at.hour,
        "kafka_timestamp": datetime.fromtimestamp(BROKER_TIME_MS / 1000, UTC).replace(tzinfo=None),
    }
    assert broken_rules(changed(INVENTORY, **verdict.values, **derived), INVENTORY) == {}


@pytest.mark.parametrize(
    ("event", "values", "rule"),
    [
        (INVENTORY, {"store_id": None}, "store_id is NULL"),
        (INVENTORY, {"store_id": "x" * 17}, "store_id has not 1 to 16 characters"),
        (INVENTORY, {"store_id": ""}, "store_id has not 1 to 16 characters"),
        (INVENTORY, {"quantity_reserved": -1}, "quantity_reserved is below 0"),
        (INVENTORY, {"unit_cost": Decimal("-0.0001")}, "unit_cost is below 0"),
        (
            INVENTORY,
            {"event_type": "LOST"},
            "event_type is none of ADJUST, SALE, RECEIVE, TRANSFER",
        ),
        (INVENTORY, {"event_type": "SALE"}, "quantity_delta is NULL on SALE"),
        (
            INVENTORY,
            {"event_type": "SALE", "quantity_delta": 3},
            "quantity_delta has the wrong sign on SALE",
        ),
        (
            INVENTORY,
            {"event_type": "TRANSFER", "quantity_delta": 0},
            "quantity_delta has the wrong sign on TRANSFER",
        ),
        (TRANSACTIONS, {"quantity": 0}, "quantity is 0"),
        (TRANSACTIONS, {"line_number": 0}, "line_number is below 1"),
        (TRANSACTIONS, {"event_hour": 25}, "event_hour is not that of event_ts"),
    ],
)
def test_a_row_that_breaks_a_rule_is_told_by_it(
    event: EventContract, values: dict[str, Any], rule: str
) -> None:
    assert broken_rules(changed(event, **values), event) == {rule: 1}


@pytest.mark.parametrize("minutes, passed", [(10, True), (11, False), (-7 * 24 * 60 - 1, False)])
def test_an_event_time_is_held_against_the_broker_time(minutes: int, passed: bool) -> None:
    at = changed(INVENTORY)["event_ts"][0].as_py()
    rows = changed(INVENTORY, kafka_timestamp=at - timedelta(minutes=minutes))
    assert (broken_rules(rows, INVENTORY) == {}) is passed


def test_a_backfilled_row_is_held_against_no_broker_time() -> None:
    assert broken_rules(changed(INVENTORY, kafka_timestamp=None), INVENTORY) == {}


def test_no_row_breaks_no_rule() -> None:
    assert broken_rules(changed(INVENTORY).slice(0, 0), INVENTORY) == {}
