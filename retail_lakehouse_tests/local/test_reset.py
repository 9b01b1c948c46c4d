"""Only what the platform made is removed, and never while it is in use."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from retail_lakehouse.job_settings import job_arguments
from retail_lakehouse.local import processes
from retail_lakehouse.local.broker import Broker
from retail_lakehouse.local.dagster_instance import dagster_home
from retail_lakehouse.local.erasures import ErasureJournal
from retail_lakehouse.local.java import JavaHome
from retail_lakehouse.local.reset import DOWNLOADS, STATE, empty, what_to_remove
from retail_lakehouse.local.simulator.options import LEDGER_FOLDER
from retail_lakehouse.local.state_folder import AlreadyRunningError, hold
from retail_lakehouse.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("kafka/data", "catalog", "cache/jars", "tools/uv", "photos"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(b"x" * 100)
    return Settings.load({"state_dir": tmp_path})


def left_in(settings: Settings) -> set[str]:
    return {each.name for each in settings.root.iterdir()}


def test_downloads_and_strangers_are_kept(settings: Settings) -> None:
    assert empty(settings) >= 200
    assert left_in(settings) == {"cache", "tools", "photos"}


def test_downloads_go_when_asked_and_strangers_still_stay(settings: Settings) -> None:
    empty(settings, everything=True)
    assert left_in(settings) == {"photos"}


def test_nothing_is_removed_while_the_platform_runs(settings: Settings) -> None:
    lock = hold(settings.root)
    with pytest.raises(AlreadyRunningError):
        empty(settings)
    lock.close()
    assert (settings.root / "kafka").exists()


def test_an_absent_folder_is_not_made(tmp_path: Path) -> None:
    settings = Settings.load({"state_dir": tmp_path / "none"})
    assert what_to_remove(settings) == []
    assert empty(settings) == 0
    assert not settings.root.exists()


def test_what_is_removed_is_what_the_parts_write(tmp_path: Path) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    root, job = settings.root, job_arguments(settings, "inventory")
    written = [
        Broker(root, JavaHome(tmp_path, "JAVA_HOME", "17"), [], 1, 2)._home,
        settings.catalog_db,
        Path(settings.warehouse_uri.removeprefix("file://")),
        Path(job.checkpoint),
        Path(job.index_dir),
        Path(job.lock_dir),
        settings.lock_dir,
        processes.log_path(root, "inventory"),
        processes.record_path(root, "inventory"),
        root / LEDGER_FOLDER,
        settings.password_file,
        dagster_home(root),
        settings.alerts_dir,
        ErasureJournal(root)._path,
    ]
    assert {path.relative_to(root).parts[0] for path in written} == STATE
    assert settings.cache.relative_to(root).parts[0] in DOWNLOADS


def test_what_a_killed_dev_left_running_is_ended_first(settings: Settings) -> None:
    sleeper = processes.Command([sys.executable, "-c", "import time; time.sleep(300)"])
    left = processes.spawn(settings.root, "simulator", sleeper)
    empty(settings)
    assert left.wait(timeout=5) != 0
    assert left_in(settings) == {"cache", "tools", "photos"}


def test_the_folder_of_the_lock_goes_last(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then no other run can begin."""
    order: list[str] = []
    remove = shutil.rmtree

    def note(path: Path) -> None:
        order.append(path.name)
        remove(path)

    (settings.root / "warehouse").mkdir()
    monkeypatch.setattr(shutil, "rmtree", note)
    empty(settings)
    assert order == ["catalog", "kafka", "warehouse", "run"]


def test_a_link_is_removed_and_what_it_leads_to_is_kept(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("a larger disk")
    (elsewhere / "file").write_bytes(b"x" * 5_000)
    (settings.root / "warehouse").symlink_to(elsewhere)
    assert 200 <= empty(settings) < 5_000
    assert left_in(settings) == {"cache", "tools", "photos"}
    assert (elsewhere / "file").exists()
