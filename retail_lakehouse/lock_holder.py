"""Who holds a lock: a line in a file, for the sentence of whoever waits in vain.

Here: writing that line and reading it. Not here: locks. Nothing may be decided by the line: its
writer has had the lock for a moment already, and one that was killed leaves its line behind.
"""

import contextlib
import os
import sys
from pathlib import Path

UNKNOWN = "another process"
_LONGEST_WORD = 60
_LONGEST_LINE = 400


def write_holder(path: Path) -> None:
    """Names this process in the file: its id, and what was started. A full disk is no error."""
    with contextlib.suppress(OSError):
        # An argument may hold bytes that are no text.
        path.write_text(f"{os.getpid()} {_what_this_is()}\n", encoding="utf-8", errors="replace")


def forget_holder(path: Path) -> None:
    """Empties the file; while the lock is still held, as the line may be the next holder's then."""
    with contextlib.suppress(OSError):
        os.truncate(path, 0)


def read_holder(path: Path) -> str:
    """Whom the file names: `process 7 (retail-lakehouse verify)`.

    `another process` where it names nobody, or one that has ended.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            line = file.readline(_LONGEST_LINE)
    except OSError:
        return UNKNOWN
    pid, _, what = line.strip().partition(" ")
    if not (pid.isascii() and pid.isdigit() and _lives(int(pid))):
        return UNKNOWN
    return f"process {pid} ({what})" if what and what.isprintable() else f"process {pid}"


def _what_this_is() -> str:
    program, *words = sys.argv or [""]
    path = Path(program)
    name = path.parent.name if path.stem == "__main__" else path.stem
    # What follows may be anything; a verb is told, an option and its value are not.
    told = [name, *(word for word in words[:1] if not word.startswith("-"))]
    return " ".join(word[:_LONGEST_WORD] for word in told)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return pid > 0
