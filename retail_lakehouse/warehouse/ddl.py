"""Bringing the warehouse's schemas and views to their contracts.

Here: creating, re-creating and retiring views, and knowing which of them are out of date. Not here:
their SQL (`contracts/`), or refreshing them (`refresh.py`).

A materialized view cannot be redefined, and the warehouse rewrites the text of what it stores. So
the hash of the statement that made each view is kept in `mart.view_definitions`, and is written
last: a view whose creation broke off has no hash and is made again.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from retail_lakehouse.contracts.tables import DATABASE
from retail_lakehouse.contracts.view_contract import (
    EXTERNAL_SCHEMA,
    IDENTIFIER,
    MART_SCHEMA,
    ViewKind,
)
from retail_lakehouse.contracts.views import VIEWS, ViewContract, view_sql
from retail_lakehouse.warehouse.client import Session, statement
from retail_lakehouse.warehouse.errors import ViewNotIncremental, WarehouseRefused
from retail_lakehouse.warehouse.guard import view_guard
from retail_lakehouse.warehouse.query import (
    BROKEN_STATES_FROM,
    INCREMENTAL_STATE,
    MvInfo,
    mv_info,
    named,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ViewChange:
    """What was done to one view: created, recreated or dropped, and why."""

    view: str
    change: str
    reason: str


@dataclass(frozen=True, slots=True)
class ViewDefinition:
    """What the warehouse's book says of one view."""

    name: str
    kind: ViewKind
    sql_sha256: str


def definition_hash(view: ViewContract) -> str:
    """SHA-256 of the statement that creates the view."""
    return hashlib.sha256(view_sql(view).encode()).hexdigest()


def ensure_schemas(session: Session) -> None:
    """Makes the external schema, the mart schema and the book of definitions if need be.

    Raises:
        WarehouseRefused: the user may not, or the catalog's database is not there.
    """
    external = statement("create_external_schema").replace("{external}", EXTERNAL_SCHEMA)
    session.execute(external.replace("{database}", DATABASE))
    session.execute(statement("create_mart_schema").replace("{mart}", MART_SCHEMA))
    session.execute(statement("create_view_definitions").replace("{mart}", MART_SCHEMA))


def read_definitions(session: Session) -> dict[str, ViewDefinition]:
    """The warehouse's book of views, by name.

    Raises:
        WarehouseRefused: there is no book; `ensure_schemas` makes it.
    """
    sql = statement("select_view_definitions").replace("{mart}", MART_SCHEMA)
    return {
        name: ViewDefinition(name, ViewKind(kind), digest)
        for name, kind, digest in session.rows(sql)
    }


def ensure_views(session: Session, views: Sequence[ViewContract] = VIEWS) -> list[ViewChange]:
    """Brings the views to their contracts, in order; a second call changes nothing.

    A view is made again when its SQL changed, when it is missing, when the warehouse says that no
    refresh can mend it, or when one that it reads was made again. One that has left the contract
    is dropped.

    Raises:
        ViewBusy: a view that has to be made again is being refreshed.
        ViewNotIncremental: the warehouse would recompute a view in full at every refresh.
        WarehouseRefused: the warehouse refused a statement; the view has no hash and is made again
            at the next call.
    """
    recorded = read_definitions(session)
    stored = mv_info(session)
    changes = _retire(session, views, recorded)
    renewed: set[str] = set()
    for view in views:
        reason = _why(view, recorded.get(view.name), stored.get(view.name), renewed)
        if reason is None:
            if not view.is_materialized:
                # CREATE OR REPLACE with the same text heals a view that somebody dropped.
                session.execute(view_sql(view))
            continue
        with view_guard(view.name, session.config.lock_dir):
            _make(session, view, recorded.get(view.name))
        renewed.add(view.qualified_name)
        change = "recreated" if view.name in recorded else "created"
        changes.append(ViewChange(view.name, change, reason))
        _log.info("%s %s: %s", view.qualified_name, change, reason)
    return changes


