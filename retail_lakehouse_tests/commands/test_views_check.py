"""Rules of `views check`: one line a view, the first differing row, the exit code."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.local.recompute import check
from retail_lakehouse.local.recompute.check import RECOMPUTED, ViewParity
from retail_lakehouse.settings import Settings

EXAMPLE = "the raw rows give ('s1', 3), the view shows ('s1', 4)"


def _answering(different: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def check_views(_: Settings, views: Iterable[str]) -> list[ViewParity]:
        return [
            ViewParity(v, 7, 1, 1, EXAMPLE, 0.1)
            if v == different
            else ViewParity(v, 7, 0, 0, "", 0.1)
            for v in views
        ]

    monkeypatch.setattr(check, "check_views", check_views)


@pytest.fixture(autouse=True)
def _warehouse_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Something answers where the warehouse would: a port of the test's own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        monkeypatch.setenv("RETAIL_LAKEHOUSE_WAREHOUSE_PORT", port)
        yield


def _run(folder: Path, *names: str) -> tuple[int, list[str]]:
    answer = CliRunner().invoke(app, ["views", "check", *names, "--state-dir", str(folder)])
    return answer.exit_code, answer.output.splitlines()


def test_equal_views_are_a_line_each_and_exit_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answering("", monkeypatch)
    code, lines = _run(tmp_path)
    assert code == 0
    assert [line.split()[:2] for line in lines] == [[name, "equal"] for name in RECOMPUTED]


def test_a_view_that_differs_shows_its_first_differing_row_and_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answering("web_funnel", monkeypatch)
    code, lines = _run(tmp_path, "web_funnel", "mart.pipeline_lag")
    assert code == 1
    assert lines[0].split()[:2] == ["web_funnel", "different"]
    assert EXAMPLE in lines[1]
    assert lines[2].split()[:2] == ["pipeline_lag", "equal"]


def test_a_view_that_cannot_be_checked_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    code, lines = _run(tmp_path, "mv_stock_newest")
    assert code == 2
    assert any("cannot be checked" in line for line in lines)
