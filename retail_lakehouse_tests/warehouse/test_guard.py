"""One refresh of a view at a time, between threads and between processes."""

import multiprocessing
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from retail_lakehouse.warehouse.errors import ViewBusy
from retail_lakehouse.warehouse.guard import view_guard


def _hold(lock_dir: Path, held: Event, release: Event) -> None:
    with view_guard("mv_x", lock_dir):
        held.set()
        release.wait(30)


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
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, release))
    process.start()
    try:
        assert held.wait(30)
        with pytest.raises(ViewBusy), view_guard("mv_x", tmp_path):
            pass
        process.kill()
        process.join(10)
        with view_guard("mv_x", tmp_path):
            pass
    finally:
        release.set()
        process.join(10)
