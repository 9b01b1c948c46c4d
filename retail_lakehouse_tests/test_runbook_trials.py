"""Rules of the runbooks' trials: each page is tried on a real platform, by its own lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import runbook_trials
from benchmarks.injected_causes import INJECTED
from benchmarks.platform_under_test import Platform
from benchmarks.runbook_trials import (
    INDEX,
    SNAPSHOT_ON_THE_PAGE,
    TRIALS,
    Step,
    as_written,
    calls,
    roll_back,
)
from retail_lakehouse.contracts.service_levels import WATCHDOG_MEASURES, Measure, runbook_of
from retail_lakehouse_tests.alerts.build import Receiver
from retail_lakehouse_tests.docs.pages import Page


class Listed(Platform):
    """A platform whose open alerts are given."""

    def __init__(self, incidents: list[dict[str, Any]]) -> None:
        super().__init__(Path("/nowhere/state"), {}, Receiver(""))
        self.incidents = incidents

    def alerts(self) -> dict[str, Any]:
        return {"open": self.incidents}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    steps: list[Step] = []
    monkeypatch.setattr(runbook_trials, "run", lambda _platform, told: steps.extend(told))
    return steps


def test_every_alert_is_injected_by_some_benchmark() -> None:
    by_real_hour = {Measure.OFFSETS_CONTIGUOUS}
    injected = {each.check for each in INJECTED} | set(WATCHDOG_MEASURES) | by_real_hour
    assert injected == set(Measure)


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_every_block_of_a_trial_can_be_run_as_it_stands(trial: Any) -> None:
    for step in [*Page(runbook_of(trial.check)).steps("Try it"), *rollback()]:
        assert calls(step)


def rollback() -> list[Step]:
    return INDEX.steps("Rolling a table back")


def test_a_line_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="rm -rf"):
        calls(("sh", "rm -rf /nowhere\n"))


def test_a_trial_s_last_block_is_kept_for_the_mend(ran: list[Step]) -> None:
    platform = Listed([])
    injection = as_written(Measure.SNAPSHOTS_OUTLAST_REFRESH, mending=1)(platform)
    assert ran == [("sh", "retail-lakehouse jobs stop warehouse\n")]
    assert injection.mend is not None
    injection.mend()
    assert ran[1:] == [("sh", "retail-lakehouse jobs start warehouse\n")]
    assert as_written(Measure.REFRESHED_INCREMENTALLY)(platform).mend is None


def test_a_table_is_rolled_back_behind_the_snapshot_that_the_check_s_own_alert_names(
    ran: list[Step],
) -> None:
    others = {"name": "db/some:volume", "sentence": "Rows that snapshot 7 brought."}
    own = {"name": "db/some:unique_by_key", "sentence": "5 rows that snapshot 42 brought."}
    roll_back(Listed([others, own]), Measure.UNIQUE_BY_KEY)
    assert [kind for kind, _ in ran] == [kind for kind, _ in rollback()]
    code = "".join(lines for _, lines in ran)
    assert "snapshot_by_id(42)" in code
    assert SNAPSHOT_ON_THE_PAGE not in code
    with pytest.raises(RuntimeError, match="No open alert of unique_by_key"):
        roll_back(Listed([others]), Measure.UNIQUE_BY_KEY)
