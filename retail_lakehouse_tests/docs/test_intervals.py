"""How often things happen: each page says what the code does, in words or in figures."""

import pytest

from retail_lakehouse.contracts.maintenance import (
    COMPACTION_CRON,
    HOUR_CLOSES_AFTER_MINUTES,
    ORPHAN_AGE_DAYS,
    ORPHANS_CRON,
    WHOLE_EVERY_HOURS,
)
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.contracts.tables import SNAPSHOTS_KEPT_LEAST
from retail_lakehouse.history.prune import TICKS_KEPT
from retail_lakehouse.sensors.edges import FAILING_HEARTBEAT_SECONDS, HEARTBEAT_SECONDS
from retail_lakehouse.sensors.tables import SELDOM, SPARE_SECONDS
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.writer import EXPIRE_EVERY_SECONDS
from retail_lakehouse_tests.docs.pages import Page

FAILING, ELSE = FAILING_HEARTBEAT_SECONDS // 60, HEARTBEAT_SECONDS // 60


@pytest.fixture
def settings() -> Settings:
    return Settings.load({"state_dir": "unused"})


def prose(path: str) -> str:
    return Page(path).prose


def test_how_often_news_is_told(settings: Settings) -> None:
    reported = settings.report_interval_seconds
    assert f"once in {reported} s (`report_interval_seconds`)" in prose("docs/history.md")
    assert f"what a table or a view gained, every {reported // 60} minutes" in prose(
        "docs/runbooks/README.md"
    )
    assert reported == 15 * 60
    assert "What a table gained within a quarter hour is one event" in prose("README.md")
    assert "gathers the commits of a quarter hour" in prose("docs/runbooks/README.md")
    assert "gathers the commits of a quarter hour" in prose("docs/runbooks/offsets-contiguous.md")
    assert SELDOM * reported == 30 * 60
    assert "of a quarantine or a dimension every half hour" in prose("docs/history.md")
    assert f"comes {SPARE_SECONDS // 60} minutes before the snapshot" in prose("docs/history.md")


def test_how_often_a_check_is_told() -> None:
    history, index = prose("docs/history.md"), prose("docs/runbooks/README.md")
    assert f"every {FAILING} minutes while it fails, and every {ELSE} minutes all" in history
    assert f"every {FAILING} minutes while it fails and every {ELSE} minutes else" in index
    assert f"failing is reported every {FAILING} minutes" in prose("docs/alerts.md")
    unlooked = SERVICE_LEVELS.unlooked_seconds // 60
    page = prose("docs/runbooks/checks-looked-at.md")
    assert f"were not evaluated for {unlooked} minutes" in page
    assert f"a verdict of the last {unlooked} minutes" in page
    assert f"wait for {unlooked} minutes at the most" in page


def test_when_the_badge_turns_red_after_a_job_or_the_refreshes_stop(settings: Settings) -> None:
    page, reported = prose("docs/freshness.md"), settings.report_interval_seconds
    red = settings.unreported_seconds
    # The last report is of the moment, or of as long before or behind it as reports wait.
    assert f"red {red:,} to {red + reported:,} s later" in page
    assert f"red {red - reported:,} to {red:,} s later" in page


def test_how_long_history_is_kept(settings: Settings) -> None:
    page = prose("docs/history.md")
    assert f"older than {settings.history_retention_days} days" in page
    assert f"after {TICKS_KEPT.total_seconds() / 3600:.0f} hours" in page


def test_when_maintenance_is_due(settings: Settings) -> None:
    page = prose("docs/maintenance.md")
    assert COMPACTION_CRON == "15 * * * *"
    assert "| compaction | every hour at :15 |" in page
    assert f"closed last ({HOUR_CLOSES_AFTER_MINUTES} minutes after its end)" in page
    assert WHOLE_EVERY_HOURS == 6
    assert "Every six hours (sooner after a run that failed or was missed) also" in page
    assert "| expiry | every six hours beside the compaction" in page
    assert EXPIRE_EVERY_SECONDS == 2 * 60
    assert SNAPSHOTS_KEPT_LEAST == 5
    assert "does the same every two minutes, its last five snapshots apart" in page
    assert f"({settings.retention_minutes} locally, a day on AWS)" in page
    assert ORPHANS_CRON == "45 3 * * *"
    assert "| orphans | every night at 3:45 |" in page
    assert f"older than {ORPHAN_AGE_DAYS} days" in page
