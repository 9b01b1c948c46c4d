import dagster as dg
import pytest

from retail_lakehouse.checks.judged import JudgedCheck
from retail_lakehouse.checks.judges import Verdict

KEY = dg.AssetCheckKey(dg.AssetKey(["mart", "a_view"]), "serving_lag")


@pytest.mark.parametrize(
    "warn_only, severity",
    [(True, dg.AssetCheckSeverity.WARN), (False, dg.AssetCheckSeverity.ERROR)],
)
def test_a_verdict_is_the_same_from_a_button_and_from_a_sensor(
    warn_only: bool, severity: dg.AssetCheckSeverity
) -> None:
    check = JudgedCheck(KEY, Verdict(False, "It lags.", {"lag_seconds": 7.5}, warn_only))
    for told in (check.result(), check.evaluation()):
        assert (told.asset_key, told.check_name) == (KEY.asset_key, KEY.name)
        assert (told.passed, told.severity) == (False, severity)
        assert told.description == "It lags."
        assert told.metadata == {"lag_seconds": dg.MetadataValue.float(7.5)}
