"""Rules of the runbooks: one a check, in one shape, and all that they name exists.

The last holds for every page of `docs/`.
"""

import json
import re
import sys
import time
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from retail_lakehouse.assets.new_data import look_at_new_data
from retail_lakehouse.build import build_defs
from retail_lakehouse.checks.causes import Cause
from retail_lakehouse.cli import app
from retail_lakehouse.commands.options import load_settings
from retail_lakehouse.contracts.alerting import ALERTS, AlertContract, alert_for
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.judge import Good, judge
from retail_lakehouse.contracts.service_levels import (
    HOLDING,
    LEVELS,
    SERVICE_LEVELS,
    Measure,
    runbook_of,
)
from retail_lakehouse.contracts.views import VIEWS
from retail_lakehouse.local.control import ProcessState
from retail_lakehouse.local.facts import TopicFacts
from retail_lakehouse.local.stack_units import JOBS, PROCESS_NAMES
from retail_lakehouse.sensors.alerts import check_name
from retail_lakehouse.sensors.heartbeat import NAME as HEARTBEAT_SENSOR
from retail_lakehouse.settings import ENV_PREFIX, Settings
from retail_lakehouse.streaming.writer import EXPIRE_EVERY_SECONDS
from retail_lakehouse.tables.hourly_volume import read_hours
from retail_lakehouse.watchdog.verdicts import ALWAYS_KNOWN
from retail_lakehouse_tests.docs.pages import (
    COMMAND,
    LEAST_LETTERS,
    REPO,
    Page,
    count_letters,
    unsaid,
)
from retail_lakehouse_tests.resources.fakes import Lakehouse, settings_in