def grant_reading(session: Session, role: str) -> None:
    """Lets the role (which must exist) read the contract's views.

    What it can see then: every view of the contract, by name (not `mart.view_definitions`), and
    also every raw table of the external schema. Redshift asks whoever reads a late-binding view
    for USAGE on the schema of the external tables behind it, external tables take no grants of
    their own, and so USAGE opens raw events and quarantined records as well. Who must not see
    those is kept out by Lake Formation's permissions on the catalog, not by this
    (https://docs.aws.amazon.com/redshift/latest/dg/r_GRANT-usage-notes.html).

    A view that is made again has lost its grants: call it after `ensure_views`.

    Raises:
        WarehouseRefused: the role does not exist, or its name is no plain identifier.
    """
    if not IDENTIFIER.fullmatch(role):
        raise WarehouseRefused(
            f"{role!r} cannot be the name of a role: use lower-case letters, digits and _."
        )
    for schema in (MART_SCHEMA, EXTERNAL_SCHEMA):
        usage = statement("grant_schema_usage").replace("{schema}", schema)
        session.execute(usage.replace("{role}", role))
    for view in VIEWS:
        session.execute(named(statement("grant_select"), view).replace("{role}", role))


def _why(
    view: ViewContract, recorded: ViewDefinition | None, stored: MvInfo | None, renewed: set[str]
) -> str | None:
    if recorded is None:
        return "it was not there"
    if recorded.kind is not view.kind or recorded.sql_sha256 != definition_hash(view):
        return "its SQL changed"
    if view.is_materialized and stored is None:
        return "somebody dropped it"
    if view.is_materialized and stored is not None and stored.state >= BROKEN_STATES_FROM:
        return "its base changed"
    parents = sorted(renewed.intersection(view.depends_on))
    return f"{parents[0]} was made again" if parents else None


def _make(session: Session, view: ViewContract, recorded: ViewDefinition | None) -> None:
    _forget(session, view.name)
    if recorded is not None and recorded.kind is not view.kind:
        _drop(session, view.name, recorded.kind)
    _drop(session, view.name, view.kind)
    session.execute(view_sql(view))
    if view.expected_incremental:
        _require_incremental(session, view)
    session.execute(
        statement("insert_view_definition").replace("{mart}", MART_SCHEMA),
        (view.name, view.kind.value, definition_hash(view)),
    )


def _require_incremental(session: Session, view: ViewContract) -> None:
    info = mv_info(session).get(view.name)
    state = None if info is None else info.state
    if state != INCREMENTAL_STATE:
        raise ViewNotIncremental(
            f"The warehouse gives {view.qualified_name} state {state}, not {INCREMENTAL_STATE}: "
            "each refresh would recompute it from all of history. Take out of "
            f"contracts/sql/{view.sql_file} what cannot be refreshed incrementally (mutable "
            "functions, outer joins, DISTINCT, windows, subqueries, UNION), then run it again."
        )


def _retire(
    session: Session, views: Sequence[ViewContract], recorded: dict[str, ViewDefinition]
) -> list[ViewChange]:
    known = {view.name for view in VIEWS} | {view.name for view in views}
    gone = [recorded[name] for name in recorded if name not in known]
    changes = []
    # Plain views first: they stand on the materialized ones.
    for definition in sorted(gone, key=lambda d: (d.kind is ViewKind.MATERIALIZED, d.name)):
        with view_guard(definition.name, session.config.lock_dir):
            _drop(session, definition.name, definition.kind)
            _forget(session, definition.name)
        changes.append(ViewChange(definition.name, "dropped", "it has left the contract"))
    return changes


def _drop(session: Session, name: str, kind: ViewKind) -> None:
    drop = "drop_materialized_view" if kind is ViewKind.MATERIALIZED else "drop_view"
    session.execute(named(statement(drop), name))


def _forget(session: Session, name: str) -> None:
    sql = statement("delete_view_definition").replace("{mart}", MART_SCHEMA)
    session.execute(sql, (name,))
