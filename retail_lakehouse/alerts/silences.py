"""Silences: incidents that nobody wants to be told of for a while, with an end always.

Here: the file of silences, validated. Not here: what a silence does to an incident
(`incidents.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from retail_lakehouse.contracts.alerting import ALERT_PACE


class SilenceError(ValueError):
    """A silence, or a file of silences, that cannot be taken."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Incidents whose name (`asset:check`) matches `pattern` are not told until `until_ms`."""

    id: int
    pattern: str
    since_ms: int
    until_ms: int
    who: str
    why: str

    def covers(self, name: str, now_ms: int) -> bool:
        """Whether it holds for the incident now."""
        return self.since_ms <= now_ms < self.until_ms and fnmatchcase(name, self.pattern)


def silences_file(folder: Path) -> Path:
    """Where the silences stand."""
    return folder / "silences.json"


def is_silenced(silences: Sequence[Silence], name: str, now_ms: int) -> bool:
    """Whether any of them holds for the incident now."""
    return any(silence.covers(name, now_ms) for silence in silences)


def read_silences(folder: Path, now_ms: int) -> list[Silence]:
    """The silences that have not ended.

    Raises:
        SilenceError: the file cannot be read, or one in it is wrong.
    """
    path = silences_file(folder)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        silences = [Silence(**each) for each in raw]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise SilenceError(
            f"The silences of {path} cannot be read ({type(error).__name__}): nothing is silenced. "
            "Mend the file, or remove it."
        ) from error
    for silence in silences:
        _check(silence, path)
    return [silence for silence in silences if silence.until_ms > now_ms]


def add_silence(
    folder: Path, pattern: str, seconds: float, who: str, why: str, now_ms: int
) -> Silence:
    """Silence what matches `pattern` from now on, for so many seconds.

    Raises:
        SilenceError: it has no reason, no name or no sensible end, or cannot be written.
    """
    with _alone(folder):
        silences = read_silences(folder, now_ms)
        new = Silence(
            id=max((silence.id for silence in silences), default=0) + 1,
            pattern=pattern.strip(),
            since_ms=now_ms,
            until_ms=now_ms + round(seconds * 1000),
            who=who.strip(),
            why=why.strip(),
        )
        _check(new, None)
        _write(folder, [*silences, new])
    return new


def remove_silence(folder: Path, silence_id: int, now_ms: int) -> Silence:
    """End a silence now.

    Raises:
        SilenceError: there is none with that number, or the file cannot be written.
    """
    with _alone(folder):
        silences = read_silences(folder, now_ms)
        found = [silence for silence in silences if silence.id == silence_id]
        if not found:
            there = ", ".join(str(silence.id) for silence in silences) or "none"
            raise SilenceError(f"There is no silence {silence_id}; those that hold: {there}.")
        _write(folder, [silence for silence in silences if silence.id != silence_id])
    return found[0]


def _check(silence: Silence, path: Path | None) -> None:
    longest = ALERT_PACE.longest_silence_seconds
    faults = [
        sentence
        for sentence, is_wrong in (
            ("the pattern is empty", not _is_text(silence.pattern)),
            ("it names nobody: say who", not _is_text(silence.who)),
            ("it has no reason: say why", not _is_text(silence.why)),
            (
                f"it must end after it begins and within {longest // 86_400} days",
                not all(type(ms) is int for ms in (silence.id, silence.since_ms, silence.until_ms))
                or not 0 < silence.until_ms - silence.since_ms <= longest * 1000,
            ),
        )
        if is_wrong
    ]
    if faults:
        where = f" of {path}, so nothing is silenced" if path else ""
        raise SilenceError(f"The silence {silence.id}{where} is wrong: {'; '.join(faults)}.")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps others out from reading the file to writing it: two at once would lose a silence.

    Raises:
        SilenceError: there is no folder, and none can be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritten(silences_file(folder), error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(folder: Path, silences: Sequence[Silence]) -> None:
    path = silences_file(folder)
    try:
        descriptor, beside = tempfile.mkstemp(dir=folder, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump([asdict(silence) for silence in silences], file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(path)
        except OSError:
            Path(beside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> SilenceError:
    return SilenceError(
        f"The silences cannot be written to {path}: {error.strerror}. They are as they were."
    )
