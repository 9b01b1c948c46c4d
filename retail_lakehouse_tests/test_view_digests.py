"""Rules of the digests that a long run writes down: every refresh has its line or is named."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import view_digests
from benchmarks.view_digests import DigestRecorder
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.local.process_record import write_record
from retail_lakehouse.local.processes import record_path
from retail_lakehouse.local.recompute.captured import (
    CapturedDigest,
    CapturedError,
    CaptureEnd,
    NotCaptured,
    digests_file,
    read_lines,
)
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.client import WarehouseClient
from retail_lakehouse.warehouse.errors import WarehouseUnreachable
from retail_lakehouse.warehouse.refresh_record import ViewRecord, write_records

VIEW, OTHER = MATERIALIZED_VIEWS[0].name, MATERIALIZED_VIEWS[1].name


class Warehouse:
    """Stands for the warehouse: views at given refreshes, and whether it answers."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.root
        self.refreshes = {VIEW: 0, OTHER: 0}
        self.answers = True
        self.asked = 0

    def refresh(self, at_ms: int, *views: str) -> None:
        for view in views:
            self.refreshes[view] += 1
        record = ViewRecord(at_ms, 0.1, 1, None, "", 1, None, True)
        write_records(self.root, dict.fromkeys(views, record))

    def capture(self, _: Any, at_ms: int, refreshed_at_ms: dict[str, int]) -> list[CapturedDigest]:
        self.asked += 1
        if not self.answers:
            raise WarehouseUnreachable("No warehouse answers.")
        return [
            CapturedDigest(
                view,
                at_ms,
                refreshed_at_ms.get(view),
                number,
                number,
                "t",
                {0: number},
                5,
                (("k", "VARCHAR"),),
                number,
                2**100 + number,
            )
            for view, number in self.refreshes.items()
        ]

    def session(self, _: str) -> Warehouse:
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"state_dir": tmp_path})


@pytest.fixture
def warehouse(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    made = Warehouse(settings)
    monkeypatch.setattr(view_digests, "capture", made.capture)
    monkeypatch.setattr(WarehouseClient, "from_settings", lambda _: made)
    return made


def test_each_refresh_has_a_line_for_each_view_that_moved(
    settings: Settings, warehouse: Warehouse
) -> None:
    recorder = DigestRecorder(settings)
    recorder.look()
    assert warehouse.asked == 0
    warehouse.refresh(1000, VIEW, OTHER)
    recorder.look()
    recorder.look()
    warehouse.refresh(2000, VIEW)
    recorder.look()
    assert warehouse.asked == recorder.looks == 2
    lines = read_lines(digests_file(settings.root))
    assert [(c.view, c.refresh, c.refreshed_at_ms) for c in lines] == [  # type: ignore[union-attr]
        (VIEW, 1, 1000),
        (OTHER, 1, 1000),
        (VIEW, 2, 2000),
    ]
    assert recorder.unchanged == 1
    assert lines == recorder_lines(warehouse, lines)


def recorder_lines(warehouse: Warehouse, lines: list[Any]) -> list[Any]:
    """What was captured, by its numbers: nothing is lost on the way through the file."""
    return [
        CapturedDigest(
            c.view,
            c.captured_at_ms,
            c.refreshed_at_ms,
            c.refresh,
            c.refresh,
            "t",
            {0: c.refresh},
            5,
            (("k", "VARCHAR"),),
            c.refresh,
            2**100 + c.refresh,
        )
        for c in lines
    ]


def test_a_warehouse_that_is_back_before_the_next_refresh_loses_nothing(
    settings: Settings, warehouse: Warehouse
) -> None:
    recorder = DigestRecorder(settings)
    warehouse.refresh(1000, VIEW)
    warehouse.answers = False
    recorder.look()
    recorder.look()
    warehouse.answers = True
    recorder.look()
    recorder.stop()
    lines = read_lines(digests_file(settings.root))
    assert [type(line) for line in lines] == [CapturedDigest, CapturedDigest, CaptureEnd]


def test_a_refresh_that_could_not_be_read_is_named(
    settings: Settings, warehouse: Warehouse
) -> None:
    recorder = DigestRecorder(settings)
    warehouse.answers = False
    warehouse.refresh(1000, VIEW, OTHER)
    recorder.look()
    warehouse.refresh(2000, VIEW)
    recorder.look()
    recorder.stop()
    why = "WarehouseUnreachable: No warehouse answers."
    assert read_lines(digests_file(settings.root)) == [
        NotCaptured(1000, (VIEW,), why),
        NotCaptured(1000, (OTHER,), why),
        NotCaptured(2000, (VIEW,), why),
    ]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_recorder_sees_a_refresh_by_itself_and_looks_once_more_at_its_end(
    settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_digests, "POLL_SECONDS", 0.01)
    recorder = DigestRecorder(settings)
    recorder.start()
    warehouse.refresh(1000, VIEW)
    wait_until(lambda: recorder.looks == 1)
    recorder.stop()
    assert recorder.looks == 2


def test_what_ends_the_recorder_before_its_time_is_raised_by_stop(
    settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_digests, "POLL_SECONDS", 0.01)

    def broken(*_: Any) -> list[CapturedDigest]:
        warehouse.asked += 1
        raise KeyError("mv_new")

    monkeypatch.setattr(view_digests, "capture", broken)
    recorder = DigestRecorder(settings)
    recorder.start()
    warehouse.refresh(1000, VIEW)
    wait_until(lambda: warehouse.asked == 1)
    with pytest.raises(KeyError, match="mv_new"):
        recorder.stop()
    assert warehouse.asked == 1
    assert read_lines(digests_file(settings.root)) == []


def test_the_end_tells_refreshes_that_nobody_wrote_down(
    settings: Settings, warehouse: Warehouse
) -> None:
    recorder = DigestRecorder(settings)
    warehouse.refresh(1000, VIEW, OTHER)
    recorder.look()
    warehouse.refreshes[VIEW] += 2
    recorder.stop()
    *_, digest, end = read_lines(digests_file(settings.root))
    assert isinstance(digest, CapturedDigest)
    assert (digest.view, digest.refresh) == (VIEW, 3)
    assert isinstance(end, CaptureEnd)
    assert end.last_refreshes == {VIEW: 3, OTHER: 1}


def test_a_server_that_started_again_is_asked_what_was_refreshed_before_it_died(
    settings: Settings, warehouse: Warehouse
) -> None:
    recorder = DigestRecorder(settings)
    warehouse.refreshes[VIEW] += 1
    for number, pid in enumerate((os.getpid(), os.getppid()), 1):
        write_record(record_path(settings.root, "warehouse"), pid, {})
        recorder.look()
        recorder.look()
        assert recorder.looks == number
    (first, *_) = read_lines(digests_file(settings.root))
    assert isinstance(first, CapturedDigest)
    assert (first.view, first.refresh, first.refreshed_at_ms) == (VIEW, 1, None)


def test_a_torn_line_is_named(settings: Settings, warehouse: Warehouse) -> None:
    recorder = DigestRecorder(settings)
    warehouse.refresh(1000, VIEW)
    recorder.look()
    with digests_file(settings.root).open("a") as file:
        file.write('{"view": "mv_')
    with pytest.raises(CapturedError, match="Line 3 of"):
        read_lines(digests_file(settings.root))
