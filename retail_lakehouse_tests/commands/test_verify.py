"""Rules of `verify`: its exit code, what it says and when, and what it asks of the comparison."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.local import verify
from retail_lakehouse.local.control import ControlServer, ProcessState, ProcessStatus
from retail_lakehouse.local.verify import Check, VerifyReport
from retail_lakehouse.settings import Settings

HOLDS = Check("retail.t", "landed", "3", "3", holds=True)
FAILS = Check("retail.t", "content", "a", "b", holds=False)


@dataclass
class Comparison:
    """Stands for the comparison, which needs Kafka; remembers what it was asked."""

    report: VerifyReport
    asked: list[dict[str, object]] = field(default_factory=list)

    def __call__(self, _: Settings, **options: object) -> VerifyReport:
        self.asked.append(options)
        return self.report


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> Iterator[Comparison]:
    """The check holds; something answers where the broker would, on a port of the test's own."""
    made = Comparison(VerifyReport((HOLDS,), 0.5))
    monkeypatch.setattr(verify, "verify", made)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RETAIL_LAKEHOUSE_BROKER_PORT", str(server.getsockname()[1]))
        yield made


def _run(folder: Path, *options: str) -> tuple[int, list[str]]:
    answer = CliRunner().invoke(app, ["verify", *options, "--state-dir", str(folder)])
    return answer.exit_code, answer.output.splitlines()


def test_checks_that_hold_are_exit_0_and_a_line_each(
    tmp_path: Path, comparison: Comparison
) -> None:
    assert _run(tmp_path) == (0, [str(HOLDS), "All 1 checks hold (0.5 s)."])
    assert _run(tmp_path, "--quiet") == (0, [])


def test_a_check_that_does_not_hold_is_exit_1_and_all_that_quiet_tells(
    tmp_path: Path, comparison: Comparison
) -> None:
    comparison.report = VerifyReport((HOLDS, FAILS), 0.5)
    code, lines = _run(tmp_path)
    assert code == 1
    assert lines[:2] == [str(HOLDS), str(FAILS)]
    assert lines[2].startswith("1 of 2 checks do not hold")
    assert _run(tmp_path, "--quiet") == (1, [str(FAILS)])


def test_the_comparison_is_asked_as_the_options_say(tmp_path: Path, comparison: Comparison) -> None:
    _run(tmp_path)
    _run(tmp_path, "--wait", "7", "--allow-empty")
    assert comparison.asked == [
        {"wait_seconds": 120.0, "allow_empty": False},
        {"wait_seconds": 7.0, "allow_empty": True},
    ]


def test_the_report_is_told_before_the_simulator_is_asked_to_go_on(
    tmp_path: Path, comparison: Comparison
) -> None:
    simulator = ProcessStatus(
        "simulator", ProcessState.RUNNING, None, None, 0, "", "/log"
    ).to_json()

    def answer(action: str, request: Mapping[str, object]) -> object:
        return {"simulator": simulator} if action == "status" else simulator

    server = ControlServer(tmp_path, answer)
    server.start()
    code, lines = _run(tmp_path)
    quiet = _run(tmp_path, "--quiet")
    server.close()
    assert quiet == (0, [])
    assert code == 0
    assert lines == [
        "The simulator is paused.",
        str(HOLDS),
        "All 1 checks hold (0.5 s).",
        "The simulator goes on.",
    ]
