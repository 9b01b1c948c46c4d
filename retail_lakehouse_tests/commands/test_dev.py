"""What `dev` promises its terminal: whatever happens there, no process stays."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner

from retail_lakehouse.cli import app
from retail_lakehouse.commands import dev
from retail_lakehouse.commands.dev import _Ending
from retail_lakehouse.commands.display import LosableDisplay, PlainDisplay
from retail_lakehouse.commands.options import Exit
from retail_lakehouse.local import processes
from retail_lakehouse.local.control import ProcessState, ProcessStatus
from retail_lakehouse.local.process_record import ProcessRecord
from retail_lakehouse.settings import Settings, SettingsError
from retail_lakehouse_tests.commands.fake_dev import NAMES

PROGRAM = [sys.executable, "-u", "-m", "retail_lakehouse_tests.commands.fake_dev"]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(root: Path, *arguments: str, **options: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*PROGRAM, str(root), *arguments], **options)  # type: ignore[call-overload]
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def both_run(root: Path) -> dict[str, ProcessRecord]:
    deadline = time.monotonic() + 40
    while True:
        found = processes.recorded(root, NAMES)
        if len(found) == len(NAMES) and all(each.is_alive() for each in found.values()):
            return found
        assert time.monotonic() < deadline, "they did not start"
        time.sleep(0.05)


def none_is_left(root: Path, found: dict[str, ProcessRecord]) -> bool:
    left = [each for each in found.values() if processes.session_members(each)]
    return not left and not processes.recorded(root, NAMES)


def told_until(process: subprocess.Popen[bytes], words: bytes) -> bytes:
    assert process.stdout is not None
    told = b""
    while words not in told:
        line = process.stdout.readline()
        assert line, told
        told += line
    return told


@pytest.mark.parametrize(
    ("told", "listed"),
    [
        ({"bootstrap_servers": "b-1.example:9098"}, "BOOTSTRAP_SERVERS (b-1.example:9098)."),
        ({"bootstrap_servers": "127.0.0.1:21111"}, "BOOTSTRAP_SERVERS (127.0.0.1:21111)."),
        ({"warehouse_host": "w.example"}, "WAREHOUSE_HOST (w.example)."),
        (
            {"bootstrap_servers": "b:9098", "warehouse_host": "w.example"},
            "BOOTSTRAP_SERVERS (b:9098) and RETAIL_LAKEHOUSE_WAREHOUSE_HOST (w.example).",
        ),
    ],
    ids=["kafka", "another broker here", "warehouse", "both"],
)
@pytest.mark.parametrize("options", [[], ["--until-live", "--keep"]], ids=["here", "keep"])
def test_servers_that_are_not_its_own_are_refused_before_anything_begins(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, str],
    listed: str,
    options: list[str],
) -> None:
    def begin(*_: object, **__: object) -> Exit:
        pytest.fail("it began")

    monkeypatch.setattr(dev, "_run", begin)
    monkeypatch.setattr("retail_lakehouse.commands.behind.start_behind", begin)
    assignments = [part for name, value in told.items() for part in ("--set", f"{name}={value}")]
    with pytest.raises(SettingsError) as caught:
        CliRunner().invoke(
            app,
            ["dev", "--state-dir", str(tmp_path), *options, *assignments],
            catch_exceptions=False,
        )
    assert str(caught.value).endswith(f"itself: unset RETAIL_LAKEHOUSE_{listed}")
    assert list(tmp_path.iterdir()) == []


def test_its_own_servers_may_be_told_by_their_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[Settings] = []

    def ran(settings: Settings, *_: object) -> Exit:
        run.append(settings)
        return Exit.DONE

    monkeypatch.setattr(dev, "_run", ran)
    told = {"bootstrap_servers": "127.0.0.1:21111", "warehouse_host": "127.0.0.1"}
    assignments = [part for name, value in told.items() for part in ("--set", f"{name}={value}")]
    arguments = ["dev", "--state-dir", str(tmp_path), "--set", "broker_port=21111", *assignments]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert [settings.kafka_bootstrap for settings in run] == ["127.0.0.1:21111"]


def test_a_reader_that_goes_away_ends_nothing_and_the_stop_is_complete(
    tmp_path: Path, start: Start
) -> None:
    process = start(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    told_until(process, b"\n")
    assert process.stdout is not None
    process.stdout.close()
    found = both_run(tmp_path)
    time.sleep(1.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert none_is_left(tmp_path, found)


def test_a_terminal_that_is_closed_leaves_no_process(tmp_path: Path, start: Start) -> None:
    ours, theirs = pty.openpty()
    process = start(tmp_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    found = both_run(tmp_path)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=30) == 0
    assert none_is_left(tmp_path, found)


def test_a_step_that_fails_leaves_no_process(tmp_path: Path, start: Start) -> None:
    process = start(tmp_path, "broken", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    with process.stderr:
        assert b"ZeroDivisionError" in process.stderr.read()
    assert process.wait(timeout=30) == 1
    assert none_is_left(tmp_path, {})
    assert not [each for each in psutil.process_iter(["cmdline"]) if each.ppid() == process.pid]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_while_live_stops_everything(
    tmp_path: Path, start: Start, number: int, code: int
) -> None:
    process = start(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    told_until(process, b"Live ")
    found = both_run(tmp_path)
    process.send_signal(number)
    told_until(process, b"Stopped in")
    assert process.wait(timeout=30) == code
    assert none_is_left(tmp_path, found)


def test_ctrl_c_during_the_start_stops_what_has_started(tmp_path: Path, start: Start) -> None:
    process = start(tmp_path, "hanging", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    told_until(process, b"hangs")
    found = both_run(tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert none_is_left(tmp_path, found)


def test_until_live_ends_by_itself_and_says_whether_it_got_there(
    tmp_path: Path, start: Start
) -> None:
    assert start(tmp_path, "", "60", stdout=subprocess.DEVNULL).wait(timeout=90) == 0
    late = start(tmp_path, "never-live", "4", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert late.stderr is not None
    with late.stderr:
        assert b"Not live after" in late.stderr.read()
    assert late.wait(timeout=30) == 4
    assert none_is_left(tmp_path, {})


def test_signals_that_come_while_the_main_thread_holds_the_locks_block_nothing() -> None:
    taken = threading.Event()
    hurried = threading.Event()
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    kept[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
    try:
        with _Ending(taken.set, hurried.set) as ending:
            # The handler runs here, in the thread that holds what `set` needs.
            with ending.asked._cond, taken._cond:  # type: ignore[attr-defined]
                signal.raise_signal(signal.SIGTERM)
            assert taken.wait(5)
            assert ending.asked.is_set()
            assert not hurried.is_set()
            signal.raise_signal(signal.SIGINT)
            assert hurried.wait(5)
        assert ending.signal == signal.SIGINT
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def test_tables_that_cannot_be_read_are_a_sentence_and_the_platform_stays(
    tmp_path: Path, start: Start
) -> None:
    catalog = Settings.load({"state_dir": tmp_path}).catalog_db
    catalog.parent.mkdir(parents=True)
    catalog.write_bytes(b"no database at all" * 100)
    process = start(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    told_until(process, b"file is not a database")
    found = both_run(tmp_path)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert none_is_left(tmp_path, found)


def test_a_display_that_lost_its_terminal_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    class Closed(PlainDisplay):
        def say(self, text: str, *, error: bool = False) -> None:
            tries.append(text)
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("retail_lakehouse.commands.display._discard_output", lambda: None)
    display = LosableDisplay(Closed())
    trouble = ProcessStatus("one", ProcessState.WAITING, None, None, 0, "one ended", "/one.log")
    with display:
        display.process(trouble)
        display.process(trouble)
        display.say("more")
    assert tries == ["one ended"]
