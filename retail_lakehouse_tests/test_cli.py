"""What a newcomer types: help, wrong options, exit codes; nothing heavy is loaded for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.commands.options import load_settings
from retail_lakehouse.contracts.tables import TABLES
from retail_lakehouse.contracts.topics import TOPICS
from retail_lakehouse.local.ports import free_ports
from retail_lakehouse.local.state_folder import AlreadyRunningError, hold
from retail_lakehouse.settings import Settings, SettingsError
from retail_lakehouse_tests.streaming.test_arguments import AWS

VERBS = ["dev", "stop", "status", "doctor", "reset", "simulate", "verify", "topics", "jobs"]
VERBS += ["views", "alerts", "contracts", "settings", "web", "erase"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "retail_lakehouse.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_the_help_of_every_verb_fits_80_columns(verb: str) -> None:
    answer = CliRunner().invoke(app, [*([verb] if verb else []), "--help"], terminal_width=80)
    assert answer.exit_code == 0
    assert max(map(len, answer.output.splitlines())) <= 80


def test_the_help_names_every_verb_and_exit_code() -> None:
    told = CliRunner().invoke(app, ["--help"]).output
    assert all(f"\n  {verb}" in told for verb in VERBS)
    assert all(f"\n    {code} " in told for code in (0, 1, 2, 3, 4, 130))


def test_help_loads_nothing_heavy() -> None:
    heavy = ["pyspark", "pyiceberg", "dagster", "duckdb", "redshift_connector", "confluent_kafka"]
    heavy += ["pyarrow", "numpy"]
    code = f"""
