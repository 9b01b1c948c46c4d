import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from retail_lakehouse.alerts.desk import judge_looked_at
from retail_lakehouse.alerts.incidents import Seen
from retail_lakehouse.alerts.outbox import open_outbox, outbox_file
from retail_lakehouse.alerts.silences import add_silence, silences_file
from retail_lakehouse.assets.keys import table_key, view_key
from retail_lakehouse.build import build_defs
from retail_lakehouse.contracts.service_levels import CONTROL_PLANE, Measure, Severity, level_of
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.sensors import alerts
from retail_lakehouse.sensors.alerts import BREAK_SECONDS, Watch, latest_verdicts, settled
from retail_lakehouse.sensors.edges import HEARTBEAT_SECONDS
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.alerts.build import MINUTE, NOW, Receiver, receiver

KEY = dg.AssetCheckKey(table_key(event_table("inventory")), "ingest_lag")


class Platform:
    """The sensor over a real event log, with a clock of its own."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.ms = time.time_ns() // 1_000_000
        self.cursor: str | None = None
        self.repository = build_defs(settings).get_repository_def()
        self.sensor = self.repository.get_sensor_def("send_alerts")

    def evaluate(
        self, passed: bool, sentence: str = "", key: dg.AssetCheckKey = KEY, **more: object
    ) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=passed,
                description=sentence,
                metadata={"ingest_lag_seconds": 134.5, "note": "x" * 500},
                **more,  # type: ignore[arg-type]
            )
        )

    def tick(self) -> str:
        self.ms += 15_000
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=self.repository,
            resources=self.repository.get_top_level_resources(),
        ) as context:
            result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        assert result.skip_reason is not None
        return str(result.skip_reason.skip_message)


@pytest.fixture
def end() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def platform(tmp_path: Path, end: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    routes = tmp_path / "routes.toml"
    routes.write_text(f'[[route]]\nname = "hook"\nkind = "webhook"\nurl = "{end.url}/"\n')
    settings = Settings.load({"state_dir": tmp_path / "state", "alert_routes_file": routes})
    with dg.DagsterInstance.ephemeral() as instance:
        running = Platform(settings, instance)
        monkeypatch.setattr(alerts, "now_ms", lambda: running.ms)
        yield running


def told(end: Receiver) -> list[str]:
    return [alert["kind"] for each in end.taken for alert in each.body["alerts"]]


def test_a_failed_check_is_told_with_its_last_snapshot_and_its_recovery_too(
    platform: Platform, end: Receiver
) -> None:
    platform.instance.report_runless_asset_event(
        dg.AssetMaterialization(KEY.asset_key, tags={"dagster/data_version": "8723458"})
    )
    platform.evaluate(True)
    assert platform.tick() == "0 open, 0 messages sent, 0 wait."
    platform.evaluate(False, "42 records wait, the oldest for 134 s at most.")
    assert platform.tick() == "1 open, 1 messages sent, 0 wait."
    assert platform.tick() == "1 open, 0 messages sent, 0 wait."
    platform.evaluate(True, "Every record has landed.")
    platform.tick()
    assert told(end) == ["opened", "recovered"]
    (alert,) = end.taken[0].body["alerts"]
    assert alert["snapshot"] == "8723458"
    assert alert["sentence"].startswith("42 records wait")
    assert alert["figures"]["ingest_lag_seconds"] == 134.5
    assert len(str(alert["figures"]["note"])) == 120
    assert alert["page"].startswith("http://127.0.0.1:3000/assets/")


def test_a_secret_that_a_cut_would_halve_is_hidden_all_the_same(
    platform: Platform, end: Receiver
) -> None:
    platform.evaluate(False, "x" * 570 + " at postgres://lakehouse:hunter2@db:5439/dev")
    platform.tick()
    (alert,) = end.taken[0].body["alerts"]
    assert len(alert["sentence"]) == 600
    assert "lakehouse:hu" not in str(end.taken[0].body)


def test_a_cursor_that_was_lost_or_is_old_tells_nothing_twice(
    platform: Platform, end: Receiver
) -> None:
    platform.evaluate(False, "It lags.")
    platform.tick()
    old = platform.cursor
    platform.cursor = None
    platform.tick()
    platform.evaluate(True)
    platform.tick()
    platform.cursor = old
    platform.tick()
    assert told(end) == ["opened", "recovered"]


def test_an_outbox_that_was_lost_is_made_up_for_by_the_cursor(
    platform: Platform, end: Receiver
) -> None:
    platform.evaluate(False, "It lags.")
    platform.tick()
    outbox_file(platform.settings.alerts_dir).unlink()
    platform.tick()
    platform.evaluate(True)
    platform.tick()
    assert told(end) == ["opened", "recovered"]


def test_a_check_that_was_never_evaluated_has_no_verdict(platform: Platform) -> None:
    assert latest_verdicts(platform.instance, [KEY]) == []
    platform.evaluate(False, "It lags.")
    (seen,) = latest_verdicts(platform.instance, [KEY])
    assert (seen.passed, seen.sentence, seen.owner) == (False, "It lags.", "team:data-platform")


def test_a_warning_is_never_told_as_critical(platform: Platform) -> None:
    platform.evaluate(False, "Slow.", severity=dg.AssetCheckSeverity.WARN)
    (seen,) = latest_verdicts(platform.instance, [KEY])
    assert seen.severity.value == "warning"


def test_everything_at_once_is_one_digest(platform: Platform, end: Receiver) -> None:
    for view in MATERIALIZED_VIEWS:
        for name in ("serving_lag", "refreshed_incrementally"):
            key = dg.AssetCheckKey(view_key(view), name)
            platform.evaluate(False, f"{view.name} is late.", key)
    platform.tick()
    (only,) = end.taken
    assert len(only.body["alerts"]) == 2 * len(MATERIALIZED_VIEWS)


def test_a_broken_file_of_silences_or_routes_stops_no_alert(
    platform: Platform, end: Receiver
) -> None:
    folder = platform.settings.alerts_dir
    folder.mkdir(parents=True)
    silences_file(folder).write_text("{")
    routes = platform.settings.routes_file
    assert routes is not None
    good = routes.read_text()
    routes.write_text("[[route")
    platform.evaluate(False, "It lags.")
    sentence = platform.tick()
    assert "nothing is silenced" in sentence
    assert "it is no TOML" in sentence
    with open_outbox(folder) as outbox:
        assert len(outbox.entries) == 1
    routes.write_text(good)
    platform.tick()
    assert told(end) == ["opened"]


def test_what_is_silenced_is_told_after_it(platform: Platform, end: Receiver) -> None:
    add_silence(platform.settings.alerts_dir, "*:ingest_lag", 60, "kim", "moving", platform.ms)
    platform.evaluate(False, "It lags.")
    platform.tick()
    assert told(end) == []
    platform.ms += MINUTE
    platform.tick()
    assert told(end) == ["opened"]


def test_a_route_that_fails_stands_in_the_tick_and_nothing_is_lost(
    platform: Platform, end: Receiver
) -> None:
    end.answers = [(500, {}, ""), (200, {}, "")]
    platform.evaluate(False, "It lags.")
    assert "1 wait. The route hook fails: The webhook answered 500." in platform.tick()
    with open_outbox(platform.settings.alerts_dir) as outbox:
        outbox.record_failure("hook", "again", 0)
    assert platform.tick() == "1 open, 1 messages sent, 0 wait."


def test_checks_that_nobody_evaluates_are_an_alert_but_not_after_a_pause() -> None:
    names: dict[str, int | None] = {"a": NOW, "b": None}
    assert judge_looked_at(names, NOW - 90 * MINUTE, NOW).passed is False
    assert judge_looked_at({"a": NOW}, NOW - 90 * MINUTE, NOW + 65 * MINUTE).passed
    late = judge_looked_at({"a": NOW}, NOW - 90 * MINUTE, NOW + 66 * MINUTE)
    assert "1 of 1 checks were not evaluated for 65 minutes, a among them" in late.sentence
    assert judge_looked_at(names, NOW + 600 * MINUTE, NOW + 610 * MINUTE).passed


def test_a_check_that_is_reported_with_its_heartbeats_is_looked_at_even_if_one_is_missing() -> None:
    slowest_tick_seconds = 300  # of the sensor that refreshes views, on AWS
    between = 2 * HEARTBEAT_SECONDS + slowest_tick_seconds
    assert level_of(CONTROL_PLANE, Measure.CHECKS_LOOKED_AT).number >= between


def test_a_pause_of_the_whole_platform_starts_the_watch_anew() -> None:
    watch = Watch()
    assert watch.tick(NOW) == NOW
    assert watch.tick(NOW + 15_000) == NOW
    after = NOW + 15_000 + BREAK_SECONDS * 1000 + 1
    assert watch.tick(after) == after
    assert watch.tick(after - MINUTE) == after - MINUTE


def test_a_sensor_that_stopped_evaluating_is_told_once(platform: Platform, end: Receiver) -> None:
    for _ in range(28):
        platform.ms += 150_000
        platform.tick()
    assert [alert["check"] for each in end.taken for alert in each.body["alerts"]] == [
        "checks_looked_at"
    ]


def test_a_failure_from_before_the_platform_came_up_is_told_if_it_is_still_there(
    platform: Platform, end: Receiver
) -> None:
    platform.evaluate(False, "It lags.")
    platform.ms += 10 * MINUTE
    platform.tick()
    platform.ms += MINUTE
    platform.tick()
    assert told(end) == []
    platform.ms += MINUTE
    platform.tick()
    assert told(end) == ["opened"]


def test_a_failure_from_before_the_platform_came_up_that_passes_meanwhile_is_no_alert(
    platform: Platform, end: Receiver
) -> None:
    platform.evaluate(False, "It is stopped.")
    platform.ms += 10 * MINUTE
    platform.tick()
    platform.evaluate(True, "It runs.")
    for _ in range(4):
        platform.ms += MINUTE
        platform.tick()
    assert told(end) == []


def test_a_failure_that_is_new_is_told_at_once_even_when_the_platform_has_just_come_up() -> None:
    (fresh, old, well) = (
        Seen("a", "lag", passed, "", Severity.CRITICAL, "kim", NOW - seconds * 1000)
        for passed, seconds in ((False, 20), (False, 40), (True, 4000))
    )
    assert settled([fresh, old, well], NOW, NOW) == [fresh, well]
    assert settled([fresh, old, well], NOW, NOW + 121_000) == [fresh, old, well]
