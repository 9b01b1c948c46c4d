from pathlib import Path

import pytest

from retail_lakehouse.contracts.events import EVENTS, INVENTORY
from retail_lakehouse.contracts.job_states import Phase
from retail_lakehouse.contracts.tables import TABLES, TableContract
from retail_lakehouse.local.control import ProcessState, ProcessStatus, SupervisorClient
from retail_lakehouse.local.ports import free_port
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.resources.job_runs import JobRequestError, JobState
from retail_lakehouse.resources.kafka import KafkaResource
from retail_lakehouse.resources.streaming_jobs import StreamingJobsResource
from retail_lakehouse.settings import Settings
from retail_lakehouse.streaming.lock import JvmFileLock, yielded_ms
from retail_lakehouse.tables.catalog import AWS_TIMEOUT_SECONDS, CatalogError
from retail_lakehouse_tests.resources.fakes import Lakehouse, settings_in


def test_settings_survive_the_way_through_dagsters_configuration(tmp_path: Path) -> None:
    settings = Settings.load(
        {"state_dir": tmp_path, "trigger_seconds": 2.5, "simulator_seed": 9, "broker_port": 20000}
    )
    assert IcebergCatalogResource.of(settings).platform() == settings


def test_a_broker_that_is_down_is_one_sentence_for_every_topic(tmp_path: Path) -> None:
    settings = Settings.load({"state_dir": tmp_path, "broker_port": free_port()})
    answers = KafkaResource.of(settings, timeout_seconds=1.0).describe()
    assert set(answers) == {event.topic for event in EVENTS}
    assert all("did not answer" in str(answer) for answer in answers.values())


def test_jobs_are_stopped_and_say_how_to_start_when_no_supervisor_runs(tmp_path: Path) -> None:
    jobs = StreamingJobsResource.of(settings_in(tmp_path))
    runs = jobs.runs()
    assert {run.state for run in runs.values()} == {JobState.STOPPED}
    assert "make dev" in runs["inventory"].sentence
    with pytest.raises(JobRequestError, match="make dev"):
        jobs.request("start", "inventory")


def test_a_catalog_that_lets_a_request_run_out_is_not_asked_for_the_other_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, now, asked = Lakehouse(settings_in(tmp_path)).settings, [0.0], []

    def silent(_catalog: object, _settings: object, contract: TableContract) -> None:
        asked.append(contract.name)
        now[0] += AWS_TIMEOUT_SECONDS
        raise CatalogError("The catalog does not answer.")

    monkeypatch.setattr("retail_lakehouse.tables.catalog.load_contract_table", silent)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    answers = IcebergCatalogResource.of(settings).tables()
    assert answers == {contract.name: "The catalog does not answer." for contract in TABLES}
    assert asked == [TABLES[0].name]


def test_a_job_says_when_it_last_stood_aside_for_another_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    running = ProcessStatus("inventory", ProcessState.RUNNING, 7, 1.0, 0, "", "a.log")
    monkeypatch.setattr(SupervisorClient, "status", lambda _self: {"inventory": running})
    jobs = StreamingJobsResource.of(settings)
    assert jobs.runs()["inventory"].yielded_at_ms is None
    JvmFileLock(None, settings.lock_dir, INVENTORY.topic).note_yield()
    yielded = jobs.runs()["inventory"].yielded_at_ms
    assert yielded == yielded_ms(settings.lock_dir, INVENTORY.topic)
    assert yielded is not None


@pytest.mark.parametrize(
    "state, phase",
    [
        (ProcessState.STARTING, Phase.STARTING),
        # Whether it does its work is not the supervisor's to say.
        (ProcessState.RUNNING, None),
        (ProcessState.STOPPING, Phase.STOPPING),
        (ProcessState.STOPPED, Phase.STOPPED),
        (ProcessState.WAITING, Phase.WAITING),
        (ProcessState.CRASHING, Phase.CRASH_LOOPING),
        (ProcessState.HALTED, Phase.NEEDS_A_PERSON),
    ],
)
def test_a_job_that_does_not_run_is_where_the_supervisor_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: ProcessState, phase: Phase | None
) -> None:
    status = ProcessStatus("inventory", state, None, None, 0, "", "a.log")
    monkeypatch.setattr(SupervisorClient, "status", lambda _self: {"inventory": status})
    runs = StreamingJobsResource.of(settings_in(tmp_path)).runs()
    assert runs["inventory"].phase is phase
    # Of a supervisor that was started with fewer jobs.
    assert runs["clickstream"].phase is Phase.STOPPED


def test_a_metadata_file_that_is_gone_is_a_sentence_for_its_table_alone(tmp_path: Path) -> None:
    lakehouse = Lakehouse(settings_in(tmp_path))
    location = lakehouse.table("inventory").metadata_location
    Path(location.removeprefix("file://")).unlink()
    answers = lakehouse.resource().tables(TABLES)
    assert "its metadata file is gone" in str(answers["inventory_events"])
    assert not isinstance(answers["transactions_events"], str)


def test_a_catalog_that_is_no_database_is_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    lakehouse = Lakehouse(settings_in(tmp_path))
    for file in lakehouse.settings.catalog_db.parent.glob("catalog.db*"):
        file.write_bytes(b"not a database" * 100)
    answers = lakehouse.resource().tables(TABLES)
    assert all("catalog" in str(answer) and "\n" not in str(answer) for answer in answers.values())


def test_a_table_that_is_missing_does_not_hide_the_others(tmp_path: Path) -> None:
    lakehouse = Lakehouse(settings_in(tmp_path))
    lakehouse.catalog.drop_table(("retail_db", "inventory_events"))
    answers = lakehouse.resource().tables(TABLES)
    assert "does not exist" in str(answers["inventory_events"])
    assert not isinstance(answers["transactions_events"], str)
