"""What all sessions of the warehouse share.

Here: the store, the lake, the locks, the cache of compiled queries, the clock and the cold start,
and the background fold. Not here: one session's statements (`session.py`) or the sockets
(`server.py`).
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb

from retail_lakehouse.local.warehouse import refresh, registry
from retail_lakehouse.local.warehouse.binding import Names
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.history import QueryHistory
from retail_lakehouse.local.warehouse.lake import Lake
from retail_lakehouse.local.warehouse.refresh import FoldLimits, ViewLocks
from retail_lakehouse.local.warehouse.statements import Name
from retail_lakehouse.local.warehouse.store import Store
from retail_lakehouse.local.warehouse.system_views import COLUMNS, utc_now
from retail_lakehouse.local.warehouse.translation import Compiled

_log = logging.getLogger(__name__)
_COMPILED_QUERIES = 512
CacheKey = tuple[str, tuple[int, ...], str, int]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the warehouse behind the wire is set up. Paths, seconds and megabytes as named.

    `catalog_path` is the SQLite file of the Iceberg catalog. The first statement after
    `idle_seconds` without any waits `cold_start_seconds`, as Serverless does.
    """

    duckdb_path: Path
    catalog_path: Path
    catalog_name: str
    database: str = "dev"
    user: str = "lakehouse"
    memory_limit_mb: int = 512
    threads: int = 2
    cold_start_seconds: float = 0.0
    idle_seconds: float = 300.0
    fold_limits: FoldLimits = field(default_factory=FoldLimits)


class Engine:
    """The warehouse without its wire.

    Raises:
        StartError: the DuckDB file cannot be opened, see `Store`.
    """

    def __init__(self, settings: EngineSettings, now: Callable[[], datetime] = utc_now):
        self.settings = settings
        self.now = now
        self.store = Store(settings.duckdb_path, settings.memory_limit_mb, settings.threads)
        self.lake = Lake(settings.catalog_path, settings.catalog_name)
        self.history = QueryHistory()
        self.locks = ViewLocks()
        self._compiled: OrderedDict[CacheKey, Compiled] = OrderedDict()
        self._guard = threading.Lock()
        self._catalog_version = 0
        self._last_statement = time.monotonic() - settings.idle_seconds - 1
        self._awake_at = 0.0
        self._folder = ThreadPoolExecutor(1, thread_name_prefix="fold")
        self._closing = False
        self._folding: duckdb.DuckDBPyConnection | None = None

    @property
    def catalog_version(self) -> int:
        """Changes whenever a definition does; compiled queries are valid for one version."""
        return self._catalog_version

    def catalog_changed(self) -> None:
        """A definition was made, changed or dropped."""
        with self._guard:
            self._catalog_version += 1
            self._compiled.clear()

    def compiled(self, key: CacheKey, make: Callable[[], Compiled]) -> Compiled:
        """The compiled query of a text, from the cache where it is there."""
        with self._guard:
            found = self._compiled.get(key)
            if found is not None:
                self._compiled.move_to_end(key)
                return found
        made = make()
        with self._guard:
            self._compiled[key] = made
            while len(self._compiled) > _COMPILED_QUERIES:
                self._compiled.popitem(last=False)
        return made

    def names(
        self, cursor: duckdb.DuckDBPyConnection, search_path: tuple[str, ...] = ("public",)
    ) -> Names:
        """A resolver for one statement."""
        return Names(cursor, self.lake, self.settings.database, COLUMNS, search_path)

    def wake(self) -> None:
        """Waits out a cold start if nothing ran for a while; called before each statement."""
        with self._guard:
            now = time.monotonic()
            if now - self._last_statement > self.settings.idle_seconds:
                self._awake_at = now + self.settings.cold_start_seconds
            self._last_statement = max(now, self._awake_at)
            wait = self._awake_at - now
        if wait > 0:
            time.sleep(wait)

    def fold_later(self, view: registry.MaterializedView) -> None:
        """Puts a view's segments together in the background once there are too many."""
        if view.segment_rows > self.settings.fold_limits.rows and not self._closing:
            self._folder.submit(self._fold, view.name)

    def _fold(self, name: Name) -> None:
        if self._closing or not self.locks.try_fold(name):
            return
        cursor = self.store.cursor()
        self._folding = cursor
        try:
            view = registry.materialized_view(cursor, name)
            limits = self.settings.fold_limits
            if view is not None and refresh.needs_fold(cursor, view, limits):
                refresh.fold(cursor, view, self.names(cursor))
        except (WarehouseError, duckdb.Error, OSError) as error:
            _log.warning("The segments of %s stay apart for now: %s", name, error)
        finally:
            self._folding = None
            self.locks.end_fold(name)
            cursor.close()

    def interrupt_fold(self) -> None:
        """Stops a running fold; the segments stay as they are."""
        self._closing = True
        folding = self._folding
        if folding is not None:
            folding.interrupt()

    def close(self) -> None:
        """Waits for a running fold and closes the file. Sessions must have ended."""
        self._closing = True
        self._folder.shutdown(wait=True, cancel_futures=True)
        self.store.close()
