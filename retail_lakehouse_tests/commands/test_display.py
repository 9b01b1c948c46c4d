"""What the live line says, before the first figure of a start and after it."""

from __future__ import annotations

import pytest

from retail_lakehouse.commands.columns import columns
from retail_lakehouse.commands.display import pulse_line
from retail_lakehouse.local.status import Pulse


def pulse(table_age_seconds: float | None) -> Pulse:
    return Pulse(99_999.0, table_age_seconds, 86_400.0, 9_999_999, 9_999_999)


@pytest.mark.parametrize("age", [None, 31.0, 86_400.0])
def test_until_an_event_of_this_start_has_landed_the_line_says_that_spark_is_waited_for(
    age: float | None,
) -> None:
    line = pulse_line(pulse(age), waiting_seconds=30.0)
    assert line == "Waiting for Spark's first batch, about a minute: 30 s"


def test_once_events_of_this_start_have_landed_the_views_are_waited_for() -> None:
    line = pulse_line(pulse(30.0), waiting_seconds=30.0)
    assert line == "Events are in the tables; waiting for the views: 30 s"


def test_the_live_line_has_all_figures_and_room_for_large_ones() -> None:
    line = pulse_line(pulse(12.4), waiting_seconds=None)
    assert line.startswith(
        "99,999 events/s, age at table 12 s, view 86400 s, quarantined 9,999,999"
    )
    assert line.endswith("duplicates 9,999,999")


def test_columns_are_as_wide_as_they_must_be() -> None:
    rows = [("mv_a", 12_345_678, 0.25), ("mv_longer", None, 1234.5)]
    assert columns(("view", "rows", "age s"), rows) == [
        "view             rows    age s",
        "mv_a       12,345,678      0.2",
        "mv_longer           -  1,234.5",
    ]
