"""SIGTERM and SIGHUP as `SystemExit`, so that a verb puts right what it has to before it ends.

Belongs here: that. Doesn't belong here: what is put right (`pause.py`, `behind.py`), the signals of
`dev`, whose threads are told (`dev.py`), and those of the simulator (`local/simulator/run.py`).
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from retail_lakehouse.commands.options import Exit

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def exit_on_termination() -> Iterator[None]:
    """Have the block left by `SystemExit` on SIGTERM or SIGHUP; only from the main thread.

    By default both end a program without its `finally`. A signal that is ignored, as under `nohup`,
    or that somebody else handles, is left alone.

    Raises:
        SystemExit: One of the signals came; with `Exit.INTERRUPTED`.
    """
    taken = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]

    def leave(number: int, frame: FrameType | None) -> None:
        # The end has begun; a second signal must not break off what is being put right.
        for each in taken:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(Exit.INTERRUPTED)

    for number in taken:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
