"""A refresh that failed is known to whoever judges, for as long as that says something of now."""

from dataclasses import replace
from typing import Any

import pytest

from retail_lakehouse.checks.views import known_outages, note_outages
from retail_lakehouse.contracts.service_levels import SERVICE_LEVELS
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.refresh_record import ViewRecord
from retail_lakehouse_tests.checks.looks import AT

SETTINGS = Settings.load({"refresh_interval_seconds": 15})
LASTS_SECONDS = 15 * SERVICE_LEVELS.missed_refreshes
DOWN = "The warehouse does not answer."
VIEW = "mv_stock_newest"
RECORD = ViewRecord(AT, 0.5, 3, AT, "done", 1, 0.1, True, {})


def known(
    failed_ago: float, refreshed_ago: float | None = None, view: str = VIEW
) -> dict[str, str]:
    facts: dict[str, Any] = {}
    note_outages(facts, {VIEW: DOWN}, AT - int(failed_ago * 1000))
    records = {}
    if refreshed_ago is not None:
        records[view] = replace(RECORD, refreshed_at_ms=AT - int(refreshed_ago * 1000))
    return known_outages(facts, records, SETTINGS, AT)


@pytest.mark.parametrize(
    "failed_ago, refreshed_ago, view, holds",
    [
        (0, None, VIEW, True),
        (LASTS_SECONDS, None, VIEW, True),
        (LASTS_SECONDS + 1, None, VIEW, False),
        (10, 60, VIEW, True),
        # Somebody has pressed the button since.
        (10, 5, VIEW, False),
        (10, 5, "mv_of_others", True),
    ],
)
def test_an_outage_holds_until_a_refresh_comes_or_nobody_ticks_any_more(
    failed_ago: float, refreshed_ago: float | None, view: str, holds: bool
) -> None:
    assert known(failed_ago, refreshed_ago, view) == ({VIEW: DOWN} if holds else {})


def test_what_a_tick_notes_is_in_place_of_what_was_noted_before() -> None:
    facts: dict[str, Any] = {}
    note_outages(facts, {VIEW: DOWN}, AT)
    note_outages(facts, {}, AT)
    assert known_outages(facts, {}, SETTINGS, AT) == {}
    assert known_outages({}, {}, SETTINGS, AT) == {}
