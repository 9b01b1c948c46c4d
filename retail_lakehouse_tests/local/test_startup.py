"""Steps run as soon as those that they need are done, and a failure is named."""

from __future__ import annotations

import threading
import time

import pytest

from retail_lakehouse.local.startup import (
    StartCancelledError,
    StartError,
    Step,
    StepReport,
    StepState,
    run_steps,
)


class OwnError(RuntimeError):
    """As an error of the platform looks."""


OwnError.__module__ = "retail_lakehouse.local.broker"


def run(steps: list[Step], cancelled: threading.Event | None = None) -> list[StepReport]:
    reports: list[StepReport] = []
    run_steps(steps, reports.append, cancelled or threading.Event())
    return reports


def test_steps_that_need_nothing_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=5)

    def meet() -> str:
        meeting.wait()
        return "met"

    reports = run([Step("a", "A", (), meet), Step("b", "B", (), meet)])
    assert [r.detail for r in reports if r.state is StepState.DONE] == ["met", "met"]


def test_a_step_waits_for_those_that_it_needs() -> None:
    order: list[str] = []

    def note(name: str) -> str:
        order.append(name)
        return ""

    steps = [
        Step("c", "C", ("a", "b"), lambda: note("c")),
        Step("b", "B", ("a",), lambda: note("b")),
        Step("a", "A", (), lambda: note("a")),
    ]
    run(steps)
    assert order == ["a", "b", "c"]


def test_our_own_error_becomes_a_sentence_with_the_steps_title() -> None:
    def fail() -> str:
        raise OwnError("Port 9092 is taken.")

    with pytest.raises(StartError, match=r"^Broker: Port 9092 is taken\.$"):
        run([Step("broker", "Broker", (), fail)])


def test_a_fault_of_the_program_keeps_its_type() -> None:
    def fail() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run([Step("a", "A", (), fail)])


def test_a_cancelled_start_does_not_wait_for_a_step_that_hangs() -> None:
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()

    def hang() -> str:
        time.sleep(20)
        return ""

    began = time.monotonic()
    with pytest.raises(StartCancelledError):
        run([Step("a", "A", (), hang)], cancelled)
    assert time.monotonic() - began < 5


def test_steps_that_wait_for_one_another_are_named() -> None:
    with pytest.raises(StartError, match="a, b wait for one another"):
        run([Step("a", "A", ("b",), str), Step("b", "B", ("a",), str)])
    with pytest.raises(StartError, match="needs a step that doesn't exist"):
        run([Step("a", "A", ("z",), str)])


def test_all_steps_are_told_as_pending_first_and_each_with_its_result() -> None:
    def work() -> str:
        time.sleep(0.1)
        return "3 jars"

    reports = run([Step("b", "B", ("a",), lambda: ""), Step("a", "A", (), work)])
    assert [(each.name, each.state.value) for each in reports] == [
        ("b", "pending"),
        ("a", "pending"),
        ("a", "running"),
        ("a", "done"),
        ("b", "running"),
        ("b", "done"),
    ]
    assert (reports[3].title, reports[3].detail) == ("A", "3 jars")
    assert 0.1 <= reports[3].seconds < 5


def test_a_step_that_fails_is_told_and_ends_the_start_at_once() -> None:
    begun: list[str] = []
    let_go = threading.Event()

    def fail() -> str:
        raise OwnError("Port 9092 is taken.")

    def hang() -> str:
        let_go.wait(20)
        return ""

    def note() -> str:
        begun.append("after")
        return ""

    reports: list[StepReport] = []
    steps = [
        Step("hangs", "Hangs", (), hang),
        Step("broker", "Broker", (), fail),
        Step("after", "After", ("broker",), note),
    ]
    began = time.monotonic()
    with pytest.raises(StartError):
        run_steps(steps, reports.append, threading.Event())
    assert time.monotonic() - began < 5
    # It must not hold up the program's end either.
    assert [each.daemon for each in threading.enumerate() if each.name == "hangs"] == [True]
    let_go.set()
    assert (reports[-1].name, reports[-1].state) == ("broker", StepState.FAILED)
    assert reports[-1].detail == "Port 9092 is taken."
    assert begun == []


def test_a_step_that_was_broken_off_is_no_failure_of_the_step() -> None:
    def broken_off() -> str:
        raise StartCancelledError("The start was interrupted.")

    with pytest.raises(StartCancelledError, match=r"^The start was interrupted\.$"):
        run([Step("jars", "Jars", (), broken_off)])


def test_nothing_begins_in_a_start_that_was_cancelled_before() -> None:
    cancelled = threading.Event()
    cancelled.set()
    begun: list[str] = []

    def note() -> str:
        begun.append("a")
        return ""

    with pytest.raises(StartCancelledError):
        run([Step("a", "A", (), note)], cancelled)
    assert begun == []
