"""A statement on its way: prepared, and what came of it.

Here: what the wire and the session hand to one another. Not here: either of them.
"""

from dataclasses import dataclass

import duckdb

from retail_lakehouse.local.warehouse.datatypes import Column
from retail_lakehouse.local.warehouse.history import Entry
from retail_lakehouse.local.warehouse.statements import Statement


@dataclass(slots=True)
class Prepared:
    """A statement that was parsed: its parameters' types and, for a query, its columns."""

    statement: Statement
    oids: tuple[int, ...]
    columns: tuple[Column, ...] | None = None


@dataclass(slots=True)
class Result:
    """A statement's outcome. `rows` are all read or, for a query, still on the cursor.

    `entry` is its line in the history, which counts what is fetched.
    """

    tag: str
    columns: tuple[Column, ...] = ()
    rows: list[tuple[object, ...]] | None = None
    cursor: duckdb.DuckDBPyConnection | None = None
    entry: Entry | None = None

    def fetch(self, count: int) -> list[tuple[object, ...]]:
        """The next rows, none at the end."""
        try:
            rows = self._next(count)
        except BaseException as error:
            if self.entry is not None:
                self.entry.fail(error)
            raise
        if self.entry is not None:
            self.entry.returned_rows += len(rows)
        return rows

    def _next(self, count: int) -> list[tuple[object, ...]]:
        if self.cursor is not None:
            return self.cursor.fetchmany(count)
        rows, self.rows = (self.rows or [])[:count], (self.rows or [])[count:]
        return rows
