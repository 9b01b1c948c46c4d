"""One refresh of a view at a time, between threads and between processes."""

import multiprocessing
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from retail_lakehouse.warehouse.errors import ViewBusy
from retail_lakehouse.warehouse.guard import view_guard


def _hold(lock_dir: Path, told: Connection) -> None:
    with view_guard("mv_x", lock_dir):
        told.send("held")
        told.recv()


def test_a_second_refresh_of_a_view_is_refused_in_another_thread(tmp_path: Path) -> None:
    outcome: list[str] = []

    def second() -> None:
        try:
            with view_guard("mv_x", None):
                outcome.append("held")
        except ViewBusy as busy:
            outcome.append(str(busy))

    with view_guard("mv_x", None):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(10)
        with view_guard("mv_y", None):
            pass
    assert outcome[0].startswith("The view mv_x is being refreshed")
    with view_guard("mv_x", None):
        pass


def test_a_second_refresh_of_a_view_is_refused_in_another_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(tmp_path, theirs))
    process.start()
    try:
        assert mine.poll(60)
        with pytest.raises(ViewBusy), view_guard("mv_x", tmp_path):
            pass
    finally:
        process.kill()
        process.join(10)
    with view_guard("mv_x", tmp_path):
        pass