FOLDER = "docs/runbooks"
INDEX = Page(f"{FOLDER}/README.md")
PAGES = [Page(f"{FOLDER}/{path.name}") for path in sorted((REPO / FOLDER).glob("*.md"))]
PAGES.remove(INDEX)
SECTIONS = [
    "What you see",
    "What it means for planners",
    "Look first",
    "Likely causes, in order",
    "Mend",
    "How to see that it is over",
    "Try it",
]
EVERYWHERE = {
    *("cd", "date", "df", "du", "export", "grep", "kill", "mkdir", "mv", "ps", "rmdir", "tail"),
}
"""Programs that any machine has."""
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Of whichever click typer was built with."""
SHORT = re.compile(
    rf"Cause: ({'|'.join(Cause)})\.|The ({'|'.join(JOBS)}) job is ({'|'.join(ProcessState)})\."
    r"|The (sensor|schedule) \w+ failed in its last (\d+ ticks|tick), since [\d:]+ UTC:"
)
"""Sentences too short to be told from others by their words."""
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: Path(page.path).stem)
WITH_PYTHON = [page for page in PAGES if page.blocks("python")]
OTHERS = [Page(f"docs/{path.name}") for path in sorted((REPO / "docs").glob("*.md"))]
by_any_page = pytest.mark.parametrize(
    "page", [*PAGES, INDEX, *OTHERS], ids=lambda page: Path(page.path).stem
)


def contract_of(page: Page) -> AlertContract:
    (contract,) = [alert for alert in ALERTS if runbook_of(alert.check) == page.path]
    return contract


def test_every_runbook_that_the_contracts_name_is_there_and_there_is_no_other() -> None:
    named = {level.runbook for level in LEVELS} | {runbook_of(alert.check) for alert in ALERTS}
    assert {page.path for page in PAGES} == named


def test_the_index_names_each_page_with_its_alert_once_and_in_the_alerts_order() -> None:
    lines = re.findall(r"^\| (.+) \| \[(.+)\]\((.+)\.md\) \|$", INDEX.text, flags=re.MULTILINE)
    wanted = [(alert.title, Path(runbook_of(alert.check)).stem) for alert in ALERTS]
    assert [(title, name) for title, name, _ in lines] == wanted
    assert all(name == target for _, name, target in lines)


@by_page
def test_a_page_has_the_shape_of_all_and_the_words_of_its_alert(page: Page) -> None:
    contract = contract_of(page)
    assert page.title == contract.title
    assert page.headings == SECTIONS
    assert contract.meaning in " ".join(page.section("What it means for planners").split())
    for heading in SECTIONS:
        assert page.section(heading).strip(), heading


@by_page
def test_a_page_says_whose_it_is_and_how_much_it_matters(page: Page) -> None:
    levels = [level for level in LEVELS if level.runbook == page.path]
    ((severity, owner),) = {(level.severity.value, level.owner) for level in levels}
    line = page.text.split("\n\n")[1]
    assert line.startswith(f"Check `{levels[0].measure}` of ")
    assert line.endswith(f"; {severity}; `{owner}`.")


@by_page
def test_what_the_alert_suggests_stands_on_the_page(page: Page) -> None:
    suggested = contract_of(page).command.partition(" {")[0].split()[1:]
    assert any(command[: len(suggested)] == suggested for command in page.commands)


@by_page
def test_quoted_sentences_are_those_that_the_program_says(page: Page) -> None:
    assert page.quotes
    for quote in page.quotes:
        # A quote that leaves something out stands for two.
        for part in SHORT.sub("", quote).split("…"):
            assert count_letters(unsaid(part)) < LEAST_LETTERS, unsaid(part)


@by_any_page
def test_every_command_parses_and_what_it_names_exists(page: Page) -> None:
    assert page.commands or page in OTHERS
    for arguments in page.commands:
        try:
            path, told = parsed(arguments)
        except UsageError as error:
            raise AssertionError(f"{COMMAND} {' '.join(arguments)}: {error}") from error
        if path[0] == "jobs" and "name" in told:
            assert told["name"] in PROCESS_NAMES
        if path[0] == "views":
            assert set(told.get("names") or ()) <= {view.name for view in VIEWS}
        load_settings(None, told.get("assignments"))
        if path == ["alerts", "silence"]:
            assert matches_a_check(told["pattern"])


@by_any_page
def test_every_program_is_ours_or_everywhere(page: Page) -> None:
    assert page.programs - EVERYWHERE <= {COMMAND}


@by_any_page
def test_every_file_setting_and_log_that_is_named_exists(page: Page) -> None:
    for link in page.links:
        assert (REPO / page.path).parent.joinpath(link).exists(), link
    for name in page.in_backticks:
        if re.fullmatch(r"(retail_lakehouse|docs|glue_scripts|benchmarks)/[\w./-]+", name):
            assert (REPO / name).exists(), name
    for log in re.findall(r"\.lakehouse/logs/([\w-]+)\.log", page.text):
        assert log in PROCESS_NAMES
    for variable in re.findall(rf"{ENV_PREFIX}(\w+)", page.text):
        assert variable.lower() in Settings.model_fields, variable
    for name in page.in_backticks:
        if name.startswith(("snapshot_", "refresh_interval", "alert_")):
            assert name in Settings.model_fields, name


@pytest.fixture(scope="module")
def names_in_dagster() -> dict[str, set[str]]:
    settings = Settings.load({"state_dir": "unused", "keep_warm_cron": "0 8 * * *"})
    repository = build_defs(settings).get_repository_def()
    graph = repository.asset_graph
    return {
        "schedule": {schedule.name for schedule in repository.schedule_defs},
        # The one that the aws profile adds; to build that profile takes settings of an account.
        "sensor": {HEARTBEAT_SENSOR, *(sensor.name for sensor in repository.sensor_defs)},
        "job": {job.name for job in repository.get_all_jobs()},
        "asset": {key.path[-1] for key in graph.get_all_asset_keys()},
    }


@by_any_page
def test_what_is_named_of_dagster_exists(page: Page, names_in_dagster: dict[str, set[str]]) -> None:
    for kind, names in names_in_dagster.items():
        for name in re.findall(rf"(?<!Glue ){kind}s? `([a-z_]+)`", page.prose):
            assert name in names, name
    control = {name for name in page.in_backticks if name.endswith("_streaming_jobs")}
    assert control <= names_in_dagster["job"]


def test_the_pages_of_checks_that_hold_and_of_volume_show_python() -> None:
    shown = {contract_of(page).check for page in WITH_PYTHON}
    assert shown >= {*HOLDING, Measure.VOLUME}


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: Path(page.path).stem)
def test_python_on_a_page_runs_against_tables_as_the_jobs_leave_them(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lakehouse, sent = Lakehouse(settings_in(tmp_path)), FakeProducers()
    for event in ("inventory", "clickstream"):
        lakehouse.commit(event, 3)
        lakehouse.quarantine(event, [b"{", b"["])
    monkeypatch.setenv(f"{ENV_PREFIX}STATE_DIR", str(lakehouse.settings.root))
    monkeypatch.setitem(sys.modules, "confluent_kafka", sent.module())
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    for code in page.blocks("python"):
        run(page, code)
    told = capsys.readouterr().out
    if page.path.endswith("quarantine-share.md"):
        assert "json    2" in told
    if page.path.endswith("refreshed-incrementally.md"):
        last = lakehouse.table("clickstream").current_snapshot().summary
        assert last.operation.value in ("overwrite", "delete")
    check = contract_of(page).check
    if check in HOLDING:
        _, data = look_at_new_data(lakehouse.resource(), lakehouse.settings)
        assert not isinstance(data, str)
        found = {each.measure for each in data.book.findings}
        assert found == {Measure(check)}
    if check == Measure.VOLUME:
        assert len(read_hours(lakehouse.settings.root)["inventory"].records) == 4
    for topic, body in sent.records:
        assert topic == INVENTORY.topic
        now = time.time_ns() // 1_000_000
        assert isinstance(judge(body, now, INVENTORY), Good)
        assert json.loads(body)["event_timestamp"] - now > 30_000


def test_a_table_is_rolled_back_as_the_index_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lakehouse = Lakehouse(settings_in(tmp_path))
    before, wrong = lakehouse.commit("inventory", 3), lakehouse.commit("inventory", 2)
    monkeypatch.setenv(f"{ENV_PREFIX}STATE_DIR", str(lakehouse.settings.root))
    reading, rolling_back = INDEX.blocks("python")
    run(INDEX, reading)
    assert f"\n{wrong} append 2 stream " in capsys.readouterr().out
    run(INDEX, rolling_back.replace("6183520144921", str(wrong)))
    assert lakehouse.table("inventory").current_snapshot().snapshot_id == before


def run(page: Page, code: str) -> None:
    """Python on a page, as a person runs it."""
    exec(compile(code, page.path, "exec"), {"__name__": "__page__"})


@by_page
def test_nothing_is_started_again_in_the_line_behind_its_stop(page: Page) -> None:
    for block in page.blocks("sh"):
        for line, behind in pairwise(block.splitlines()):
            assert " jobs stop " not in line or behind != line.replace(" stop ", " start "), line


def test_the_trial_of_the_quarantine_is_told_however_long_the_platform_has_run() -> None:
    commands = Page(f"{FOLDER}/quarantine-share.md").commands
    (told,) = [told for path, told in map(parsed, commands) if path == ["simulate"]]
    settings = Settings.load({"state_dir": "unused"})
    # The share is of the marks that are kept, and these go when expiry comes by.
    kept_seconds = settings.retention_minutes * 60 + EXPIRE_EVERY_SECONDS
    share = told["malformed_share"] * told["duration"] / kept_seconds
    assert share > 2 * SERVICE_LEVELS.quarantine_share


@pytest.fixture
def real_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, ...]]:
    """The heads of the tables that the commands print."""
    settings = settings_in(tmp_path)
    topics = [TopicFacts(topic.name, "id", {0: 0}, {0: 7}) for topic in settings.topics]
    monkeypatch.setattr("retail_lakehouse.commands.topics.require_kafka", lambda _settings: None)
    monkeypatch.setattr("retail_lakehouse.local.facts.read_topics", lambda _settings: topics)
    Lakehouse(settings)
    told = [
        CliRunner().invoke(app, [*verb, "--state-dir", str(settings.root)]).output
        for verb in (["status"], ["topics"], ["views", "list"])
    ]
    lines = [line for text in told for line in text.splitlines()]
    return {heads for line in lines if (heads := heads_of(line))}


def heads_of(line: str) -> tuple[str, ...]:
    """The words of a table's head; none for another line."""
    words = tuple(re.split(r" {2,}", line.strip()))
    return words if words[0] in ("topic", "table", "view", "process") and words[1:] else ()


