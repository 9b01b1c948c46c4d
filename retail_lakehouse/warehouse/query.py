"""Reading the warehouse: its system views and ours, as typed rows.

Here: SVV_MV_INFO, SYS_MV_REFRESH_HISTORY, a view's rows and freshness. Not here: changing anything.
The two system views are those that Redshift Serverless answers; sources:
https://docs.aws.amazon.com/redshift/latest/dg/r_SVV_MV_INFO.html,
https://docs.aws.amazon.com/redshift/latest/dg/SYS_MV_REFRESH_HISTORY.html
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from retail_lakehouse.contracts.view_contract import IDENTIFIER, MART_SCHEMA
from retail_lakehouse.contracts.views import ViewContract, view_named
from retail_lakehouse.warehouse.client import Session, statement
from retail_lakehouse.warehouse.errors import WarehouseRefused

INCREMENTAL_STATE = 1
BROKEN_STATES_FROM = 101
"""No refresh mends such a view: a base table or column was dropped, renamed or retyped."""
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class MvInfo:
    """One row of SVV_MV_INFO. `state`: 0 full recompute, 1 incremental, from 101 on broken.

    `is_stale` is None where Redshift cannot say, as of views over external tables.
    """

    view: str
    is_stale: bool | None
    state: int
    autorefresh: bool | None


@dataclass(frozen=True, slots=True)
class RefreshHistoryRow:
    """One row of SYS_MV_REFRESH_HISTORY; times are UTC."""

    view: str
    refresh_type: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class ViewFreshness:
    """Rows of a view, and the newest least(event time, broker time) in it, at `read_at`; UTC."""

    rows: int
    newest_at: datetime | None
    read_at: datetime

    @property
    def newest_event_ms(self) -> int | None:
        """`newest_at` in epoch milliseconds."""
        return None if self.newest_at is None else epoch_ms(self.newest_at)

    @property
    def lag_seconds(self) -> float | None:
        """Age of the newest event when it was read; None for an empty view."""
        if self.newest_at is None:
            return None
        return (self.read_at - self.newest_at).total_seconds()


@dataclass(frozen=True, slots=True)
class ViewRows:
    """The columns and rows of a view."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def mv_info(session: Session) -> dict[str, MvInfo]:
    """Every materialized view of the mart schema, by name."""
    found = session.rows(statement("select_mv_info"), (MART_SCHEMA,))
    infos = (
        # The name is CHAR(128): padded with blanks.
        MvInfo(str(name).rstrip(), truth(stale), int(state), truth(autorefresh))
        for _, name, stale, state, autorefresh in found
    )
    return {info.view: info for info in infos}


def refresh_history(session: Session, limit: int = 200) -> list[RefreshHistoryRow]:
    """The newest refreshes of the mart schema's views, newest first."""
    sql = statement("select_refresh_history").replace("{limit}", str(int(limit)))
    return [
        RefreshHistoryRow(
            view=str(name).rstrip(),
            refresh_type=str(refresh_type).strip(),
            status=str(status).strip(),
            started_at=_utc(started),
            ended_at=None if ended is None else _utc(ended),
            duration_seconds=(duration or 0) / _MICROSECONDS,
        )
        for name, refresh_type, status, started, ended, duration in session.rows(
            sql, (MART_SCHEMA,)
        )
    ]


def view_freshness(session: Session, view: ViewContract) -> ViewFreshness:
    """How many rows the view has and how new the newest event in it is.

    Raises:
        WarehouseRefused: the view has no column that says how new it is.
    """
    if view.newest_column is None:
        raise WarehouseRefused(
            f"The view {view.name} has no column for its newest event; ask one that it reads: "
            f"{', '.join(view.depends_on)}."
        )
    sql = named(statement("select_view_freshness"), view).replace("{newest}", view.newest_column)
    ((rows, newest, read_at),) = session.rows(sql)
    return ViewFreshness(int(rows), None if newest is None else _utc(newest), _utc(read_at))


def read_view(session: Session, name: str) -> ViewRows:
    """All rows of a view of the contract.

    Raises:
        ViewContractError: the contract has no such view.
    """
    columns, rows = session.table(named(statement("select_view"), view_named(name)))
    return ViewRows(columns, rows)


def named(text: str, view: ViewContract | str) -> str:
    """`text` with the mart schema and the view's name put in.

    Raises:
        WarehouseRefused: the name is no plain lower-case identifier.
    """
    name = view if isinstance(view, str) else view.name
    if not IDENTIFIER.fullmatch(name):
        raise WarehouseRefused(
            f"{name!r} cannot be the name of a view: use lower-case letters, digits and _."
        )
    return text.replace("{mart}", MART_SCHEMA).replace("{view}", name)


def truth(value: object) -> bool | None:
    """Redshift's yes and no: documented as t and f, shown as 1 and 0; u and NULL are None."""
    match str(value).strip().lower():
        case "t" | "true" | "1" | "y":
            return True
        case "f" | "false" | "0" | "n":
            return False
        case _:
            return None


def epoch_ms(moment: datetime) -> int:
    """Epoch milliseconds of an aware datetime, exactly."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
