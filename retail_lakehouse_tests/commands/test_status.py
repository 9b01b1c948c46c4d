"""The status page for people: what it shows beside the JSON that scripts read."""

from __future__ import annotations

from pathlib import Path

from retail_lakehouse.commands.display import pulse_line
from retail_lakehouse.commands.status import page
from retail_lakehouse.local.status import Pulse, collect_status
from retail_lakehouse.settings import Settings

PULSE = Pulse(3012.0, 6.5, 17.0, 120, 340)


def told(tmp_path: Path, **known: object) -> dict[str, object]:
    figures = {name: getattr(PULSE, name) for name in Pulse.__slots__}
    return {**collect_status(Settings.load({"state_dir": tmp_path})), **figures, **known}


def test_the_page_of_a_running_platform_has_the_live_line_of_dev(tmp_path: Path) -> None:
    lines = page(told(tmp_path, supervisor={"phase": "live", "pid": 7}))
    assert pulse_line(PULSE) in lines
    assert any(line.startswith("Dagster    http://127.0.0.1:") for line in lines)
    assert all(len(line) <= 80 for line in lines if str(tmp_path) not in line)


def test_the_page_of_a_stopped_platform_shows_no_live_line(tmp_path: Path) -> None:
    lines = page(told(tmp_path))
    assert "Running    no" in lines
    assert pulse_line(PULSE) not in lines
