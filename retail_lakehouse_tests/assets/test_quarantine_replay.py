import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from retail_lakehouse.build import build_defs
from retail_lakehouse.contracts.tables import quarantine_table
from retail_lakehouse.resources.spark import SparkResource
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.replay import ReplayReport
from retail_lakehouse_tests.resources.fakes import TOPIC_ID, Lakehouse, now_ms, settings_in
from retail_lakehouse_tests.streaming.test_arguments import AWS


def replay(settings: Settings, config: dict[str, Any]) -> dg.ExecuteInProcessResult:
    job = dg.define_asset_job("replay", selection="key:retail_db/quarantine_replay")
    defs = dg.Definitions.merge(build_defs(settings), dg.Definitions(jobs=[job]))
    run_config = {"ops": {"retail_db__quarantine_replay": {"config": config}}}
    return defs.resolve_job_def("replay").execute_in_process(run_config, raise_on_error=False)


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


@pytest.mark.parametrize(
    "config, sentence",
    [
        ({"event": "weather"}, "There is no event 'weather'"),
        ({"event": "inventory", "reasons": ["bad"]}, "There is no reason 'bad'"),
        ({"event": "inventory", "offsets": {"x": [1, 2]}}, "'x' is no partition"),
        ({"event": "inventory", "offsets": {"0": [2, 1]}}, "must be [from, to)"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_refused_before_spark_starts(
    tmp_path: Path, config: dict[str, Any], sentence: str
) -> None:
    assert sentence in failure(replay(settings_in(tmp_path), config))


def test_a_replay_on_aws_is_refused_before_spark_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr(SparkResource, "session", started)
    settings = Settings.load({**AWS, "state_dir": tmp_path / "state"})
    told = failure(replay(settings, {"event": "inventory"}))
    assert "only the streaming job itself writes" in told
    assert "Produce the records to their topic again" in told


def test_records_of_earlier_topics_and_those_that_wait_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = ReplayReport(3, 2, 0, 1, {"json": 1}, earlier_topics={"gone": 2}, waiting=4)
    monkeypatch.setattr(SparkResource, "session", lambda *_: nullcontext())
    monkeypatch.setattr(
        "retail_lakehouse.streaming.replay.replay_quarantine", lambda *_, **__: report
    )
    result = replay(settings_in(tmp_path), {"event": "inventory"})
    (told,) = result.asset_materializations_for_node("retail_db__quarantine_replay")
    assert told.metadata["judged"].value == 3
    assert told.metadata["of_earlier_topics"].value == {"gone": 2}
    assert told.metadata["waiting_for_their_batch"].value == 4


@pytest.mark.stack
@pytest.mark.slow
def test_a_record_that_is_good_by_todays_contract_lands_and_the_other_is_kept(
    tmp_path: Path, cache_dir: Path
) -> None:
    settings = Settings.load({"state_dir": tmp_path / "state", "cache_dir": cache_dir})
    lakehouse = Lakehouse(settings)
    lakehouse.quarantine("inventory", [_good(), b"{"])
    lakehouse.commit("inventory", 0, quarantined=2)

    config = {"ops": {"retail_db__quarantine_replay": {"config": {"event": "inventory"}}}}
    # In a process of its own, as Dagster runs it: it takes the process's environment for Spark.
    told = subprocess.run(
        [
            *(sys.executable, "-m", "dagster", "asset", "materialize"),
            *("-m", "retail_lakehouse.definitions", "--select", "key:retail_db/quarantine_replay"),
            *("--config-json", json.dumps(config)),
        ],
        cwd=tmp_path,
        env=_environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    assert "Judged 2 quarantined records of inventory again" in told.stderr

    landed = lakehouse.table("inventory").scan().to_arrow().to_pylist()
    assert [(row["event_id"], row["kafka_topic_id"]) for row in landed] == [("e-1", TOPIC_ID)]
    contract = quarantine_table("inventory")
    rows = lakehouse.catalog.load_table(contract.identifier).scan().to_arrow().to_pylist()
    assert sorted(row["outcome"] for row in rows) == [
        "kept",
        "landed",
        "quarantined",
        "quarantined",
    ]
    assert len({row["replay_id"] for row in rows}) == 2


def _environment(settings: Settings) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "PYSPARK"))}
    return kept | {
        "RETAIL_LAKEHOUSE_STATE_DIR": str(settings.root),
        "RETAIL_LAKEHOUSE_CACHE_DIR": str(settings.cache),
    }


def _good() -> bytes:
    return json.dumps(
        {
            "event_id": "e-1",
            "store_id": "S001",
            "sku": "SKU1",
            "quantity_on_hand": 5,
            "quantity_reserved": 0,
            "quantity_delta": -1,
            "unit_cost": "1.25",
            "event_type": "SALE",
            "event_timestamp": now_ms() - 1000,
        }
    ).encode()
