from pathlib import Path

import pytest

from retail_lakehouse.alerts.desk import tell
from retail_lakehouse.alerts.outbox import open_outbox
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.alerts.build import MINUTE, NOW, fill, receiver, verdict


def test_on_a_full_disk_with_the_notifier_down_no_alert_is_lost(
    small_disk: Path, tmp_path: Path
) -> None:
    """The cursor is never saved either: the outbox alone remembers."""
    with receiver() as end:
        routes = tmp_path / "routes.toml"
        routes.write_text(f'[[route]]\nname = "hook"\nkind = "webhook"\nurl = "{end.url}/"\n')
        settings = Settings.load({"state_dir": small_disk / "state", "alert_routes_file": routes})
        tell(settings, [], [], None, NOW)
        fill(small_disk)
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "state" / "other").write_bytes(b"x" * 8192)
        end.answers = [(503, {}, "")]
        known = [verdict(number).name for number in range(4)]
        for number in range(4):
            at = NOW + number * MINUTE
            tell(settings, [verdict(number, at_ms=at)], known, None, at)
        tell(settings, [verdict(0, passed=True)], known, None, NOW + 5 * MINUTE)
        with open_outbox(settings.alerts_dir) as outbox:
            assert len(outbox.entries) == 5
            outbox.record_failure("hook", "It is up again soon.", 0)
        end.answers = [(200, {}, "")]
        tell(settings, [], known, None, NOW + 6 * MINUTE)
        told = [(a["kind"], a["asset"][-1]) for each in end.taken for a in each.body["alerts"]]
        assert told == [*(("opened", str(number)) for number in range(4)), ("recovered", "0")]


def test_without_routes_alerts_stand_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.load({"state_dir": tmp_path})
    tell(settings, [verdict(1)], [verdict(1).name], None, NOW)
    assert "Opened: Records wait too long to land (table_1)" in caplog.text
