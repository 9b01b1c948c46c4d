"""When the watchdog has a process of Dagster's started anew.

Here: a pure function. Not here: asking the supervisor. A process that died is its keeper's affair;
this is for one that is there and does nothing, which no keeper sees.
"""

from __future__ import annotations

from collections.abc import Mapping

from retail_lakehouse.watchdog.judge import CODE_SERVER, DAEMON, code_server_limit
from retail_lakehouse.watchdog.looks import Limits, Look, Memory
from retail_lakehouse.watchdog.memory import silent_seconds

AGAIN_AFTER_SECONDS = 600.0
CODE_SERVER_PATIENCE_SECONDS = 60.0
"""Beyond its limit: runs live in it and end with it, so it may be slow for longer."""


def restarts_due(
    memory: Memory, look: Look, limits: Limits, asked_seconds: Mapping[str, float]
) -> tuple[str, ...]:
    """Which to start anew now. `asked_seconds`: when each was asked for last."""
    code_limit = code_server_limit(memory, look, limits) + CODE_SERVER_PATIENCE_SECONDS
    wanted = (
        # Without the history nobody knows that it is the daemon which stands still.
        (DAEMON, look.daemon_kept, limits.daemon_silent_seconds, look.history is not None),
        (CODE_SERVER, look.code_kept, code_limit, not look.code.answers),
    )
    return tuple(
        name
        for name, kept, limit, is_its_own in wanted
        if is_its_own
        and kept is not None
        and kept.is_running
        # One that has just been started may still be loading, the longer the more there is to do.
        and min(silent_seconds(memory, name), kept.up_seconds) > limit
        and look.at_seconds - asked_seconds.get(name, float("-inf")) >= AGAIN_AFTER_SECONDS
    )
