"""What the buttons of the UI do is what the sensors do."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from retail_lakehouse.assets.keys import table_key, topic_key, view_key
from retail_lakehouse.build import build_defs
from retail_lakehouse.contracts.events import CLICKSTREAM, INVENTORY
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS, view_named
from retail_lakehouse.kafka.admin import TopicDescription
from retail_lakehouse.resources.job_runs import JobRequestError
from retail_lakehouse.resources.job_wishes import STAYS_ASKED, stops_asked
from retail_lakehouse.sensors.remembered import STREAM_SENSOR, VIEWS_SENSOR
from retail_lakehouse.warehouse.holds import read_holds
from retail_lakehouse_tests.resources.fakes import (
    FakeJobs,
    FakeKafka,
    FakeWarehouse,
    Lakehouse,
    now_ms,
    settings_in,
)
from retail_lakehouse_tests.sensors.cursors import cursor, leave_cursor


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    return Lakehouse(settings_in(tmp_path))


def run(
    lakehouse: Lakehouse,
    selection: dg.AssetSelection,
    *,
    instance: dg.DagsterInstance | None = None,
    **overrides: Any,
) -> dg.ExecuteInProcessResult:
    defs = build_defs(lakehouse.settings, **overrides)
    job = dg.define_asset_job("chosen", selection=selection)
    chosen = dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
    job_def = chosen.resolve_job_def("chosen")
    return job_def.execute_in_process(instance=instance, raise_on_error=False)


def test_materialize_refreshes_the_chosen_views_in_one_session(lakehouse: Lakehouse) -> None:
    warehouse = FakeWarehouse()
    snapshot = lakehouse.commit("inventory", 3)
    chosen = MATERIALIZED_VIEWS[:2]
    result = run(
        lakehouse,
        dg.AssetSelection.assets(*(view_key(view) for view in chosen)).without_checks(),
        warehouse=warehouse,
    )
    assert result.success
    ((label, views),) = warehouse.sessions
    assert views == tuple(view.name for view in chosen)
    assert label == f"dagster-run:{result.run_id}"
    events = result.get_asset_materialization_events()
    assert {event.asset_key for event in events} == {view_key(view) for view in chosen}
    materialization = events[0].step_materialization_data.materialization
    assert materialization.tags is not None
    assert materialization.tags["dagster/data_version"] == str(snapshot)
    assert (lakehouse.settings.root / "run" / "view_refreshes.json").exists()


def test_a_warehouse_that_is_down_fails_the_run_with_its_sentence(lakehouse: Lakehouse) -> None:
    lakehouse.commit("inventory", 3)
    result = run(
        lakehouse,
        dg.AssetSelection.assets(view_key(MATERIALIZED_VIEWS[0])).without_checks(),
        warehouse=FakeWarehouse(outage="No warehouse answers at 127.0.0.1:1."),
    )
    assert not result.success
    failure = result.filter_events(lambda event: event.is_step_failure)[0]
    data = failure.step_failure_data
    assert data.user_failure_data is not None
    assert data.user_failure_data.description == "No warehouse answers at 127.0.0.1:1."


def test_materialize_leaves_out_what_is_held_and_says_why(lakehouse: Lakehouse) -> None:
    warehouse = FakeWarehouse()
    lakehouse.commit("inventory", 3)
    lakehouse.lose("inventory", 2)
    lakehouse.commit("inventory", 3)
    lakehouse.commit("clickstream", 3)
    held, free = view_named("mv_stock_newest"), view_named("mv_web_sessions")
    result = run(
        lakehouse,
        dg.AssetSelection.assets(view_key(held), view_key(free)).without_checks(),
        warehouse=warehouse,
    )
    assert [views for _, views in warehouse.sessions] == [(free.name,)]
    events = result.get_asset_materialization_events()
    assert {event.asset_key for event in events} == {view_key(free)}
    failure = result.filter_events(lambda event: event.is_step_failure)[0]
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert str(data.description).startswith("mv_stock_newest is held since")
    assert "`retail-lakehouse views release mv_stock_newest`" in str(data.description)


def test_what_a_button_finds_holds_as_what_the_sensor_finds(lakehouse: Lakehouse) -> None:
    lakehouse.commit("inventory", 3)
    lakehouse.lose("inventory", 2)
    lakehouse.commit("inventory", 3)
    selection = dg.AssetSelection.checks_for_assets(table_key(event_table("inventory")))
    result = run(lakehouse, selection, kafka=FakeKafka({"inventory": 8}), streaming_jobs=FakeJobs())
    failed = {each.check_name for each in result.get_asset_check_evaluations() if not each.passed}
    assert failed == {"offsets_contiguous"}
    assert read_holds(lakehouse.settings.root).hold_of("mv_stock_newest") is not None


def test_observe_reports_what_the_sensor_reports(lakehouse: Lakehouse) -> None:
    lakehouse.commit("inventory", 10)
    result = run(
        lakehouse,
        dg.AssetSelection.assets(topic_key(INVENTORY)).without_checks(),
        kafka=FakeKafka({"inventory": 25}),
    )
    assert result.success
    observed = {
        event.asset_key: event.asset_observation_data.asset_observation
        for event in result.get_asset_observation_events()
    }
    assert observed[topic_key(INVENTORY)].metadata["backlog_records"].value == 15


def test_a_topic_that_cannot_be_read_fails_the_run_and_hides_no_other(lakehouse: Lakehouse) -> None:
    class OneMissing(FakeKafka):
        def describe(self) -> dict[str, TopicDescription | str]:
            return {**super().describe(), INVENTORY.topic: "There is no such topic."}

    result = run(
        lakehouse,
        dg.AssetSelection.assets(topic_key(INVENTORY), topic_key(CLICKSTREAM)).without_checks(),
        kafka=OneMissing({"clickstream": 25}),
    )
    assert not result.success
    observed = {event.asset_key for event in result.get_asset_observation_events()}
    assert observed == {topic_key(CLICKSTREAM)}
    failure = result.filter_events(lambda event: event.is_step_failure)[0].step_failure_data
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == "There is no such topic."


def test_evaluate_judges_by_the_same_look_as_the_sensor(lakehouse: Lakehouse) -> None:
    lakehouse.commit("inventory", 10)
    result = run(
        lakehouse,
        dg.AssetSelection.checks_for_assets(table_key(event_table("inventory"))),
        kafka=FakeKafka({"inventory": 10}),
        streaming_jobs=FakeJobs(),
    )
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {each.check_name for each in evaluations} == {
        "ingest_lag",
        "events_arrive",
        "producer_clock",
        "volume",
        "offsets_contiguous",
        "unique_by_key",
        "conforms_to_contract",
    }
    assert all(each.passed for each in evaluations)


def test_evaluate_knows_what_the_sensors_have_seen_before(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    view = MATERIALIZED_VIEWS[0]
    lakehouse.commit("inventory", 90, age_seconds=40_000)
    drained = {"drained_partitions": {"inventory": {"0": now_ms() - 15_000}}}
    down = {"outages": {view.name: ["The warehouse does not answer.", now_ms()]}}

    def told(instance: dg.DagsterInstance | None) -> dict[str, dg.AssetCheckEvaluation]:
        result = run(
            lakehouse,
            dg.AssetSelection.checks_for_assets(
                table_key(event_table("inventory")), view_key(view)
            ),
            instance=instance,
            kafka=FakeKafka({"inventory": 91}),
            streaming_jobs=FakeJobs(),
        )
        return {each.check_name: each for each in result.get_asset_check_evaluations()}

    alone = told(None)
    assert not alone["ingest_lag"].passed
    assert "watch_stream" in str(alone["ingest_lag"].metadata["not_known"].value)
    assert "refresh_due_views" in str(alone["serving_lag"].metadata["not_known"].value)
    assert "not_known" not in alone["producer_clock"].metadata
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        leave_cursor(instance, STREAM_SENSOR, cursor(drained))
        leave_cursor(instance, VIEWS_SENSOR, cursor(down))
        knowing = told(instance)
    # The first record after a quiet night is not a night old.
    assert knowing["ingest_lag"].passed
    assert not knowing["serving_lag"].passed
    assert knowing["serving_lag"].description == "The warehouse does not answer."
    assert not any("not_known" in each.metadata for each in knowing.values())


def test_the_checks_of_one_view_are_evaluated_without_those_of_the_others(
    lakehouse: Lakehouse,
) -> None:
    lakehouse.commit("inventory", 10)
    key = view_key(MATERIALIZED_VIEWS[0])
    result = run(lakehouse, dg.AssetSelection.checks_for_assets(key))
    assert result.success
    told = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert told == {
        "serving_lag": True,
        "refreshed_incrementally": True,
        "snapshots_outlast_refresh": True,
    }
    assert {each.asset_key for each in result.get_asset_check_evaluations()} == {key}


def test_streaming_jobs_are_asked_for_and_never_spawned(lakehouse: Lakehouse) -> None:
    jobs = FakeJobs()
    defs = build_defs(lakehouse.settings, streaming_jobs=jobs)
    result = defs.resolve_job_def("restart_streaming_jobs").execute_in_process(
        run_config={"ops": {"restart_jobs": {"config": {"events": ["inventory"]}}}}
    )
    assert result.success
    assert jobs.asked == [("restart", "inventory")]


class RefusedJobs(FakeJobs):
    """A runner that refuses, and sees what was remembered by the time it was asked."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        super().__init__()
        self.instance = instance
        self.remembered: list[str] = []

    def request(self, verb: str, event: str) -> str:
        """As StreamingJobsResource answers."""
        super().request(verb, event)
        self.remembered += stops_asked(self.instance, [event])
        raise JobRequestError(f"{event} did not {verb}.")


