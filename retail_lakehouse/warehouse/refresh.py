"""Refreshing materialized views and reading, in the same session, what came of it.

Here: the refresh of due views in one session, with a typed result a view. Not here: which views
are due and when (the control plane), or creating them (`ddl.py`).
"""

import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS, ViewContract, ViewContractError
from retail_lakehouse.warehouse.client import Session, statement
from retail_lakehouse.warehouse.ddl import ViewDefinition, definition_hash, read_definitions
from retail_lakehouse.warehouse.errors import ViewBusy, WarehouseRefused
from retail_lakehouse.warehouse.guard import view_guard
from retail_lakehouse.warehouse.query import (
    BROKEN_STATES_FROM,
    RefreshHistoryRow,
    ViewFreshness,
    mv_info,
    named,
    refresh_history,
    view_freshness,
)

_log = logging.getLogger(__name__)

_CONFLICT = re.compile(r"Serializable isolation violation|ERROR:\s+1023\b|`: 1023\b")
"""Redshift's error 1023, by its text or where the message stands in our sentence: somebody else
refreshes the view."""


_BASE_CHANGED = (
    " A table under the view has changed so that no refresh can mend it. `retail-lakehouse stop` "
    "and `retail-lakehouse dev` make it again; on AWS deploy the views (`ensure_views`)."
)


class RefreshOutcome(StrEnum):
    """How a refresh ended."""

    REFRESHED = "refreshed"
    BUSY = "busy"
    """Another refresh of the view is under way; this one did nothing."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """What came of one view's refresh. Times are UTC, durations seconds.

    `status` is the warehouse's own text, or the sentence of a failure. `incremental` is None when
    the warehouse did not say. `newest_event_ms` is the newest least(event time, broker time) that
    the view holds, `lag_seconds` its age when read. `latency_seconds` is how long the session's
    login and first statement took, the same for all results of a session: a cold start shows there.
    """

    view: str
    outcome: RefreshOutcome
    started_at: datetime
    duration_seconds: float
    status: str
    incremental: bool | None = None
    state: int | None = None
    rows: int | None = None
    newest_event_ms: int | None = None
    lag_seconds: float | None = None
    latency_seconds: float | None = None

    @property
    def ok(self) -> bool:
        """True when the view was refreshed."""
        return self.outcome is RefreshOutcome.REFRESHED


def refresh_views(
    session: Session, views: Iterable[ViewContract] = MATERIALIZED_VIEWS
) -> list[RefreshResult]:
    """Refreshes the views in turn and reports each; one that fails does not hold up the others.

    The system views are read once for all, in this session, so nothing connects just to look.

    Raises:
        ViewContractError: one of them is a plain view, which has nothing to refresh.
        WarehouseRefused: the views have not been created yet.
        WarehouseUnreachable: the connection broke; views after that one were not refreshed.
    """
    chosen = list(views)
    for view in chosen:
        if not view.is_materialized:
            raise ViewContractError(
                f"{view.name} is a plain view: it is computed when it is queried. Refresh what it "
                f"reads: {', '.join(view.depends_on)}."
            )
    recorded = _definitions(session)
    seen_before = _newest_rows(refresh_history(session))
    attempts = [_attempt(session, view, recorded.get(view.name)) for view in chosen]
    history = _newest_rows(refresh_history(session))
    states = {name: info.state for name, info in mv_info(session).items()}
    return [
        _result(session, attempt, seen_before, history, states.get(attempt.view.name))
        for attempt in attempts
    ]


@dataclass(frozen=True, slots=True)
class _Attempt:
    view: ViewContract
    outcome: RefreshOutcome
    started_at: datetime
    duration_seconds: float
    remark: str
    freshness: ViewFreshness | None = None


def _definitions(session: Session) -> dict[str, ViewDefinition]:
    try:
        return read_definitions(session)
    except WarehouseRefused as error:
        raise WarehouseRefused(
            f"The views have not been created in this warehouse: {error} Start the platform with "
            "`retail-lakehouse dev`, which creates them; on AWS deploy the views first.",
            error.sqlstate,
        ) from error


def _attempt(session: Session, view: ViewContract, recorded: ViewDefinition | None) -> _Attempt:
    started_at = datetime.now(UTC)
    started = time.monotonic()

    def ended(outcome: RefreshOutcome, remark: str) -> _Attempt:
        return _Attempt(view, outcome, started_at, time.monotonic() - started, remark)

    if recorded is None or recorded.sql_sha256 != definition_hash(view):
        return ended(
            RefreshOutcome.FAILED,
            f"The warehouse's {view.qualified_name} is not the one of this program's contract. "
            "Bring the views to their contracts (`ensure_views`), then refresh again.",
        )
    try:
        with view_guard(view.name, session.config.lock_dir):
            session.take_notices()
            session.execute(named(statement("refresh_view"), view))
            duration = time.monotonic() - started
            remark = " ".join(session.take_notices())
            freshness = view_freshness(session, view)
    except ViewBusy as error:
        return ended(RefreshOutcome.BUSY, str(error))
    except WarehouseRefused as error:
        if _CONFLICT.search(str(error)):
            return ended(RefreshOutcome.BUSY, str(error))
        _log.warning("%s", error)
        return ended(RefreshOutcome.FAILED, str(error))
    return _Attempt(view, RefreshOutcome.REFRESHED, started_at, duration, remark, freshness)


def _newest_rows(history: list[RefreshHistoryRow]) -> dict[str, RefreshHistoryRow]:
    newest: dict[str, RefreshHistoryRow] = {}
    for row in history:
        newest.setdefault(row.view, row)
    return newest


def _result(
    session: Session,
    attempt: _Attempt,
    seen_before: dict[str, RefreshHistoryRow],
    history: dict[str, RefreshHistoryRow],
    state: int | None,
) -> RefreshResult:
    name = attempt.view.name
    row = history.get(name)
    # Redshift may write its history a moment later: an old row says nothing about this refresh.
    is_ours = row is not None and row != seen_before.get(name)
    duration, status = attempt.duration_seconds, attempt.remark
    if attempt.outcome is RefreshOutcome.REFRESHED and row is not None and is_ours:
        duration, status = row.duration_seconds, row.status
    if attempt.outcome is RefreshOutcome.FAILED and state is not None:
        status += _BASE_CHANGED if state >= BROKEN_STATES_FROM else ""
    freshness = attempt.freshness
    return RefreshResult(
        view=name,
        outcome=attempt.outcome,
        started_at=attempt.started_at,
        duration_seconds=duration,
        status=status,
        incremental=_incremental(status) if attempt.outcome is RefreshOutcome.REFRESHED else None,
        state=state,
        rows=None if freshness is None else freshness.rows,
        newest_event_ms=None if freshness is None else freshness.newest_event_ms,
        lag_seconds=None if freshness is None else freshness.lag_seconds,
        latency_seconds=session.first_statement_seconds,
    )


def _incremental(status: str) -> bool | None:
    """Whether the texts of SYS_MV_REFRESH_HISTORY speak of an incremental refresh."""
    text = status.lower()
    if "incremental" in text or "already updated" in text:
        return True
    if "scratch" in text or "recomputed" in text:
        return False
    return None
