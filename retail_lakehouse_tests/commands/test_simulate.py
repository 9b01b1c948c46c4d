"""A wrong option of the simulator, or of `dev`, is answered with a sentence and exit code 2."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_lakehouse.burst import Burst
from retail_lakehouse.cli import app
from retail_lakehouse.commands.options import running_settings
from retail_lakehouse.local.simulator import SimulatorOptions, SimulatorReport
from retail_lakehouse.local.stack_settings import settings_file, write_settings
from retail_lakehouse.local.state_folder import hold
from retail_lakehouse.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--burst", "5/0/1"], "lasts 1 s of 0 s"),
        (["--burst", "5/60/0"], "lasts 0 s of 60 s"),
        (["--burst", "5/60/61"], "lasts 61 s of 60 s"),
        (["--burst", "0/60/10"], "has the factor 0"),
        (["--burst", "nan/60/10"], "has the factor nan"),
        (["--burst", "5/inf/10"], "of inf s"),
        (["--burst", "5/60"], "is not FACTOR/EVERY/FOR"),
        (["--events-per-second", "0"], "simulator_events_per_second is wrong"),
        (["--events-per-second", "-3"], "simulator_events_per_second is wrong"),
        (["--events-per-second", "inf"], "simulator_events_per_second is wrong"),
        (["--seed", "-1"], "simulator_seed is wrong"),
        (
            ["--history-days", "1", "--events-a-day", "6291457"],
            "--events-a-day 6291457 is more than the 6291456 that have room in a past day. Lower",
        ),
        (["--malformed-share", "1"], "malformed_share is wrong"),
        (["--late-share", "-0.1"], "late_share is wrong"),
        (["--malformed-share", "0.5", "--late-share", "0.5"], "add up to 1 or more"),
    ],
)
def test_a_wrong_option_of_the_simulator_is_a_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        CliRunner().invoke(
            app,
            ["simulate", "--state-dir", str(tmp_path), *arguments],
            catch_exceptions=False,
            standalone_mode=False,
        )
    assert sentence in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_option_wins_over_the_setting_and_may_take_a_burst_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[SimulatorOptions] = []

    def ran(options: SimulatorOptions) -> SimulatorReport:
        run.append(options)
        return SimulatorReport(0, 0.0, 0)

    monkeypatch.setattr("retail_lakehouse.local.simulator.run.run_until_signalled", ran)
    monkeypatch.setenv("RETAIL_LAKEHOUSE_SIMULATOR_BURST", "5/600/60")
    for told in ([], ["--set", "simulator_burst=3/60/6"], ["--burst", "2/60/6"], ["--burst", ""]):
        answer = CliRunner().invoke(app, ["simulate", "--state-dir", str(tmp_path), *told])
        assert answer.exit_code == 0
    assert [options.burst for options in run] == [
        Burst(5.0, 600.0, 60.0),
        Burst(3.0, 60.0, 6.0),
        Burst(2.0, 60.0, 6.0),
        None,
    ]


@pytest.mark.parametrize("option", ["--duration", "--max-events", "--events-a-day"])
def test_a_limit_of_nothing_is_refused(tmp_path: Path, option: str) -> None:
    answer = CliRunner().invoke(app, ["simulate", "--state-dir", str(tmp_path), option, "0"])
    assert answer.exit_code == 2
    assert option in answer.output


def test_history_before_the_calendar_is_refused(tmp_path: Path) -> None:
    arguments = ["simulate", "--state-dir", str(tmp_path), "--history-days", "1000000"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 2
    assert "--history-days" in answer.output
    assert list(tmp_path.iterdir()) == []


def test_keep_without_until_live_is_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Give both, or neither"):
        CliRunner().invoke(
            app, ["dev", "--keep", "--state-dir", str(tmp_path)], catch_exceptions=False
        )
    assert list(tmp_path.iterdir()) == []


def test_an_assignment_changes_one_setting_of_the_running_stack_and_no_port(tmp_path: Path) -> None:
    stack = Settings.load({"state_dir": tmp_path, "broker_port": 21_111, "local_partitions": 5})
    write_settings(stack)
    assert json.loads(settings_file(tmp_path).read_text())["broker_port"] == 21_111
    assignments = ["simulator_seed=7"]
    assert running_settings(tmp_path, assignments).broker_port != 21_111
    with contextlib.closing(hold(tmp_path)):
        told = running_settings(tmp_path, assignments, {"local_partitions": 4})
    assert (told.broker_port, told.simulator_seed, told.local_partitions) == (21_111, 7, 4)