def test_a_stop_is_remembered_before_it_is_asked_for_and_also_where_it_is_refused(
    lakehouse: Lakehouse,
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        jobs = RefusedJobs(instance)
        defs = build_defs(lakehouse.settings, streaming_jobs=jobs)

        def pressed(verb: str, *events: str) -> str:
            result = defs.resolve_job_def(f"{verb}_streaming_jobs").execute_in_process(
                run_config={"ops": {f"{verb}_jobs": {"config": {"events": list(events)}}}},
                instance=instance,
                raise_on_error=False,
            )
            failure = result.filter_events(lambda event: event.is_step_failure)[0]
            data = failure.step_failure_data.user_failure_data
            assert data is not None
            return str(data.description)

        told = pressed("stop", "inventory", "nothing", "transactions")
        # One that is none, or is refused, does not keep the others from being asked.
        assert jobs.asked == [("stop", "inventory"), ("stop", "transactions")]
        assert jobs.remembered == ["inventory", "transactions"]
        assert f"inventory did not stop. {STAYS_ASKED} There is no event 'nothing'" in told
        # A start says that a stop is over, whatever becomes of it; it has nothing to stay.
        assert pressed("start", "inventory") == "inventory did not start."
        assert list(stops_asked(instance, ["inventory", "transactions"])) == ["transactions"]
