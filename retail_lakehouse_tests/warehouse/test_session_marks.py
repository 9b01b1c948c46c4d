"""A refresh session is noted while it lasts, and one of a dead process is none."""

import json
import os
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


def test_a_session_of_a_killed_process_is_none_though_its_id_lives_on(tmp_path: Path) -> None:
    begin = (
        "import os, signal, sys; from pathlib import Path\n"
        "from retail_lakehouse.warehouse.session_marks import session_under_way\n"
        "with session_under_way(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", begin, str(tmp_path)], check=False)
    folder = tmp_path / "run" / "refresh_sessions"
    assert len(list(folder.glob("*.json"))) == 1
    # After a restart of the machine another process may have any id, this one's too.
    left = {"began_ms": 1, "answered_ms": None, "pid": os.getpid()}
    (folder / "left.json").write_text(json.dumps(left))
    assert sessions_under_way(tmp_path) == []
    assert list(folder.iterdir()) == []


def test_a_note_that_a_full_disk_cut_short_is_left_out(tmp_path: Path) -> None:
    with session_under_way(tmp_path):
        (path,) = (tmp_path / "run" / "refresh_sessions").iterdir()
        os.truncate(path, 3)
        assert sessions_under_way(tmp_path) == []
        assert path.exists()


def test_a_note_that_cannot_be_written_holds_no_refresh_up(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no folder")
    with session_under_way(tmp_path) as answered:
        answered()
    assert sessions_under_way(tmp_path) == []
