"""Rules of what `erase` says: what was done, how views followed, and when the last file goes."""

import json
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.commands.erase import (
    closing_lines,
    left_line,
    table_lines,
    view_line,
    views_left,
)
from retail_lakehouse.contracts.maintenance import WHOLE_EVERY_HOURS
from retail_lakehouse.local.erase import ErasureReport
from retail_lakehouse.maintenance.erasure import TableErasure
from retail_lakehouse.settings import Settings, SettingsError
from retail_lakehouse.warehouse.refresh import RefreshOutcome, RefreshResult
from retail_lakehouse_tests.streaming.test_arguments import AWS

ERASED = TableErasure("retail_db.clickstream_events", 29, 8, 8, 0, 0)


def _refreshed(status: str, incremental: bool) -> RefreshResult:
    return RefreshResult(
        view="mv_web_sessions",
        outcome=RefreshOutcome.REFRESHED,
        started_at=datetime.now(UTC),
        duration_seconds=0.2,
        status=status,
        incremental=incremental,
    )


def test_the_deletes_and_their_cleaning_are_told_apart() -> None:
    deleted, cleaned = table_lines(ERASED)
    assert "29 deleted, by 8 position delete files" in deleted
    assert "8 data files rewritten without them; 0 delete files left" in cleaned


def test_the_last_file_s_time_and_kafka_s_retention_are_told(tmp_path: Path) -> None:
    at = datetime(2026, 11, 23, 11, 17, tzinfo=UTC)
    report = ErasureReport((ERASED,), int(at.timestamp() * 1000))
    goes, kafka = closing_lines(report, Settings.load({"state_dir": tmp_path}))
    assert "after 11:17 UTC (15 minutes of grace" in goes
    assert f"expires every {WHOLE_EVERY_HOURS} hours at the latest" in goes
    assert "168 hours" in kafka


def test_a_view_that_another_refresh_computed_anew_is_not_told_as_folded() -> None:
    assert view_line(_refreshed("recomputed from scratch", False)) == (
        "recomputed from scratch (0.2 s)"
    )
    assert "came first and computed it anew, in full" in view_line(_refreshed("incremental", True))


def test_a_view_that_was_not_computed_anew_still_shows_the_customer_and_is_named() -> None:
    good = _refreshed("recomputed from scratch", False)
    others = {"v_failed": RefreshOutcome.FAILED, "v_busy": RefreshOutcome.BUSY}
    results = [good, *(replace(good, view=v, outcome=how) for v, how in others.items())]
    assert views_left(results, ["v_held"]) == ["v_failed", "v_busy", "v_held"]
    assert views_left([good], []) == []
    assert "still shown by v_busy, v_held" in left_line(["v_busy", "v_held"])
    assert "`retail-lakehouse views refresh v_busy v_held`" in left_line(["v_busy", "v_held"])


@pytest.mark.parametrize("customer", ["c-1", "o'neil\"7"])
def test_on_aws_the_glue_job_is_named_by_a_command_that_a_shell_takes(
    monkeypatch: pytest.MonkeyPatch, customer: str
) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(f"RETAIL_LAKEHOUSE_{name.upper()}", str(value))
    result = CliRunner().invoke(app, ["erase", "--customer", customer])
    assert isinstance(result.exception, SettingsError)
    *_, command, job_name, job, arguments, told = shlex.split(str(result.exception))
    assert (command, job_name, job) == ("start-job-run", "--job-name", "lakehouse_maintenance")
    assert arguments == "--arguments"
    assert json.loads(told) == {"--task": "erasure", "--customer": customer}
