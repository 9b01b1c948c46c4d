"""Rules of `views release`, and of what `views list` and `status` say of a hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.contracts.views import materialized_over
from retail_lakehouse.local.facts import read_views
from retail_lakehouse.local.status import collect_status, held_views
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.holds import Finding, add_findings, holds_file, read_holds

AT = 1_800_000_000_000
GAP = Finding.of("inventory_events", Measure.OFFSETS_CONTIGUOUS, 7, "A gap.", AT)
OVER = sorted(f"mart.{view.name}" for view in materialized_over("inventory_events"))


def _run(folder: Path, *words: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["views", *words, "--state-dir", str(folder)])
    return answer.exit_code, answer.output if answer.exception is None else str(answer.exception)


@pytest.fixture
def held(tmp_path: Path) -> Path:
    add_findings(tmp_path, [GAP])
    return tmp_path


def test_a_release_names_the_finding_the_views_and_who(held: Path) -> None:
    code, output = _run(held, "release", "retail_db.inventory_events", "--who", "ana")
    assert code == 0
    assert f"Released {GAP.code} by ana: {', '.join(GAP.views)}" in output
    assert "A gap." in output
    (release,) = read_holds(held).releases
    assert (release.code, release.by) == (GAP.code, "ana")


def test_a_view_is_named_with_or_without_its_schema(held: Path) -> None:
    assert _run(held, "release", "mv_stock_newest")[0] == 0
    assert _run(held, "release", "mart.mv_inventory_hourly")[0] == 0
    left = {view for each in read_holds(held).findings for view in each.views}
    assert left == set(GAP.views) - {"mv_stock_newest", "mv_inventory_hourly"}


def test_only_the_finding_that_is_named_is_let_go(held: Path) -> None:
    other = Finding.of("inventory_events", Measure.UNIQUE_BY_KEY, 8, "Copies.", AT)
    add_findings(held, [other])
    assert _run(held, "release", "inventory_events", "--finding", other.code)[0] == 0
    assert [each.code for each in read_holds(held).findings] == [GAP.code]


def test_a_plain_view_is_not_let_go_and_the_sentence_names_what_it_reads(held: Path) -> None:
    words = ["views", "release", "mart.stock_now", "--state-dir", str(held)]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 2
    assert "mv_stock_newest" in answer.output
    assert read_holds(held).hold_of("mv_stock_newest") is not None


def test_nothing_to_let_go_is_a_sentence_and_no_success(tmp_path: Path) -> None:
    code, output = _run(tmp_path, "release", "mv_stock_newest")
    assert code == 1
    assert "mv_stock_newest is not held. Nothing is held." in output


def test_the_list_of_views_says_since_when_and_why(held: Path) -> None:
    code, output = _run(held, "list")
    assert code == 0
    (line,) = (each for each in output.splitlines() if each.startswith("Held since"))
    assert line.startswith("Held since 2027-01-15T08:00:00Z: mart.mv_")
    assert all(view in line for view in OVER)
    assert "inventory_events, offsets_contiguous: A gap." in output
    assert "held" not in _run(held / "other", "list")[1].lower()


def test_the_status_says_it_of_each_view_and_once_among_the_problems(held: Path) -> None:
    told = collect_status(Settings.load({"state_dir": held}))
    views, problems = told["views"], told["problems"]
    assert isinstance(views, dict)
    assert isinstance(problems, list)
    assert views["mart.mv_stock_newest"]["held_since"] == "2027-01-15T08:00:00Z"
    assert "A gap." in views["mart.mv_stock_newest"]["held_reason"]
    # A plain view shows what those under it hold.
    assert views["mart.stock_now"]["held_since"] == "2027-01-15T08:00:00Z"
    assert views["mart.mv_web_sessions"]["held_since"] is None
    assert len([each for each in problems if "Held since" in str(each)]) == 1
    json.dumps(told)


def test_a_book_that_cannot_be_read_is_told_and_breaks_no_status(held: Path) -> None:
    holds_file(held).write_text("{")
    (sentence,) = held_views(read_views(held))
    assert "so no view is refreshed" in sentence
