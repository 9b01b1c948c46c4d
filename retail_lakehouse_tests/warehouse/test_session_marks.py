"""A refresh session is noted while it lasts, and one of a dead process is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from retail_lakehouse.warehouse.session_marks import session_under_way, sessions_under_way


def test_a_session_is_noted_until_it_ends_and_says_when_it_was_answered(tmp_path: Path) -> None:
    with session_under_way(tmp_path) as answered:
        (waiting,) = sessions_under_way(tmp_path)
        assert waiting.answered_ms is None
        answered()
        (told,) = sessions_under_way(tmp_path)
        assert told.began_ms == waiting.began_ms
        assert told.answered_ms is not None
        assert told.answered_ms >= told.began_ms
    assert sessions_under_way(tmp_path) == []


def test_a_session_that_fails_is_over(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), session_under_way(tmp_path):
        raise RuntimeError("The warehouse is gone.")
    assert sessions_under_way(tmp_path) == []


def test_the_one_that_waits_longest_for_an_answer_stands_first(tmp_path: Path) -> None:
    with session_under_way(tmp_path) as first, session_under_way(tmp_path):
        first()
        told = sessions_under_way(tmp_path)
        assert [each.answered_ms is None for each in told] == [True, False]


def test_a_session_of_a_killed_process_is_none_and_damage_is_left_out(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    folder = tmp_path / "run" / "refresh_sessions"
    folder.mkdir(parents=True)
    dead = {"began_ms": 1, "answered_ms": None, "pid": int(ended.stdout)}
    (folder / "dead.json").write_text(json.dumps(dead))
    (folder / "torn.json").write_text("{")
    assert sessions_under_way(tmp_path) == []
    assert not (folder / "dead.json").exists()


def test_a_note_that_cannot_be_written_holds_no_refresh_up(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no folder")
    with session_under_way(tmp_path) as answered:
        answered()
    assert sessions_under_way(tmp_path) == []
