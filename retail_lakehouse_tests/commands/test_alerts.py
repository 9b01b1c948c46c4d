import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_lakehouse.alerts.desk import tell
from retail_lakehouse.alerts.incidents import Seen
from retail_lakehouse.alerts.outbox import outbox_file
from retail_lakehouse.cli import app
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.alerts.build import NOW, receiver, verdict

SECRET = "hunter2"


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(SECRET)
    return tmp_path / "routes.toml"


def run(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    told = CliRunner().invoke(
        app,
        [
            "alerts",
            *arguments,
            "--state-dir",
            str(tmp_path / "state"),
            *(["--set", f"alert_routes_file={tmp_path / 'routes.toml'}"]),
        ],
    )
    return told.exit_code, told.output + (str(told.exception) if told.exception else "")


def settings_of(tmp_path: Path) -> Settings:
    return Settings.load(
        {"state_dir": tmp_path / "state", "alert_routes_file": tmp_path / "routes.toml"}
    )


def hook(url: str, tmp_path: Path, name: str = "hook") -> str:
    return (
        f'[[route]]\nname = "{name}"\nkind = "webhook"\nurl = "{url}/"\n'
        f'token_file = "{tmp_path / "token"}"\n'
    )


def test_the_list_shows_what_is_open_waits_and_fails_and_makes_no_file(
    tmp_path: Path, routes: Path
) -> None:
    with receiver() as end:
        end.answers = [(500, {}, SECRET)]
        routes.write_text(hook(end.url, tmp_path))
        code, told = run(tmp_path, "list")
        assert (code, told.splitlines()[0]) == (0, "Open: 0")
        assert not outbox_file(tmp_path / "state" / "alerts").exists()
        seen: list[Seen] = [verdict(1)]
        tell(settings_of(tmp_path), seen, [seen[0].name], None, NOW)
        code, told = run(tmp_path, "list")
        assert "retail/table_1:ingest_lag" in told
        assert "Waiting to be sent: 1" in told
        assert "fails, 1 times in a row: The webhook answered 500." in told
        code, raw = run(tmp_path, "list", "--json")
        answer = json.loads(raw)
        assert answer["open"][0]["severity"] == "critical"
        assert answer["open"][0]["silenced"] is False
        assert answer["routes"][0]["waiting"] == 1
        assert SECRET not in told + raw


def test_a_silence_is_made_listed_and_ended(tmp_path: Path, routes: Path) -> None:
    routes.write_text('[[route]]\nname = "log"\nkind = "log"\n')
    code, told = run(tmp_path, "silence", "retail/*", "--for", "2h", "--why", "moving")
    assert code == 0
    assert told.startswith("Silence 1: retail/* until ")
    assert told.endswith("Nothing that `alerts list` shows as open has such a name.\n")
    tell(settings_of(tmp_path), [verdict(1)], [verdict(1).name], None, NOW)
    told = run(tmp_path, "silence", "*:ingest_lag", "--for", "2h", "--why", "moving")[1]
    assert told.endswith("Open now, and silenced: retail/table_1:ingest_lag.\n")
    assert "moving" in run(tmp_path, "list")[1]
    assert run(tmp_path, "unsilence", "1") == (0, "Silence 1 has ended: retail/*.\n")
    code, told = run(tmp_path, "unsilence", "1")
    assert code == 1
    assert "There is no silence 1" in told


@pytest.mark.parametrize("duration", ["2", "h", "1w", "-1h", "0m", "99d"])
def test_a_silence_has_an_end(tmp_path: Path, duration: str) -> None:
    code, _ = run(tmp_path, "silence", "*", f"--for={duration}", "--why", "x")
    assert code != 0


def test_a_test_tries_every_route_and_says_which_does_not_take_it(
    tmp_path: Path, routes: Path
) -> None:
    with receiver() as good, receiver() as bad:
        bad.answers = [(403, {}, SECRET)]
        routes.write_text(hook(good.url, tmp_path, "good") + hook(bad.url, tmp_path, "bad"))
        code, told = run(tmp_path, "test")
        assert code == 1
        assert "delivered" in told.splitlines()[0]
        assert "The webhook answered 403." in told.splitlines()[1]
        assert SECRET not in told
        assert run(tmp_path, "test", "--route", "good")[0] == 0
        assert good.taken[0].body["alerts"][0]["kind"] == "test"
        code, told = run(tmp_path, "test", "--route", "nobody")
        assert code == 2
        assert "Those there are: good, bad" in told
