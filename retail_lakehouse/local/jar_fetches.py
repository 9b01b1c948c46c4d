"""The jars of one run of the stack, each kind fetched once, and the end of a fetch broken off.

Here: remembering and waiting. Not here: how jars are fetched (`jars.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from retail_lakehouse.local.startup import StartCancelledError

if TYPE_CHECKING:
    from retail_lakehouse.local.jars import JarKind
    from retail_lakehouse.local.java import JavaHome


class JarFetches:
    """What the steps of a start and the keepers of processes ask for jars; from any thread."""

    def __init__(
        self, cache: Path, java: Callable[[], JavaHome], cancelled: threading.Event
    ) -> None:
        """Describe it; nothing is fetched. Once `cancelled` is set, fetches end."""
        self._cache = cache
        self._java = java
        self._cancelled = cancelled
        self._jars: dict[JarKind, list[Path]] = {}
        self._running: list[threading.Event] = []

    def get(self, kind: JarKind) -> list[Path]:
        """The jars of the kind, as `jars.resolve` gives them.

        Raises:
            JarsUnavailableError: Fetching failed or took too long.
            LockHeldError: Another process was at it all the time.
            StartCancelledError: The start was broken off meanwhile.
        """
        from retail_lakehouse.local.jars import FetchCancelledError, resolve

        if kind not in self._jars:
            ended = threading.Event()
            self._running.append(ended)
            try:
                self._jars[kind] = resolve(
                    kind, self._cache, self._java(), cancelled=self._cancelled
                )
            except FetchCancelledError as error:
                raise StartCancelledError(str(error)) from error
            finally:
                ended.set()
        return self._jars[kind]

    def wait(self, seconds: float) -> None:
        """Wait until every fetch that has been broken off has ended its process."""
        deadline = time.monotonic() + seconds
        for ended in self._running:
            ended.wait(max(0.0, deadline - time.monotonic()))
