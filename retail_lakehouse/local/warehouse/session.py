"""One client's session: its statements, its transaction, its settings.

Here: preparing and running statements on the session's own DuckDB cursor. Not here: definitions
(`definitions.py`), the wire (`server.py`), the rules (`rules.py`).
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import duckdb

from retail_lakehouse.local.warehouse import datatypes, definitions, rules, system_views, writes
from retail_lakehouse.local.warehouse.binding import Names, bind
from retail_lakehouse.local.warehouse.datatypes import Column
from retail_lakehouse.local.warehouse.dialect import (
    CLOCK_DATE,
    CLOCK_GETDATE,
    CLOCK_SYSDATE,
    SESSION_DATABASE,
    SESSION_SCHEMA,
    SESSION_USER,
    SESSION_VERSION,
)
from retail_lakehouse.local.warehouse.engine import Engine
from retail_lakehouse.local.warehouse.errors import WarehouseError, for_client, from_duckdb
from retail_lakehouse.local.warehouse.facts import Facts
from retail_lakehouse.local.warehouse.grammar import read
from retail_lakehouse.local.warehouse.history import Entry
from retail_lakehouse.local.warehouse.results import Prepared, Result
from retail_lakehouse.local.warehouse.statements import (
    DDL,
    TRANSACTION,
    Kind,
    Name,
    Statement,
    unknown,
)
from retail_lakehouse.local.warehouse.translation import (
    SYSTEM_ROWS,
    Compiled,
    compile_query,
    fill,
    scan,
)

_log = logging.getLogger(__name__)
_ATTEMPTS = 3
SERVER_VERSION = "8.0.2"
VERSION_TEXT = "PostgreSQL 8.0.2 on i686-pc-linux-gnu, Redshift 1.0 (local stand-in, DuckDB)"


@dataclass(slots=True)
class Session:
    """A session on the engine; used by one thread at a time."""

    engine: Engine
    session_id: int
    cursor: duckdb.DuckDBPyConnection = field(init=False)
    status: str = "I"
    """I: idle, T: in a transaction, E: in one that has failed."""
    settings: dict[str, str] = field(default_factory=dict)
    held: list[Name] = field(default_factory=list)
    """Views refreshed in the open transaction: theirs until it ends."""
    changed_catalog: bool = False
    has_temporary: bool = False
    """Once it has made a temporary table: its names may stand for what no other session sees."""
    notices: list[str] = field(default_factory=list)
    _transaction_id: int = 0
    _transaction_start: object = None

    def __post_init__(self) -> None:
        self.cursor = self.engine.store.cursor()

    @property
    def search_path(self) -> tuple[str, ...]:
        """The schemas that a name without one is looked up in."""
        path = self.settings.get("search_path", "public")
        names = [p.strip().strip("\"'") for p in path.split(",")]
        return tuple(n for n in names if n and not n.startswith("$")) or ("public",)

    @property
    def timeout_seconds(self) -> float | None:
        """After how long a statement is stopped: `statement_timeout`, in ms; None for never."""
        given = self.settings.get("statement_timeout", "0")
        return int(given) / 1000 if given.isdigit() and given != "0" else None

    def names(self) -> Names:
        """A resolver for one statement."""
        return self.engine.names(self.cursor, self.search_path)

    def prepare(self, text: str, oids: Sequence[int] = ()) -> Prepared:
        """Reads a statement and refuses what needs no names.

        Raises:
            WarehouseError: see `statements.read` and `rules.refuse`.
        """
        statement = read(text)
        prepared = Prepared(statement, tuple(oids))
        if statement.kind is Kind.EMPTY:
            return prepared
        self._check_not_failed(statement)
        rules.refuse(Facts(statement, in_transaction=self.status == "T"), bound=False)
        if statement.kind is Kind.UNKNOWN:
            raise unknown(statement)
        return prepared

    def describe(self, prepared: Prepared) -> tuple[Column, ...] | None:
        """The columns that the statement will return; None when it returns no rows.

        Raises:
            WarehouseError: the query does not fit the tables, or Redshift refuses it.
        """
        kind = prepared.statement.kind
        if prepared.columns is not None:
            return prepared.columns
        if kind is Kind.SHOW:
            name = prepared.statement.name
            prepared.columns = (Column(str(name), datatypes.VARCHAR),)
        elif kind is Kind.EXPLAIN:
            prepared.columns = (Column("QUERY PLAN", datatypes.VARCHAR),)
        elif kind is Kind.QUERY:
            names = self.names()
            compiled = self._compile(prepared, names)
            prepared.columns = self._columns(compiled, names)
        return prepared.columns

    def execute(self, prepared: Prepared, values: Sequence[object] = ()) -> Result:
        """Runs the statement; a query's rows are fetched from the result.

        Raises:
            WarehouseError: it failed; an open transaction is then a failed one.
        """
        statement = prepared.statement
        if statement.kind is Kind.EMPTY:
            return Result("")
        started, clock = self.engine.now(), time.monotonic()
        query_id = self.engine.history.next_id()
        failure = ""
        result: Result | None = None
        try:
            self._check_not_failed(statement)
            if statement.kind not in TRANSACTION:
                self.engine.wake()
            result = self._run(prepared, values)
            return result
        except (duckdb.Error, OSError) as error:
            known = for_client(error)
            failure = str(known)
            self._fail()
            raise known from error
        except BaseException as error:
            # What nobody foresaw too: the history must not call it a success.
            failure = str(error) or repr(error)
            self._fail()
            raise
        finally:
            entry = Entry(
                query_id=query_id,
                label=self.settings.get("query_group", "default"),
                transaction_id=self._transaction_id or query_id,
                session_id=self.session_id,
                query_type=_query_type(statement.kind),
                status="failed" if failure else "success",
                start_time=started,
                end_time=self.engine.now(),
                elapsed_us=round((time.monotonic() - clock) * 1_000_000),
                returned_rows=0,
                error=failure,
                text=(statement.original or statement.script.text)[:4000],
            )
            self.engine.history.add(entry)
            if result is not None:
                result.entry = entry

    def close(self) -> None:
        """Ends the session; an open transaction is rolled back."""
        if self.status != "I":
            self._end("ROLLBACK")
        self.cursor.close()

    def _check_not_failed(self, statement: Statement) -> None:
        if self.status == "E" and statement.kind not in (Kind.COMMIT, Kind.ROLLBACK):
            raise WarehouseError(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            )

    def _fail(self) -> None:
        if self.status == "T":
            self.status = "E"

    def _run(self, prepared: Prepared, values: Sequence[object]) -> Result:
        statement = prepared.statement
        kind = statement.kind
        if kind in TRANSACTION:
            return self._transaction(kind)
        if kind is Kind.QUERY:
            return self._query(prepared, values)
        if kind is Kind.EXPLAIN:
            return self._explain(prepared, values)
        if kind in (Kind.SET, Kind.RESET, Kind.SHOW):
            return self._setting(statement)
        if kind in (Kind.INSERT, Kind.DELETE, Kind.UPDATE, Kind.CREATE_TABLE):
            return Result(writes.run(self, prepared, values))
        if kind is Kind.ANALYZE:
            writes.analyze(self, statement)
            return Result("ANALYZE")
        if kind in DDL:
            definitions.run(self, statement)
            return Result(kind.value.strip())
        raise unknown(statement)

    def begin(self) -> None:
        """Opens a transaction."""
        self.cursor.execute("BEGIN TRANSACTION")
        self.status = "T"
        self._transaction_id = self.engine.history.next_id()
        self._transaction_start = self.engine.now()

    @property
    def transaction_id(self) -> int:
        """The id of the open transaction, 0 without one."""
        return self._transaction_id

    def _transaction(self, kind: Kind) -> Result:
        if kind is Kind.BEGIN:
            if self.status == "I":
                self.begin()
            else:
                self.notices.append("there is already a transaction in progress")
            return Result("BEGIN")
        if self.status == "I":
            self.notices.append("there is no transaction in progress")
            return Result(kind.value)
        # COMMIT of a failed transaction is a rollback, and says so in its tag.
        ending = "ROLLBACK" if self.status == "E" or kind is Kind.ROLLBACK else "COMMIT"
        self._end(ending)
        return Result(ending)

    def _end(self, ending: str) -> None:
        try:
            self.cursor.execute(ending)
        except duckdb.TransactionException as error:
            # DuckDB has ended a transaction by itself after some errors.
            if ending == "COMMIT":
                raise
            _log.debug("Nothing left to roll back: %s", error)
        finally:
            self.status = "I"
            self._transaction_id = 0
            for name in self.held:
                self.engine.locks.end_refresh(name)
            self.held.clear()
            if self.changed_catalog:
                self.engine.catalog_changed()
                self.changed_catalog = False

    def _compile(self, prepared: Prepared, names: Names) -> Compiled:
        def make() -> Compiled:
            types = [datatypes.PARAMETER_TYPES.get(oid) for oid in prepared.oids]
            bound = bind(prepared.statement.script.text, names, types)
            rules.refuse(Facts(prepared.statement, bound), bound=True)
            return compile_query(bound)

        if self.changed_catalog or self.has_temporary:
            # The cache is every session's, and what this one sees is its own.
            return make()
        key = (
            prepared.statement.script.text,
            prepared.oids,
            ",".join(self.search_path),
            self.engine.catalog_version,
        )
        compiled = self.engine.compiled(key, make)
        for table in compiled.schemas:
            names.lake_table(*table.split(".", 1))
        return compiled if compiled.fits(names.tables) else make()

    def filled(
        self, text: str, compiled: Compiled, names: Names, *, described: bool = False
    ) -> str:
        """The compiled text with its tables' present files in place.

        `described`: only its columns are wanted, and nothing will be bound.
        """
        sources = {k: scan(names.lake_table(*k.split(".", 1))) for k in compiled.schemas}
        for view in compiled.system_views:
            rows = "[]" if described else f"${SYSTEM_ROWS}{view}"
            database = self.engine.settings.database
            sources[view] = system_views.source(view, rows, database)
        return fill(text, sources)

    def _columns(self, compiled: Compiled, names: Names) -> tuple[Column, ...]:
        text = self.filled(compiled.describing_text, compiled, names, described=True)
        try:
            rows = self.cursor.execute(f"DESCRIBE {text}").fetchall()
        except duckdb.Error as error:
            raise from_duckdb(error) from error
        named = zip(compiled.output_names, rows, strict=True)
        padded = system_views.padded_columns(compiled.system_views)
        return tuple(
            Column(name, datatypes.NAME_CHAR if name in padded else datatypes.from_duckdb(row[1]))
            for name, row in named
        )

    def bound_values(self, compiled: Compiled, values: Sequence[object]) -> dict[str, object]:
        """What DuckDB binds: parameters, the clock at this statement, rows of system views.

        Raises:
            WarehouseError: a parameter was not bound (08P01).
        """
        bound = self.bound_parameters(compiled.placeholders, values)
        sources = system_views.Sources(
            self.cursor, self.engine.lake, self.engine.settings.database, self.engine.history
        )
        for view in compiled.system_views:
            rows = system_views.rows_of(view, sources)
            if rows is not None:
                bound[SYSTEM_ROWS + view] = rows
        return bound

    def bound_parameters(
        self, placeholders: Sequence[str], values: Sequence[object]
    ) -> dict[str, object]:
        """The part of `bound_values` that needs no compiled query; raises as it does."""
        now = self.engine.now()
        known = {
            CLOCK_GETDATE: now.replace(microsecond=0),
            CLOCK_SYSDATE: self._transaction_start if self.status == "T" else now,
            CLOCK_DATE: now.date(),
            SESSION_USER: self.engine.settings.user,
            SESSION_DATABASE: self.engine.settings.database,
            SESSION_SCHEMA: self.search_path[0],
            SESSION_VERSION: VERSION_TEXT,
        }
        bound: dict[str, object] = {}
        for name in placeholders:
            if name in known:
                bound[name] = known[name]
                continue
            number = int(name.removeprefix("p"))
            if number > len(values):
                raise WarehouseError("08P01", f"parameter ${number} was not bound")
            bound[name] = values[number - 1]
        return bound

    def _query(self, prepared: Prepared, values: Sequence[object]) -> Result:
        for attempt in range(_ATTEMPTS):
            names = self.names()
            compiled = self._compile(prepared, names)
            if prepared.columns is None:
                prepared.columns = self._columns(compiled, names)
            text = self.filled(compiled.text, compiled, names)
            try:
                self.cursor.execute(text, self.bound_values(compiled, values))
            except duckdb.IOException:
                # Maintenance removed a file of the snapshot between its choice and its reading.
                if attempt + 1 == _ATTEMPTS or not compiled.schemas or self.status == "T":
                    raise
                continue
            return Result("SELECT", prepared.columns, cursor=self.cursor)
        raise AssertionError("unreachable")

    def _explain(self, prepared: Prepared, values: Sequence[object]) -> Result:
        # Prepared as it would be without EXPLAIN, so that the same is refused.
        inner = self.prepare(prepared.statement.query, prepared.oids)
        names = self.names()
        compiled = self._compile(inner, names)
        text = self.filled(compiled.text, compiled, names)
        bound = self.bound_values(compiled, values)
        plan = self.cursor.execute(f"EXPLAIN {text}", bound).fetchall()
        lines = [(line,) for row in plan for line in str(row[1]).splitlines()]
        return Result("EXPLAIN", self.describe(prepared) or (), rows=list(lines))

    def _setting(self, statement: Statement) -> Result:
        name = str(statement.name)
        if statement.kind is Kind.SET:
            self.settings[name] = statement.options["value"]
            return Result("SET")
        if statement.kind is Kind.RESET:
            self.settings.pop(name, None)
            return Result("RESET")
        fixed = {"server_version": SERVER_VERSION, "timezone": "UTC", "datestyle": "ISO, MDY"}
        value = self.settings.get(name, fixed.get(name, "default"))
        columns = (Column(name, datatypes.VARCHAR),)
        return Result("SHOW", columns, rows=[(value,)])


def _query_type(kind: Kind) -> str:
    if kind in (Kind.QUERY, Kind.INSERT, Kind.UPDATE, Kind.DELETE):
        return kind.value
    return "DDL" if kind in DDL and kind is not Kind.REFRESH else "UTILITY"
