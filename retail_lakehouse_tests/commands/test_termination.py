"""SIGTERM and SIGHUP leave a block as an exception does, once, and only where they would end it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from retail_lakehouse.commands.options import Exit
from retail_lakehouse.commands.termination import exit_on_termination

NUMBERS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _by_default() -> Iterator[None]:
    """The signals as a program finds them, whatever the tests were started with."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_put_right_is_not_broken_off_by_another_signal(number: signal.Signals) -> None:
    put_right: list[bool] = []

    @contextlib.contextmanager
    def putting_right() -> Iterator[None]:
        try:
            yield
        finally:
            for each in NUMBERS:
                signal.raise_signal(each)
            put_right.append(True)

    with pytest.raises(SystemExit) as caught, exit_on_termination(), putting_right():
        signal.raise_signal(number)
    assert caught.value.code == Exit.INTERRUPTED
    assert put_right == [True]
    assert [signal.getsignal(each) for each in NUMBERS] == [signal.SIG_DFL] * 2


def test_a_signal_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with exit_on_termination():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
