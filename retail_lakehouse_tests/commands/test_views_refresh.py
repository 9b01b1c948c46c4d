"""Rules of `views refresh` and `views list`: which views, one line a view, the exit code."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.contracts.views import (
    MATERIALIZED_VIEWS,
    VIEWS,
    ViewContract,
    ViewContractError,
)
from retail_lakehouse.resources.warehouse import Refreshed, StillFree, WarehouseResource
from retail_lakehouse.warehouse.refresh import RefreshOutcome
from retail_lakehouse.warehouse.refresh_record import (
    RowCount,
    ViewRecord,
    read_records,
    write_records,
)
from retail_lakehouse_tests.resources.fakes import FakeWarehouse

FIRST, SECOND = MATERIALIZED_VIEWS[:2]
SAID = "The warehouse said no."


class Warehouse(FakeWarehouse):
    """Refuses the views that a test names, in its own words."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, RefreshOutcome] = {}
        self.patience_seconds = 0.0

    def refresh(
        self,
        views: Sequence[ViewContract],
        label: str,
        patience_seconds: float = 0.0,
        plain_views: Sequence[ViewContract] = (),
        still_free: StillFree = list,
    ) -> Refreshed:
        """As WarehouseResource answers."""
        self.patience_seconds = patience_seconds
        told = super().refresh(views, label, patience_seconds, plain_views, still_free)
        results = [
            replace(each, outcome=self.ends[each.view], status=SAID, rows=None)
            if each.view in self.ends
            else each
            for each in told.results
        ]
        return replace(told, results=results)


@pytest.fixture
def warehouse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """Something answers where the warehouse would: a port of the test's own."""
    made = Warehouse()
    monkeypatch.setattr(WarehouseResource, "of", lambda settings: made)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RETAIL_LAKEHOUSE_WAREHOUSE_PORT", str(server.getsockname()[1]))
        yield made


def _run(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    answer = CliRunner().invoke(app, ["views", *arguments, "--state-dir", str(folder)])
    return answer.exit_code, answer.stdout.splitlines()


def test_all_materialized_views_are_refreshed_and_recorded_where_none_is_named(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    code, lines = _run(tmp_path, "refresh")
    names = [view.name for view in MATERIALIZED_VIEWS]
    assert code == 0
    assert [line.split()[:2] for line in lines] == [[name, "refreshed"] for name in names]
    assert warehouse.sessions == [("cli:views-refresh", tuple(names))]
    assert set(read_records(tmp_path)) == set(names)


def test_only_the_named_views_are_refreshed_with_or_without_their_schema(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    code, lines = _run(tmp_path, "refresh", SECOND.name, FIRST.qualified_name)
    assert code == 0
    assert [line.split()[0] for line in lines] == [SECOND.name, FIRST.name]
    assert list(read_records(tmp_path)) == sorted([FIRST.name, SECOND.name])


@pytest.mark.parametrize("name", ["mv_nothing", f"elsewhere.{FIRST.name}"])
def test_a_view_that_there_is_not_is_refused_before_anything_is_refreshed(
    tmp_path: Path, warehouse: Warehouse, name: str
) -> None:
    arguments = ["views", "refresh", FIRST.name, name, "--state-dir", str(tmp_path)]
    answer = CliRunner().invoke(app, arguments)
    assert isinstance(answer.exception, ViewContractError)
    assert f"There is no view {name!r}" in str(answer.exception)
    assert warehouse.sessions == []


@pytest.mark.parametrize("outcome", [RefreshOutcome.FAILED, RefreshOutcome.BUSY])
def test_one_view_that_was_not_refreshed_is_exit_1_and_told_with_its_reason(
    tmp_path: Path, warehouse: Warehouse, outcome: RefreshOutcome
) -> None:
    warehouse.ends = {FIRST.name: outcome}
    code, lines = _run(tmp_path, "refresh", FIRST.name, SECOND.name)
    assert code == 1
    assert lines[0].split() == [FIRST.name, outcome.value, "0.2", "s", "-", "rows"]
    assert lines[1] == f"  {SAID}"
    assert lines[2].split()[:2] == [SECOND.name, "refreshed"]
    assert len(lines) == 3
    assert list(read_records(tmp_path)) == [SECOND.name]


def test_a_refresh_that_runs_elsewhere_is_waited_for(tmp_path: Path, warehouse: Warehouse) -> None:
    _run(tmp_path, "refresh")
    assert warehouse.patience_seconds >= 30


def test_the_list_has_every_view_and_the_ages_of_what_is_known(tmp_path: Path) -> None:
    now_ms = round(time.time() * 1000)
    plain = next(view for view in VIEWS if not view.is_materialized)
    record = ViewRecord(now_ms - 100_000, 0.5, 42, now_ms + 60_000, "", 1, 0.1, True)
    write_records(tmp_path, {FIRST.name: record, plain.name: RowCount(7, now_ms - 300_000, now_ms)})
    code, lines = _run(tmp_path, "list")
    assert code == 0
    told = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert list(told) == [view.name for view in VIEWS]
    kind, rows, _, newest, refreshed = told[FIRST.name]
    assert (kind, rows, newest) == ("materialized", "42", "0.0")
    assert 100 <= float(refreshed) < 160
    kind, rows, counted, *_ = told[plain.name]
    assert (kind, rows) == ("plain", "7")
    assert 300 <= float(counted) < 360
    assert told[SECOND.name] == ["materialized", "-", "-", "-", "-"]
