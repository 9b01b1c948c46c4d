"""The DuckDB file: opened, prepared and closed by one process.

Here: the connection with its settings and extensions, the server's own tables, and cursors for
sessions. Not here: what is in the tables (`registry.py`) or who may run what (`session.py`).
"""

import logging
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import duckdb

from retail_lakehouse.local.duckdb_extensions import ExtensionMissingError, load_extensions
from retail_lakehouse.local.warehouse.errors import StartError

_log = logging.getLogger(__name__)
HISTORY_DAYS = 7
"""How long refreshes are listed, as on Redshift."""


def statement_text(name: str) -> str:
    """The text of one of the package's .sql files."""
    return files(__package__).joinpath("sql").joinpath(f"{name}.sql").read_text()


class Store:
    """The one owner of the warehouse's DuckDB file.

    Raises:
        StartError: the file is held by another process or cannot be read, or an extension is
            missing.
    """

    def __init__(self, path: Path, memory_limit_mb: int, threads: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._connection = _open(path, memory_limit_mb, threads)
        try:
            load_extensions(self._connection)
            self._prepare()
        except ExtensionMissingError as error:
            self._connection.close()
            raise StartError(str(error)) from None
        except (duckdb.Error, StartError):
            self._connection.close()
            raise

    def _prepare(self) -> None:
        try:
            self._connection.execute(statement_text("bookkeeping"))
            self._connection.execute(
                "DELETE FROM bookkeeping.refresh_history "
                "WHERE start_time < now()::TIMESTAMP - to_days(?)",
                [HISTORY_DAYS],
            )
        except duckdb.Error as error:
            raise _unusable(self.path, error) from None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same database: one a session, one thread at a time."""
        cursor = self._connection.cursor()
        # Times are UTC without zone; Redshift divides integers as integers.
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.execute("SET integer_division = true")
        return cursor

    def close(self) -> None:
        """Writes everything into the file and lets go of it. Sessions must have ended."""
        try:
            self._connection.execute("CHECKPOINT")
        except duckdb.TransactionException:
            _log.warning("A statement still runs: the log is folded in at the next start.")
        self._connection.close()


def _open(path: Path, memory_limit_mb: int, threads: int) -> duckdb.DuckDBPyConnection:
    config: Mapping[str, str | bool | int] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "memory_limit": f"{memory_limit_mb}MB",
        "threads": threads,
        "preserve_insertion_order": False,
        "temp_directory": str(path.with_suffix(".spill")),
    }
    try:
        return duckdb.connect(str(path), config=dict(config))
    except duckdb.Error as error:
        # Not any word with "lock" in it: a damaged file's error names the block.
        if "could not set lock" in str(error).lower():
            raise StartError(
                f"The warehouse file {path} is held by another process: a warehouse server runs "
                "already. Stop it (`retail-lakehouse status` names it) or use another state folder."
            ) from None
        raise _unusable(path, error) from None


def _unusable(path: Path, error: duckdb.Error) -> StartError:
    # The views are made by the start of `dev`, not by that of the server alone.
    return StartError(
        f"The warehouse file {path} cannot be opened ({str(error).splitlines()[0]}). If it is "
        "damaged, stop `retail-lakehouse dev`, move the file away and start again: that makes a "
        "new one, and the views anew from the tables."
    )


def roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    """Ends the cursor's transaction, if a failed COMMIT has not ended it already."""
    try:
        cursor.execute("ROLLBACK")
    except duckdb.TransactionException as error:
        _log.debug("Nothing left to roll back: %s", error)