def test_tables_on_the_pages_have_the_heads_that_the_commands_print(
    real_heads: set[tuple[str, ...]],
) -> None:
    blocks = [block for page in PAGES for block in page.blocks("text")]
    shown = {heads for block in blocks if (heads := heads_of(block.partition("\n")[0]))}
    assert {heads[0] for heads in shown} >= {"topic", "table", "view"}
    assert shown <= real_heads


class FakeProducers:
    """In place of Kafka's producer: keeps what is sent."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes]] = []

    def module(self) -> ModuleType:
        records = self.records

        class Producer:
            def __init__(self, config: dict[str, object]) -> None:
                assert config["bootstrap.servers"]

            def produce(self, topic: str, value: str, key: str) -> None:
                assert key
                records.append((topic, value.encode()))

            def flush(self) -> None:
                """Nothing is held back."""

        module = ModuleType("confluent_kafka")
        vars(module)["Producer"] = Producer
        return module


def parsed(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The verbs and the options of a command line, as the real program reads them; runs nothing.

    Raises:
        UsageError: the program would refuse it.
    """
    root = typer.main.get_command(app)
    _tell_instead(root, [])
    found: tuple[list[str], dict[str, Any]] = root.main(
        arguments, prog_name=COMMAND, standalone_mode=False
    )
    return found


