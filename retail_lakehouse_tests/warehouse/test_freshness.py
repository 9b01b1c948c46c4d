"""Rules of a view's age: an empty view has none, and a time is the same in any zone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from retail_lakehouse.contracts.views import VIEWS, view_named
from retail_lakehouse.warehouse.client import Session, WarehouseConfig
from retail_lakehouse.warehouse.errors import WarehouseRefused
from retail_lakehouse.warehouse.query import view_freshness

READ_AT = datetime(2026, 11, 23, 4, 17, 31, tzinfo=UTC)
NEWEST_AT = READ_AT - timedelta(seconds=30)
HOURLY = view_named("mv_inventory_hourly")


class _Connection:
    """Answers every statement with one row."""

    description: Sequence[tuple[str]] | None = [("column",)]

    def __init__(self, *row: object) -> None:
        self._row = row

    def cursor(self) -> "_Connection":
        return self

    def close(self) -> None:
        pass

    def execute(self, sql: str, parameters: object) -> None:
        pass

    def fetchall(self) -> list[tuple[object, ...]]:
        return [self._row]


def _session(*row: object) -> Session:
    return Session(_Connection(*row), WarehouseConfig("127.0.0.1", 1, "dev"), 0.0)


def test_an_empty_view_has_no_age() -> None:
    fresh = view_freshness(_session(0, None, READ_AT), HOURLY)
    assert (fresh.rows, fresh.newest_event_ms, fresh.lag_seconds) == (0, None, None)


@pytest.mark.parametrize("newest", [NEWEST_AT, NEWEST_AT.replace(tzinfo=None)])
def test_an_age_does_not_hang_on_the_zone_that_a_time_is_told_in(newest: datetime) -> None:
    elsewhere = READ_AT.astimezone(timezone(timedelta(hours=7)))
    fresh = view_freshness(_session(3, newest, elsewhere), HOURLY)
    assert fresh.lag_seconds == 30.0
    assert fresh.newest_event_ms == int(READ_AT.timestamp() * 1000) - 30_000


def test_a_view_without_a_column_for_its_newest_event_is_not_asked_for_it() -> None:
    ageless = [view for view in VIEWS if view.newest_column is None]
    assert ageless
    for view in ageless:
        with pytest.raises(WarehouseRefused, match=f"The view {view.name} has no column"):
            view_freshness(_session(1, None, READ_AT), view)
