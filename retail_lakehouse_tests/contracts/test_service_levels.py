import pytest

from retail_lakehouse.checks.data import data_check_specs
from retail_lakehouse.checks.stream import stream_check_specs
from retail_lakehouse.checks.views import view_check_specs
from retail_lakehouse.contracts.service_levels import (
    LEVELS,
    SERVICE_LEVELS,
    WATCHDOG_MEASURES,
    Measure,
    ServiceLevelError,
    Severity,
    level_of,
)
from retail_lakehouse.contracts.tables import EVENT_TABLES, QUARANTINE_TABLES
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS


def test_every_check_judges_a_level_and_every_level_has_its_check() -> None:
    specs = [*stream_check_specs(), *data_check_specs(), *view_check_specs()]
    checks = {spec.name for spec in specs}
    # The one on the checks themselves is judged where alerts are told, and is no check in Dagster.
    # So are the watchdog's, which stands outside Dagster.
    no_checks = {Measure.CHECKS_LOOKED_AT, *WATCHDOG_MEASURES}
    assert checks | no_checks == set(Measure)
    assert checks.isdisjoint(no_checks)
    assert len(LEVELS) == len(specs) + len(no_checks)


def test_a_checks_page_says_whose_it_is_and_what_to_do() -> None:
    for spec in (*stream_check_specs(), *data_check_specs(), *view_check_specs()):
        assert spec.metadata is not None
        assert spec.metadata["runbook"] == f"docs/runbooks/{spec.name.replace('_', '-')}.md"
        assert spec.metadata["severity"] in set(Severity)


def test_a_thing_has_one_level_of_a_measure() -> None:
    assert len({(level.subject, level.measure) for level in LEVELS}) == len(LEVELS)


def test_tables_and_views_have_the_promised_numbers() -> None:
    for table in EVENT_TABLES:
        assert level_of(table.name, Measure.INGEST_LAG).number == 120
        assert level_of(table.name, Measure.EVENTS_ARRIVE).number > 0
    for quarantine in QUARANTINE_TABLES:
        assert level_of(quarantine.name, Measure.QUARANTINE_SHARE).number == 0.05
    for view in MATERIALIZED_VIEWS:
        assert level_of(view.name, Measure.SERVING_LAG).number == 600


def test_every_level_names_an_owner_and_a_runbook() -> None:
    for level in LEVELS:
        assert level.owner.startswith("team:")
        assert level.runbook.startswith("docs/runbooks/")
    assert level_of("mv_stock_newest", Measure.REFRESHED_INCREMENTALLY).severity is Severity.WARNING


def test_what_is_not_promised_is_said_to_be_so() -> None:
    with pytest.raises(ServiceLevelError, match="promises no serving_lag of 'nowhere'"):
        level_of("nowhere", Measure.SERVING_LAG)
    with pytest.raises(ServiceLevelError, match="has no limit in numbers"):
        _ = level_of("mv_stock_newest", Measure.REFRESHED_INCREMENTALLY).number


def test_a_silence_is_not_called_before_the_grace_of_an_opening_store() -> None:
    from retail_lakehouse.contracts.opening_hours import GRACE_SECONDS

    assert SERVICE_LEVELS.silence_seconds <= GRACE_SECONDS
