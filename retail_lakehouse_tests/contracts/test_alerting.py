import re

from retail_lakehouse.checks.data import data_check_specs
from retail_lakehouse.checks.stream import stream_check_specs
from retail_lakehouse.checks.views import view_check_specs
from retail_lakehouse.contracts.alerting import ALERTS, alert_for, level_behind
from retail_lakehouse.contracts.service_levels import Measure


def test_every_measure_has_its_words_and_no_words_are_of_something_else() -> None:
    assert sorted(alert.check for alert in ALERTS) == sorted(Measure)


def test_a_check_of_an_asset_has_the_level_that_its_page_shows() -> None:
    for spec in (*stream_check_specs(), *data_check_specs(), *view_check_specs()):
        level = level_behind("/".join(spec.asset_key.path), spec.name)
        assert level is not None
        assert spec.metadata is not None
        assert spec.metadata["severity"] == level.severity
        assert spec.metadata["owner"] == level.owner
        assert spec.metadata["runbook"] == level.runbook


def test_a_check_that_nobody_promised_anything_of_is_told_by_its_name() -> None:
    assert level_behind("retail_iceberg/inventory_events", "rows_are_blue") is None
    assert alert_for("rows_are_blue").title == "The check rows are blue fails"


def test_no_alert_suggests_first_to_let_go_or_to_start_what_nobody_has_looked_at() -> None:
    suggested = " | ".join(alert.command for alert in ALERTS)
    assert " release " not in suggested
    # A job may be stopped for a reason; of Dagster's own processes nothing hangs on that.
    started = re.findall(r"jobs (?:re)?start (\S+)", suggested)
    assert set(started) == {"dagster-daemon", "dagster-code-server"}