import sys
from retail_lakehouse.cli import app
print([name for name in {heavy} if name in sys.modules])
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_the_version_is_printed() -> None:
    assert run("--version").stdout.startswith("retail-lakehouse 0.")


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("local_partitions", "--set local_partitions is no assignment."),
        ("local_partition=3", "There is no setting 'local_partition'. Did you mean"),
        ("local_partitions=0", "The setting local_partitions is wrong:"),
        ("broker_port=3000", "The settings contradict each other:"),
        ("profile=aws", "the aws profile needs"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_exit_2(
    tmp_path: Path, assignment: str, sentence: str
) -> None:
    answer = run("dev", "--state-dir", str(tmp_path), "--set", assignment)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_dev_refuses_a_broken_file_of_routes_before_anything_starts(tmp_path: Path) -> None:
    routes, state = tmp_path / "routes.toml", tmp_path / "state"
    routes.write_text("[[rout]]\n")
    told = f"alert_routes_file={routes}"
    answer = run("dev", "--state-dir", str(state), "--set", told)
    assert answer.returncode == 2
    assert "is to hold [[route]] tables" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not state.exists()


def test_history_on_aws_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """No lock of this machine keeps a job on Glue from writing at the same time."""
    told = [part for name, value in AWS.items() for part in ("--set", f"{name}={value}")]
    answer = run("simulate", "--state-dir", str(tmp_path), "--history-days", "1", *told)
    assert answer.returncode == 1
    assert "only the streaming job itself writes" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_setting_is_listed_with_its_value_and_what_differs_from_the_default_has_a_star(
    tmp_path: Path,
) -> None:
    answer = run("settings", "--state-dir", str(tmp_path), "--set", "trigger_seconds=2.5")
    lines = answer.stdout.splitlines()
    assert f"* state_dir = {tmp_path}" in lines
    assert "* trigger_seconds = 2.5" in lines
    assert lines[lines.index("* trigger_seconds = 2.5") + 1].strip().startswith("Micro-batch")
    assert "  spark_cores = 1" in lines
    listed = [line[2:].partition(" =")[0] for line in lines if line[2:3].strip()]
    assert listed == list(Settings.model_fields)


def test_a_verbs_own_option_wins_over_an_assignment(tmp_path: Path) -> None:
    settings = load_settings(
        tmp_path,
        ["simulator_events_per_second=5", "LOCAL_PARTITIONS=7"],
        {"simulator_events_per_second": 9.0},
    )
    assert settings.simulator_events_per_second == 9.0
    assert settings.local_partitions == 7
    with pytest.raises(SettingsError, match="no assignment"):
        load_settings(tmp_path, ["=5"])


def test_a_second_dev_is_refused_with_exit_3(tmp_path: Path) -> None:
    lock = hold(tmp_path)
    answer = run("dev", "--state-dir", str(tmp_path))
    lock.close()
    assert answer.returncode == 3
    assert "already runs on" in answer.stderr


def test_status_answers_when_nothing_runs(tmp_path: Path) -> None:
    answer = run("status", "--state-dir", str(tmp_path), "--json")
    assert answer.returncode == 0
    assert set(json.loads(answer.stdout)["jobs"]) == {topic.event for topic in TOPICS}
    page = run("status", "--state-dir", str(tmp_path))
    assert "Running    no" in page.stdout


def test_jobs_and_stop_say_when_nothing_runs(tmp_path: Path) -> None:
    answer = run("jobs", "stop", "inventory", "--state-dir", str(tmp_path))
    assert answer.returncode == 3
    assert "Start it with `make dev`" in answer.stderr
    stopped = run("stop", "--state-dir", str(tmp_path))
    assert stopped.returncode == 0
    assert "Nothing runs on" in stopped.stdout


@pytest.mark.parametrize(
    "verb", [["verify"], ["topics"], ["views", "refresh"], ["views", "check"]], ids=" ".join
)
def test_a_verb_that_asks_what_is_down_is_refused_at_once(verb: list[str], tmp_path: Path) -> None:
    broker, warehouse = free_ports(2)
    ports = ["--set", f"broker_port={broker}", "--set", f"warehouse_port={warehouse}"]
    answer = run(*verb, "--state-dir", str(tmp_path), *ports)
    assert answer.returncode == 3
    assert answer.stderr.startswith(f"Nothing runs for the state folder {tmp_path}. Start it with")
    assert len(answer.stderr.splitlines()) == 1


def test_reset_asks_first_and_is_refused_while_dev_runs(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    runner = CliRunner()
    arguments = ["reset", "--state-dir", str(tmp_path)]
    asked = runner.invoke(app, arguments, input="n\n")
    assert asked.exit_code == 1
    assert (tmp_path / "kafka").exists()
    lock = hold(tmp_path)
    refused = runner.invoke(app, [*arguments, "--yes"])
    assert isinstance(refused.exception, AlreadyRunningError)
    assert refused.output == ""
    assert run(*arguments, "--yes").returncode == 3
    lock.close()
    assert runner.invoke(app, [*arguments, "--yes"]).exit_code == 0
    assert not (tmp_path / "kafka").exists()


def test_reset_says_what_it_keeps_and_all_keeps_no_download(tmp_path: Path) -> None:
    for name in ("kafka", "cache", "tools", "photos"):
        (tmp_path / name).mkdir()
    runner = CliRunner()
    arguments = ["reset", "--yes", "--state-dir", str(tmp_path)]
    told = runner.invoke(app, arguments).output
    assert f"This removes from {tmp_path}: kafka\n" in told
    assert "It keeps the downloads: cache, tools. Remove them too with --all.\n" in told
    assert "It keeps what the platform did not make: photos.\n" in told
    nothing = runner.invoke(app, arguments).output
    assert "There is nothing to remove" in nothing
    assert "with --all" in nothing
    told = runner.invoke(app, [*arguments, "--all"]).output
    assert f"This removes from {tmp_path}: cache, tools\n" in told
    assert "downloads" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_the_contracts_are_exported_for_every_topic_and_table(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["contracts", "export", str(tmp_path)])
    assert answer.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{topic.name}.schema.json" for topic in TOPICS),
        *(f"retail_iceberg.{table.name}.columns.json" for table in TABLES),
    }
