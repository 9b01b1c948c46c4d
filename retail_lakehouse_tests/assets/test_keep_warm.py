"""Rules of waking the warehouse by the clock: off unless asked for, quiet, never made up for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from retail_lakehouse.assets.keep_warm import LATE_SECONDS, keep_warm_schedules
from retail_lakehouse.build import build_defs
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.errors import WarehouseUnreachable


class SleepyWarehouse:
    """Answers after 31 s, or not at all; remembers who asked."""

    def __init__(self, outage: str = "") -> None:
        self.outage = outage
        self.labels: list[str] = []

    def wake(self, label: str) -> float:
        """As WarehouseResource answers."""
        self.labels.append(label)
        if self.outage:
            raise WarehouseUnreachable(self.outage)
        return 31.0


def settings_with(folder: Path, **changes: object) -> Settings:
    told = {"keep_warm_cron": "0 */4 * * *", "keep_warm_time_zone": "Asia/Kolkata"}
    return Settings.load({"state_dir": folder / "state", **told, **changes})


def tick(schedule: dg.ScheduleDefinition, due: datetime) -> dg.RunRequest | str:
    """What a tick asks for, or why it asks for nothing."""
    with dg.build_schedule_context(scheduled_execution_time=due) as context:
        told = schedule.evaluate_tick(context)
    if told.skip_message is not None:
        return told.skip_message
    (request,) = told.run_requests or []
    return request


def just_now(monkeypatch: pytest.MonkeyPatch, at: datetime) -> None:
    """Sets the clock that the schedule reads."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Clock":
            return cls.fromtimestamp(at.timestamp(), tz)

    monkeypatch.setattr("retail_lakehouse.assets.keep_warm.datetime", Clock)


def test_without_the_setting_there_is_neither_schedule_nor_job(tmp_path: Path) -> None:
    defs = build_defs(settings_with(tmp_path, keep_warm_cron=""))
    repository = defs.get_repository_def()
    assert "keep_warehouse_warm" not in {each.name for each in repository.schedule_defs}
    assert not repository.has_job("wake_warehouse")


def test_with_the_setting_it_runs_in_its_zone_without_being_switched_on(tmp_path: Path) -> None:
    repository = build_defs(settings_with(tmp_path)).get_repository_def()
    schedule = repository.get_schedule_def("keep_warehouse_warm")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == "0 */4 * * *"
    assert schedule.execution_timezone == "Asia/Kolkata"


def test_beside_the_platforms_own_daemon_nothing_wakes_the_warehouse_twice(tmp_path: Path) -> None:
    defs = build_defs(settings_with(tmp_path), sensors_left="`make dev` runs here already.")
    assert not defs.get_repository_def().has_job("wake_warehouse")


def test_its_pages_say_what_it_costs_with_these_settings(tmp_path: Path) -> None:
    (schedule,) = keep_warm_schedules(settings_with(tmp_path, warehouse_base_rpu=32))
    told = schedule.description or ""
    assert "122 times a month" in told
    assert "64.9 RPU-hours, $24.33" in told
    assert "0.28% of the time" in told
    assert "docs/keep-warm.md" in told
    assert schedule.metadata["usd_a_month"].value == 24.33
    assert schedule.job.description == told


def test_a_tick_asks_for_one_run_by_day_and_for_none_in_the_quiet_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (schedule,) = keep_warm_schedules(settings_with(tmp_path))
    day = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)  # 08:00 in Kolkata
    just_now(monkeypatch, day + timedelta(seconds=3))
    asked = tick(schedule, day)
    assert isinstance(asked, dg.RunRequest)
    assert asked.run_key == "2026-11-23T02:30:00+00:00"
    night = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)  # 04:00 in Kolkata
    just_now(monkeypatch, night)
    assert tick(schedule, night) == (
        "Quiet: 22:30 UTC is within 00:00-06:00 in Asia/Kolkata (keep_warm_quiet)."
    )


def test_what_was_missed_while_no_daemon_ran_is_not_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (schedule,) = keep_warm_schedules(settings_with(tmp_path))
    due = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
    just_now(monkeypatch, due + timedelta(seconds=LATE_SECONDS + 1))
    assert str(tick(schedule, due)).startswith("This was due 121 s ago")
    just_now(monkeypatch, due + timedelta(seconds=LATE_SECONDS))
    assert isinstance(tick(schedule, due), dg.RunRequest)


def test_a_run_sends_one_statement_under_its_own_label(tmp_path: Path) -> None:
    warehouse = SleepyWarehouse()
    defs = build_defs(settings_with(tmp_path), warehouse=warehouse)
    result = defs.resolve_job_def("wake_warehouse").execute_in_process()
    assert result.success
    assert warehouse.labels == [f"dagster-run:{result.run_id}"]


def test_a_warehouse_that_does_not_answer_fails_the_run_with_its_sentence(tmp_path: Path) -> None:
    defs = build_defs(settings_with(tmp_path), warehouse=SleepyWarehouse("No warehouse answers."))
    job = defs.resolve_job_def("wake_warehouse")
    with pytest.raises(dg.Failure, match="No warehouse answers"):
        job.execute_in_process()
