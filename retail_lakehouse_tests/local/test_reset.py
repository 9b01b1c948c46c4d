"""Only what the platform made is removed, and never while it is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from retail_lakehouse.local.reset import empty, what_to_remove
from retail_lakehouse.local.supervisor import AlreadyRunningError, hold
from retail_lakehouse.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("kafka/data", "catalog", "cache/jars", "tools/uv", "photos"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(b"x" * 100)
    return Settings.load({"state_dir": tmp_path})


def left(settings: Settings) -> set[str]:
    return {each.name for each in settings.root.iterdir()}


def test_downloads_and_strangers_are_kept(settings: Settings) -> None:
    assert empty(settings) >= 200
    assert left(settings) == {"cache", "tools", "photos"}


def test_downloads_go_when_asked_and_strangers_still_stay(settings: Settings) -> None:
    empty(settings, everything=True)
    assert left(settings) == {"photos"}


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
