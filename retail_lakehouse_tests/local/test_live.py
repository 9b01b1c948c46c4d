"""Live means: a row of a view, read from the warehouse, came from an event of this start."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retail_lakehouse.contracts.view_contract import ViewContract
from retail_lakehouse.contracts.views import STOCK_NOW
from retail_lakehouse.local.live import LiveProbe
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse import query
from retail_lakehouse.warehouse.client import WarehouseClient
from retail_lakehouse.warehouse.query import ViewFreshness
from retail_lakehouse.warehouse.refresh_record import refreshes_file

STARTED_MS = 1_700_000_000_000
OLD_MS, NEW_MS = STARTED_MS - 1_000, STARTED_MS + 1_000


class Warehouse:
    """What the warehouse would answer, and how often somebody connected to it."""

    def __init__(self) -> None:
        self.newest_ms: int | None = None
        self.connections = 0

    @contextmanager
    def session(self, *_: object) -> Iterator[None]:
        self.connections += 1
        yield

    def freshness(self, _: object, view: ViewContract) -> ViewFreshness:
        assert view is STOCK_NOW
        newest_ms = self.newest_ms
        newest = None if newest_ms is None else datetime.fromtimestamp(newest_ms / 1000, UTC)
        return ViewFreshness(1, newest, datetime.now(UTC))


@pytest.fixture
def warehouse(monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    made = Warehouse()
    monkeypatch.setattr(WarehouseClient, "from_settings", lambda _: made)
    monkeypatch.setattr(query, "view_freshness", made.freshness)
    return made


def refresh_recorded(root: Path, newest_ms: int | None) -> None:
    """The record that a refresh of the views leaves."""
    path = refreshes_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [name.partition(".")[2] for name in STOCK_NOW.depends_on]
    told = {"newest_event_ms": newest_ms, "refreshed_at_ms": NEW_MS, "rows": 1}
    path.write_text(json.dumps(dict.fromkeys(names, told)))


@pytest.mark.parametrize(
    ("recorded_ms", "in_warehouse_ms", "live", "connections"),
    [
        (None, NEW_MS, False, 0),
        (OLD_MS, NEW_MS, False, 0),
        (STARTED_MS, NEW_MS, False, 0),
        (NEW_MS, None, False, 1),
        (NEW_MS, OLD_MS, False, 1),
        (NEW_MS, STARTED_MS, False, 1),
        (NEW_MS, NEW_MS, True, 1),
    ],
)
def test_live_is_what_the_warehouse_itself_shows_of_an_event_after_the_start(
    tmp_path: Path,
    warehouse: Warehouse,
    recorded_ms: int | None,
    in_warehouse_ms: int | None,
    live: bool,
    connections: int,
) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    refresh_recorded(settings.root, recorded_ms)
    warehouse.newest_ms = in_warehouse_ms
    assert LiveProbe(settings, STARTED_MS).is_live() is live
    # Every query bills on Redshift: nothing connects before a refresh has reported such an event.
    assert warehouse.connections == connections


def test_what_is_live_for_one_start_is_not_for_a_later_one(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    refresh_recorded(settings.root, NEW_MS)
    warehouse.newest_ms = NEW_MS
    assert LiveProbe(settings, STARTED_MS).is_live()
    assert not LiveProbe(settings, NEW_MS + 1).is_live()


def test_without_any_refresh_nothing_is_live_and_nobody_connects(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    warehouse.newest_ms = NEW_MS
    assert not LiveProbe(Settings.load({"state_dir": tmp_path}), STARTED_MS).is_live()
    assert warehouse.connections == 0