def _tell_instead(command: Any, path: list[str]) -> None:
    """Has each verb return what it was told in place of doing it."""
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            _tell_instead(child, [*path, name])
    else:
        command.callback = lambda **told: (path, told)


def matches_a_check(pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names_of_alerts())


@cache
def names_of_alerts() -> frozenset[str]:
    """As `alerts list` shows them, and as a silence has to name them."""
    graph = build_defs(Settings.load({"state_dir": "unused"})).resolve_asset_graph()
    return ALWAYS_KNOWN | {check_name(key) for key in graph.asset_check_keys}


def test_a_pattern_that_names_no_alert_is_found_out() -> None:
    assert matches_a_check("retail_db/*:ingest_lag")
    assert not matches_a_check("inventory_events:ingest_lag")


def test_a_verb_an_option_or_a_value_that_is_none_is_found_out() -> None:
    parsed(["jobs", "restart", "broker"])
    for wrong in (["job", "restart"], ["jobs", "pause", "broker"], ["status", "--yaml"]):
        with pytest.raises(UsageError):
            parsed(wrong)


def test_a_sentence_that_the_program_does_not_say_is_found_out() -> None:
    said = (
        "7 records wait, the oldest for 151 s at most: over the 120 s that are promised. See the "
        "check of the inventory job."
    )
    assert count_letters(unsaid(said)) < LEAST_LETTERS
    assert count_letters(unsaid(said.replace("are promised", "were promised"))) >= LEAST_LETTERS


def test_a_check_without_words_of_its_own_has_a_page_s_name_all_the_same() -> None:
    assert runbook_of(alert_for("rows_are_blue").check) == f"{FOLDER}/rows-are-blue.md"
