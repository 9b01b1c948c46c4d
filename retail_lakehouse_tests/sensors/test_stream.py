import json
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from retail_lakehouse.assets.keys import job_key, table_key, topic_key
from retail_lakehouse.contracts.events import INVENTORY, TRANSACTIONS
from retail_lakehouse.contracts.job_states import JobEvent
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.kafka.admin import TopicDescription
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.job_runs import JobRun, JobState
from retail_lakehouse.sensors.stream import stream_sensor
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.resources.fakes import (
    FakeJobs,
    FakeKafka,
    FakeWarehouse,
    Lakehouse,
    now_ms,
)
from retail_lakehouse_tests.sensors.conftest import Tick


def evaluations(result: dg.SensorResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    return {
        (event.asset_key.to_user_string(), event.check_name): event
        for event in result.asset_events
        if isinstance(event, dg.AssetCheckEvaluation)
    }


def observations(result: dg.SensorResult) -> dict[dg.AssetKey, dg.AssetObservation]:
    return {e.asset_key: e for e in result.asset_events if isinstance(e, dg.AssetObservation)}


def test_backlog_is_end_offsets_minus_the_mark(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.commit("inventory", 90, quarantined=10)
    result = tick(
        stream_sensor(settings),
        kafka=FakeKafka({"inventory": 130}),
        iceberg=lakehouse.resource(),
        streaming_jobs=FakeJobs(started_at_ms=now_ms()),
    )
    told = observations(result)[topic_key(INVENTORY)].metadata
    assert told["backlog_records"].value == 30
    assert told["end_offsets"].value == {"0": 130, "1": 0, "2": 0}
    lag = evaluations(result)[table_key(event_table("inventory")).to_user_string(), "ingest_lag"]
    assert lag.passed


def test_an_outage_is_a_failed_check_with_a_sentence_and_never_a_silent_skip(
    settings: Settings, tick: Tick
) -> None:
    result = tick(
        stream_sensor(settings),
        kafka=FakeKafka(outage="Kafka at 127.0.0.1:1 did not answer within 5 seconds."),
        iceberg=IcebergCatalogResource.of(settings),
        streaming_jobs=FakeJobs(JobState.STOPPED, "Nothing runs: start it with `make dev`."),
    )
    told = evaluations(result)
    assert len(told) == 21
    assert not any(evaluation.passed for evaluation in told.values())
    sentence = told[topic_key(INVENTORY).to_user_string(), "topic_available"].description
    assert "did not answer" in str(sentence)
    assert "make dev" in str(
        told[job_key(INVENTORY).to_user_string(), "streaming_job_healthy"].description
    )
    assert "21 of 21 checks fail" in str(result.skip_reason)


def test_a_quarantine_that_cannot_be_loaded_fails_its_own_check_alone(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.catalog.drop_table(quarantine_table("inventory").identifier)
    told = evaluations(
        tick(
            stream_sensor(settings),
            kafka=FakeKafka(),
            iceberg=lakehouse.resource(),
            streaming_jobs=FakeJobs(),
        )
    )
    failed = {key: str(told[key].description) for key in told if not told[key].passed}
    (key,) = failed
    assert key == (table_key(quarantine_table("inventory")).to_user_string(), "quarantine_share")
    assert "does not exist" in failed[key]


def test_verdicts_are_reported_at_edges_only(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor = stream_sensor(settings.model_copy(update={"report_interval_seconds": 300}))
    kafka, jobs = FakeKafka(), FakeJobs()
    resources: dict[str, Any] = {
        "kafka": kafka,
        "iceberg": lakehouse.resource(),
        "streaming_jobs": jobs,
    }
    assert len(evaluations(tick(sensor, **resources))) == 21
    assert tick(sensor, **resources).asset_events == []

    jobs.state, jobs.sentence = JobState.FAILED, "The job is crashing."
    failed = evaluations(tick(sensor, **resources))
    assert {name for _, name in failed} == {"streaming_job_healthy"}
    assert not any(evaluation.passed for evaluation in failed.values())
    assert tick(sensor, **resources).asset_events == []

    jobs.state = JobState.RUNNING
    recovered = evaluations(tick(sensor, **resources))
    assert len(recovered) == 3
    assert all(evaluation.passed for evaluation in recovered.values())


def test_a_refresh_that_is_paused_is_told_by_the_sensor_that_still_ticks(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.assets import stream
    from retail_lakehouse.sensors.views import views_sensor

    resources: dict[str, Any] = {
        "kafka": FakeKafka({"inventory": 5}),
        "iceberg": lakehouse.resource(),
        "streaming_jobs": FakeJobs(),
    }
    sensor = stream_sensor(settings)

    def serving(result: dg.SensorResult) -> list[dg.AssetCheckEvaluation]:
        return [e for (_, name), e in evaluations(result).items() if name == "serving_lag"]

    lakehouse.commit("inventory", 5)
    assert serving(tick(sensor, **resources)) == []
    later = now_ms() + 700_000
    monkeypatch.setattr(stream, "now_ms", lambda: later)
    red = serving(tick(sensor, **resources))
    assert red
    assert not any(each.passed for each in red)
    assert all("Cause: paused refresh." in str(each.description) for each in red)
    assert all(each.metadata["cause"].value == "paused refresh" for each in red)
    assert serving(tick(sensor, **resources)) == []

    tick(views_sensor(settings), iceberg=lakehouse.resource(), warehouse=FakeWarehouse())
    green = serving(tick(sensor, **resources))
    assert {each.asset_key for each in green} == {each.asset_key for each in red}
    assert all(each.passed for each in green)
    assert serving(tick(sensor, **resources)) == []


class Restartable(FakeJobs):
    def request(self, verb: str, event: str) -> str:
        self.run_id = "8"
        return super().request(verb, event)


def test_a_stalled_job_is_shown_and_asked_to_restart_when_it_stays_so(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.assets import stream

    jobs = Restartable(told=JobEvent.RUN_UP)
    resources: dict[str, Any] = {
        "kafka": FakeKafka({"inventory": 50}),
        "iceberg": lakehouse.resource(),
        "streaming_jobs": jobs,
    }
    sensor, begun = stream_sensor(settings), now_ms()
    phases = []
    for seconds in (0, 130, 200, 260, 275):
        monkeypatch.setattr(stream, "now_ms", lambda at=begun + seconds * 1000: at)
        result = tick(sensor, **resources)
        told = [
            event.metadata["phase"].value
            for event in result.asset_events
            if event.asset_key == job_key(INVENTORY) and "phase" in event.metadata
        ]
        phases += told
    assert phases == ["running", "stalled", "restarting", "running"]
    assert jobs.asked == [("restart", "inventory")]


def test_a_job_that_yields_to_a_long_lease_is_not_called_stalled_and_not_restarted(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.assets import stream

    jobs = FakeJobs(told=JobEvent.RUN_UP)
    resources: dict[str, Any] = {
        "kafka": FakeKafka({"inventory": 50}),
        "iceberg": lakehouse.resource(),
        "streaming_jobs": jobs,
    }
    sensor, begun = stream_sensor(settings), now_ms()
    lakehouse.commit("inventory", 10)
    healthy = (job_key(INVENTORY).to_user_string(), "streaming_job_healthy")
    lags, verdicts, phases = [], [], []
    for seconds in range(0, 2_100, 30):
        at = begun + seconds * 1000
        jobs.yielded_at_ms = min(at, begun + 1_980_000)
        monkeypatch.setattr(stream, "now_ms", lambda at=at: at)
        result = tick(sensor, **resources)
        phases += [
            event.metadata["phase"].value
            for event in result.asset_events
            if event.asset_key == job_key(INVENTORY) and "phase" in event.metadata
        ]
        told = evaluations(result)
        verdicts += [told[healthy]] if healthy in told else []
        lags += [told[INVENTORY_LAG]] if INVENTORY_LAG in told else []
    assert all(verdict.passed for verdict in verdicts)
    assert "stands aside while a replay" in str(verdicts[-1].description)
    # Waiting for a lease has its own name; the one in the middle is a heartbeat.
    assert phases == ["running", "standing aside", "standing aside", "running"]
    assert jobs.asked == []
    # That records wait is told all the same, with what they wait for.
    assert not lags[-1].passed
    assert "Cause: slow job. It stands aside" in str(lags[-1].description)


def test_rates_come_from_two_looks(settings: Settings, lakehouse: Lakehouse) -> None:
    sensor = stream_sensor(settings)
    earlier = now_ms() - 100_000
    cursor = json.dumps({"reported": {}, "facts": {"observed": {"inventory": [earlier, 1_000]}}})
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance,
            cursor=cursor,
            resources={
                "kafka": FakeKafka({"inventory": 6_000}),
                "iceberg": lakehouse.resource(),
                "streaming_jobs": FakeJobs(),
            },
        ) as context,
    ):
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    rate = observations(result)[topic_key(INVENTORY)].metadata["records_per_second"].value
    assert isinstance(rate, float)
    assert 45 < rate <= 50


def test_lag_before_the_first_commit_ever_counts_from_the_first_look(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.assets import stream

    resources: dict[str, Any] = {
        "kafka": FakeKafka({"inventory": 50}),
        "iceberg": lakehouse.resource(),
        "streaming_jobs": FakeJobs(started_at_ms=now_ms()),
    }
    sensor, lag = (
        stream_sensor(settings),
        (str(table_key(event_table("inventory")).to_user_string()), "ingest_lag"),
    )
    first_look = now_ms()
    assert evaluations(tick(sensor, **resources))[lag].passed
    # Nothing landed since: at the second look the records wait for as long as they were watched.
    monkeypatch.setattr(stream, "now_ms", lambda: first_look + 130_000)
    told = evaluations(tick(sensor, **resources))[lag]
    assert not told.passed
    assert told.metadata["ingest_lag_seconds"].value == pytest.approx(130, abs=5)


INVENTORY_LAG = (table_key(event_table("inventory")).to_user_string(), "ingest_lag")
TRANSACTIONS_LAG = (table_key(event_table("transactions")).to_user_string(), "ingest_lag")


def test_records_that_waited_before_the_first_look_are_not_taken_for_new_ones(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.commit("inventory", 90, age_seconds=400)
    result = tick(
        stream_sensor(settings),
        kafka=FakeKafka({"inventory": 130}),
        iceberg=lakehouse.resource(),
        streaming_jobs=FakeJobs(started_at_ms=now_ms()),
    )
    lag = evaluations(result)[INVENTORY_LAG]
    assert not lag.passed
    assert lag.metadata["ingest_lag_seconds"].value == pytest.approx(400, abs=10)


class OneTopicDown(FakeKafka):
    def describe(self) -> dict[str, TopicDescription | str]:
        return {**super().describe(), INVENTORY.topic: "Kafka did not answer."}


def test_the_first_record_after_a_quiet_night_waits_since_the_look_before_it(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    lakehouse.commit("transactions", 90, age_seconds=40_000)
    sensor, kafka = stream_sensor(settings), OneTopicDown({"transactions": 90})
    resources: dict[str, Any] = {
        "kafka": kafka,
        "iceberg": lakehouse.resource(),
        "streaming_jobs": FakeJobs(started_at_ms=now_ms()),
    }
    assert evaluations(tick(sensor, **resources))[TRANSACTIONS_LAG].passed
    kafka.ends["transactions"] = 91
    told = tick(sensor, **resources)
    assert TRANSACTIONS_LAG not in evaluations(told), "it passes as before"


def test_a_topic_is_observed_as_often_as_news_is_reported(
    settings: Settings, lakehouse: Lakehouse, tick: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retail_lakehouse.assets import stream

    # Half a tick less than 300 s: the tick that comes a moment early is the one that is meant.
    paced = settings.model_copy(update={"report_interval_seconds": 300})
    sensor, began = stream_sensor(paced), now_ms()
    observed = []
    for at_ms in (began, began + 292_499, began + 292_500):
        monkeypatch.setattr(stream, "now_ms", lambda at_ms=at_ms: at_ms)
        result = tick(
            sensor, kafka=FakeKafka(), iceberg=lakehouse.resource(), streaming_jobs=FakeJobs()
        )
        observed.append(topic_key(TRANSACTIONS) in observations(result))
    assert observed == [True, False, True]


class OtherRuns(FakeJobs):
    def runs(self) -> dict[str, JobRun]:
        return {name: replace(run, run_id="8") for name, run in super().runs().items()}


def test_a_job_that_runs_anew_is_an_event_though_its_state_is_the_same(
    settings: Settings, lakehouse: Lakehouse, tick: Tick
) -> None:
    sensor = stream_sensor(settings.model_copy(update={"report_interval_seconds": 300}))
    seen: dict[str, Any] = {"kafka": FakeKafka(), "iceberg": lakehouse.resource()}
    tick(sensor, **seen, streaming_jobs=FakeJobs())
    assert tick(sensor, **seen, streaming_jobs=FakeJobs()).asset_events == []
    (event, *_) = tick(sensor, **seen, streaming_jobs=OtherRuns()).asset_events
    assert event.asset_key == job_key(INVENTORY)
