"""Since when something shows no sign of life, by the watchdog's own clock.

Here: pure functions from one memory to the next. Not here: verdicts. Nothing compares Dagster's
stamps with a clock: a stamp that changes is the sign. So a clock that is set, a machine that slept
and a watchdog that was itself stopped make nobody look dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from retail_lakehouse.watchdog.looks import Memory

BREAK_SECONDS = 60.0
"""A longer pause between two looks is nobody's silence but the watchdog's own. Longer than any two
looks may be apart (`watchdog_seconds`), or nobody would ever be silent; and shorter than what is
called silence."""


def resumed(memory: Memory, at_seconds: float, break_seconds: float = BREAK_SECONDS) -> Memory:
    """The memory at the beginning of a look; a pause in which nobody looked does not count."""
    looked = memory.looked_seconds
    pause = 0.0 if looked is None else at_seconds - looked
    if pause <= break_seconds:
        return replace(memory, looked_seconds=at_seconds)
    return replace(
        memory,
        looked_seconds=at_seconds,
        alive_seconds={name: seen + pause for name, seen in memory.alive_seconds.items()},
        free=(),
    )


def with_signs(memory: Memory, tokens: Mapping[str, object], at_seconds: float) -> Memory:
    """The memory after a look at `tokens`: one that changed, or is new, is a sign of life.

    Names that are not among them are left as they are. None is no sign: its silence begins.
    """
    alive = dict(memory.alive_seconds)
    for name, token in tokens.items():
        changed = token is not None and memory.tokens.get(name) != token
        if changed or name not in alive:
            alive[name] = at_seconds
    signs = {name: token for name, token in tokens.items() if token is not None}
    return replace(memory, alive_seconds=alive, tokens={**memory.tokens, **signs})


def excused(memory: Memory, name: str, at_seconds: float) -> Memory:
    """The memory with a sign of life that is owed to nobody: its silence begins anew."""
    return replace(memory, alive_seconds={**memory.alive_seconds, name: at_seconds})


def silent_seconds(memory: Memory, name: str) -> float:
    """For how long there was no sign of life; 0 for what was never seen."""
    now = memory.looked_seconds or 0.0
    return max(0.0, now - memory.alive_seconds.get(name, now))


def only(memory: Memory, names: frozenset[str]) -> Memory:
    """The memory without what is watched no longer: it would begin anew if it came back."""
    return replace(
        memory,
        alive_seconds={k: v for k, v in memory.alive_seconds.items() if k in names},
        tokens={k: v for k, v in memory.tokens.items() if k in names},
    )
