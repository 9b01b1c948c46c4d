"""The line that names a lock's holder: who it is, and when it is no answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retail_lakehouse.lock_holder import UNKNOWN, forget_holder, read_holder, write_holder


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["/opt/bin/retail-lakehouse", "verify", "--quiet"], "retail-lakehouse verify"),
        (["/opt/package/simulator/__main__.py", "--rate", "7"], "simulator"),
        (["/opt/inventory_streaming.py", "--password", "x"], "inventory_streaming"),
        (["/opt/a b/é"], "é"),
        (["/opt/\udcff"], "?"),
        (["x" * 300, "y" * 300], f"{'x' * 60} {'y' * 60}"),
    ],
)
def test_a_holder_is_its_process_id_and_what_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], told: str
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    (tmp_path / "lock").write_text("of an earlier holder\n" * 3)
    write_holder(tmp_path / "lock")
    assert read_holder(tmp_path / "lock") == f"process {os.getpid()} ({told})"
    forget_holder(tmp_path / "lock")
    assert read_holder(tmp_path / "lock") == "another process"


def test_a_process_without_a_name_is_told_by_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [""])
    write_holder(tmp_path / "lock")
    assert read_holder(tmp_path / "lock") == f"process {os.getpid()}"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "x",
        "0 zero",
        "-1 all",
        "\N{SUPERSCRIPT TWO}",
        f"{10**30} huge",
        "12.5 half",
        "\udcff",
    ],
)
def test_a_line_that_names_no_process_is_another_process(tmp_path: Path, line: str) -> None:
    (tmp_path / "lock").write_text(line, encoding="utf-8", errors="surrogateescape")
    assert read_holder(tmp_path / "lock") == "another process"
    assert read_holder(tmp_path / "absent") == "another process"


def test_what_would_spoil_a_terminal_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(f"{os.getpid()} \x1b[2Jdev")
    assert read_holder(tmp_path / "lock") == f"process {os.getpid()}"


def test_a_holder_that_has_ended_is_not_named(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sh", "-c", "exit 0"]) as ended:
        ended.wait()
    (tmp_path / "lock").write_text(f"{ended.pid} retail-lakehouse verify\n")
    assert read_holder(tmp_path / "lock") == "another process"


def test_a_holder_of_another_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(pid, number)

    (tmp_path / "lock").write_text("7 retail-lakehouse verify\n")
    monkeypatch.setattr(os, "kill", refuse)
    assert read_holder(tmp_path / "lock") == "process 7 (retail-lakehouse verify)"


def test_what_cannot_be_written_keeps_nobody_from_a_lock(tmp_path: Path) -> None:
    nowhere = tmp_path / "no such folder" / "lock"
    write_holder(nowhere)
    forget_holder(nowhere)
    assert read_holder(nowhere) == UNKNOWN
