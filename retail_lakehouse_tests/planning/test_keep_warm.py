"""Rules of what waking the warehouse costs, and the page that tells it."""

import re
from pathlib import Path

import pytest

from retail_lakehouse.planning.keep_warm import (
    CHARGE_SECONDS,
    USD_PER_RPU_HOUR,
    keep_warm_cost,
)
from retail_lakehouse.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "keep-warm.md").read_text(encoding="utf-8")
RPUS = (8, 32, 128)


def line_of(cron: str) -> str:
    """The page's line for a cron, in the default quiet window."""
    settings = Settings.load({"keep_warm_cron": cron})
    assert settings.wake_times is not None
    a_week = settings.wake_times.a_week(settings.quiet_window)
    costs = [keep_warm_cost(a_week, rpu) for rpu in RPUS]
    cells = [f"`{cron}`", f"{costs[0].wakings:,.0f}", f"{costs[0].billed_share:.2%}"]
    return f"| {' | '.join([*cells, *(f'${cost.usd:,.2f}' for cost in costs)])} |"


def test_the_pages_figures_are_those_that_are_computed() -> None:
    crons = re.findall(r"^\| `([^`]+)` \|", PAGE, flags=re.MULTILINE)
    assert "0 */4 * * *" in crons
    for cron in crons:
        assert line_of(cron) in PAGE
    assert f"{CHARGE_SECONDS} s x base RPU / 3600" in PAGE
    assert f"x {USD_PER_RPU_HOUR}" in PAGE


def test_every_four_hours_outside_the_night_pays_for_four_minutes_a_day() -> None:
    cost = keep_warm_cost(4 * 7, 32)
    assert cost.wakings == pytest.approx(4 * 365 / 12)
    assert cost.rpu_hours == pytest.approx(4 * 365 / 12 * 32 / 60)
    assert cost.usd == pytest.approx(24.33, abs=0.01)
    assert cost.billed_share == pytest.approx(4 / (24 * 60))


def test_a_waking_a_minute_is_a_workgroup_that_is_always_on() -> None:
    # 32 RPU for 365 x 24 / 12 hours at 0.375 USD.
    always_on = keep_warm_cost(7 * 24 * 60, 32)
    assert always_on.usd == pytest.approx(8760.0)
    assert always_on.billed_share == 1.0


def test_every_setting_of_it_is_on_the_page() -> None:
    for name in Settings.model_fields:
        if name.startswith("keep_warm") or name == "warehouse_base_rpu":
            assert name in PAGE or f"RETAIL_LAKEHOUSE_{name.upper()}" in PAGE
