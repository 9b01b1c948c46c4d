"""The REFRESH statement: its transaction, its lock, its line in the history.

Here: how a refresh runs in a session, alone or within an open transaction, and what
SYS_MV_REFRESH_HISTORY says of it. Not here: what a refresh computes (`refresh.py`).
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from retail_lakehouse.local.warehouse import refresh, registry, rules
from retail_lakehouse.local.warehouse.base_types import TypeChangedError
from retail_lakehouse.local.warehouse.errors import WarehouseError, from_duckdb, unreadable
from retail_lakehouse.local.warehouse.facts import Facts
from retail_lakehouse.local.warehouse.registry import MaterializedView
from retail_lakehouse.local.warehouse.statements import Name, Statement
from retail_lakehouse.local.warehouse.store import roll_back
from retail_lakehouse.local.warehouse.system_views import utc_now

if TYPE_CHECKING:
    from retail_lakehouse.local.warehouse.session import Session

_ATTEMPTS = 3


def run_refresh(session: Session, statement: Statement) -> None:
    """Brings the statement's view up to date.

    Raises:
        WarehouseError: it is no materialized view, another session is refreshing it, or its
            definition no longer fits the tables.
    """
    target = session.names().resolve(statement.subject)
    rules.refuse(Facts(statement, target=target), bound=False)
    if target.materialized is None:
        raise WarehouseError("42809", f'"{target.name}" is not a materialized view')
    name = target.name
    started, clock = utc_now(), time.monotonic()
    if name not in session.held:
        try:
            session.engine.locks.begin_refresh(name)
        except WarehouseError:
            _note_failure(session, target.materialized, refresh.FAILED_CONFLICT, started, clock)
            raise
    if session.status == "T":
        # The view stays ours until the transaction ends; the refresh is lost with a rollback.
        if name not in session.held:
            session.held.append(name)
        try:
            _refresh_once(session, name, started, clock)
        except (OSError, duckdb.IOException) as error:
            raise unreadable(f"refresh of {name}", error) from error
        return
    try:
        view = _refresh_in_own_transaction(session, name, started, clock)
    finally:
        session.engine.locks.end_refresh(name)
    session.engine.fold_later(view)


def _refresh_in_own_transaction(
    session: Session, name: Name, started: datetime, clock: float
) -> MaterializedView:
    for attempt in range(_ATTEMPTS):
        session.cursor.execute("BEGIN TRANSACTION")
        try:
            view = _refresh_once(session, name, started, clock)
            session.cursor.execute("COMMIT")
            return view
        except (OSError, duckdb.IOException) as error:
            # The table moved on and its old files went away while they were read.
            roll_back(session.cursor)
            if attempt + 1 == _ATTEMPTS:
                _fail(session, name, refresh.FAILED_INTERNAL, started, clock)
                raise unreadable(f"refresh of {name}", error) from error
        except (WarehouseError, duckdb.Error) as error:
            roll_back(session.cursor)
            status, broken_state = _failure(error)
            _fail(session, name, status, started, clock, broken_state)
            raise error if isinstance(error, WarehouseError) else from_duckdb(error) from error
        except BaseException:
            roll_back(session.cursor)
            raise
    raise AssertionError("unreachable")


def _failure(error: WarehouseError | duckdb.Error) -> tuple[str, int | None]:
    """The history's status, and the state of a view that no refresh can mend."""
    if isinstance(error, TypeChangedError):
        return refresh.FAILED_TYPE, refresh.TYPE_CHANGED_STATE
    if isinstance(error, WarehouseError) and error.sqlstate == "42703":
        return refresh.FAILED_COLUMN, refresh.COLUMN_GONE_STATE
    return refresh.FAILED_INTERNAL, None


def _refresh_once(
    session: Session, name: Name, started: datetime, clock: float
) -> MaterializedView:
    view = registry.materialized_view(session.cursor, name)
    if view is None:
        raise WarehouseError("42P01", f'materialized view "{name}" does not exist')
    fresh, outcome = refresh.refresh(session.cursor, view, session.names())
    _note(session, session.cursor, fresh, outcome.status, started, clock, outcome.note)
    if outcome.note:
        session.notices.append(f"materialized view {name}: {outcome.note}")
    return fresh


def _note(
    session: Session,
    cursor: duckdb.DuckDBPyConnection,
    view: MaterializedView,
    status: str,
    started: datetime,
    clock: float,
    note: str = "",
) -> None:
    microseconds = round((time.monotonic() - clock) * 1_000_000)
    cursor.execute(
        "INSERT INTO bookkeeping.refresh_history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            session.session_id,
            session.transaction_id,
            view.name.schema,
            view.view_id,
            view.name.name,
            status,
            started,
            utc_now(),
            microseconds,
            note,
        ],
    )


def _note_failure(
    session: Session, view: MaterializedView, status: str, started: datetime, clock: float
) -> None:
    cursor = session.engine.store.cursor()
    try:
        _note(session, cursor, view, status, started, clock)
    finally:
        cursor.close()


def _fail(
    session: Session,
    name: Name,
    status: str,
    started: datetime,
    clock: float,
    broken_state: int | None = None,
) -> None:
    cursor = session.engine.store.cursor()
    try:
        view = registry.materialized_view(cursor, name)
        if view is None:
            return
        _note(session, cursor, view, status, started, clock)
        if broken_state is not None:
            registry.put_materialized_view(cursor, replace(view, state=broken_state))
    finally:
        cursor.close()
