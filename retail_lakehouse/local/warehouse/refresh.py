"""Materialized views: built, refreshed, folded.

Here: the transaction that brings a view up to date together with the record of how far it got,
one refresh a view at a time, and the fold of many small segments into one. Not here: what arrived
(`delta.py`), how a view is split (`view_shape.py`), what may be incremental (`rules.py`).

A delta and its base are one DuckDB transaction: a server killed at any point starts again with a
view that is exact, either before or after the refresh.
"""

import logging
import time
from dataclasses import dataclass, replace
from threading import Lock

import duckdb
from sqlglot import exp

from retail_lakehouse.local.warehouse import delta, registry, rules
from retail_lakehouse.local.warehouse.base_types import Types, read_types, refuse_changed
from retail_lakehouse.local.warehouse.binding import Names, Relation, bind
from retail_lakehouse.local.warehouse.delta import Change, Delta
from retail_lakehouse.local.warehouse.dialect import tokenize
from retail_lakehouse.local.warehouse.errors import WarehouseError, from_duckdb
from retail_lakehouse.local.warehouse.facts import Facts
from retail_lakehouse.local.warehouse.identifiers import quoted
from retail_lakehouse.local.warehouse.lake import LakeTable
from retail_lakehouse.local.warehouse.registry import Base, MaterializedView
from retail_lakehouse.local.warehouse.statements import Kind, Name, Statement
from retail_lakehouse.local.warehouse.system_views import utc_now
from retail_lakehouse.local.warehouse.translation import fill, literal, scan
from retail_lakehouse.local.warehouse.view_shape import (
    SEGMENTS,
    Shape,
    aggregate_shape,
    whole_shape,
)

_log = logging.getLogger(__name__)

INCREMENTAL = "Refresh successfully updated MV incrementally"
RECOMPUTED = "Refresh successfully recomputed MV from scratch"
UP_TO_DATE = "MV was already updated"
FAILED = "Refresh failed. "
FAILED_CONFLICT = FAILED + "Serializable isolation violation"
FAILED_COLUMN = FAILED + "Column was dropped or renamed"
FAILED_TYPE = FAILED + "Column type was changed"
FAILED_INTERNAL = "Refresh failed due to an internal error"
FULL_STATE, INCREMENTAL_STATE, COLUMN_GONE_STATE, TYPE_CHANGED_STATE = 0, 1, 101, 102


@dataclass(frozen=True, slots=True)
class FoldLimits:
    """When segments are folded: more rows of them than `rows` and than `share` of the rest.

    The share keeps the work in proportion: each fold writes the whole view anew.
    """

    rows: int = 200_000
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """A view's definition compiled against the tables of one moment."""

    shape: Shape
    state: int
    mutable: bool
    tables: dict[str, LakeTable]
    types: Types
    reasons: tuple[str, ...]
    reads_lake_only: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a refresh went: a status of SYS_MV_REFRESH_HISTORY and a note in our own words."""

    status: str
    note: str


class ViewLocks:
    """One refresh a view at a time; a fold makes a refresh wait instead of fail."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._refreshing: set[Name] = set()
        self._writing: dict[Name, Lock] = {}

    def begin_refresh(self, name: Name) -> None:
        """Claims the view until `end_refresh`.

        Raises:
            WarehouseError: another session is refreshing it (XX000, as Redshift's error 1023).
        """
        with self._guard:
            if name in self._refreshing:
                raise WarehouseError(
                    "XX000",
                    f"1023 DETAIL: Serializable isolation violation: a refresh of materialized "
                    f"view {name} is already running",
                    hint="Wait for it to end; one refresh a view at a time.",
                )
            self._refreshing.add(name)
            writing = self._writing.setdefault(name, Lock())
        writing.acquire()

    def end_refresh(self, name: Name) -> None:
        """Lets go of the view."""
        with self._guard:
            self._refreshing.discard(name)
            self._writing[name].release()

    def try_fold(self, name: Name) -> bool:
        """Claims the view for a fold if nobody writes it; `end_fold` lets go of it."""
        with self._guard:
            return self._writing.setdefault(name, Lock()).acquire(blocking=False)

    def end_fold(self, name: Name) -> None:
        """Lets go of the view."""
        self._writing[name].release()


def compile_view(
    statement: Statement, names: Names, view_columns: tuple[str, ...] = ()
) -> tuple[Plan, str, tuple[str, ...]]:
    """A definition's plan, its text with names resolved, and its column names.

    Raises:
        WarehouseError: Redshift refuses the definition, or it does not fit the tables.
    """
    bound = bind(statement.query, names)
    facts = Facts(statement, bound)
    rules.refuse(facts, bound=True)
    definition = bound.tree.sql(dialect="redshift")
    columns = view_columns or tuple(name if name != "*" else "" for name in bound.output_names)
    if "" in columns:
        columns = tuple(s.alias_or_name for s in bound.tree.selects)
    if len(set(columns)) != len(columns) or "?column?" in columns:
        raise WarehouseError("42701", "every column of a materialized view needs a name of its own")
    reasons = rules.reasons_to_recompute(facts)
    tables = {f"{t.database}.{t.name}": t for t in bound.external}
    mutable = rules.is_mutable(facts)
    if reasons:
        shape, state = whole_shape(bound, columns), FULL_STATE
    elif _is_grouped(bound.tree):
        shape, state = aggregate_shape(bound, columns), INCREMENTAL_STATE
    else:
        shape, state = whole_shape(bound, columns), INCREMENTAL_STATE
    notes = tuple(f"{rule.message} (aws.md {rule.source})" for rule in reasons)
    lake_only = all(r.kind is Relation.EXTERNAL for r in bound.read)
    plan = Plan(shape, state, mutable, tables, read_types(bound), notes, lake_only)
    return plan, definition, columns


def _is_grouped(tree: exp.Expr) -> bool:
    return tree.args.get("group") is not None or tree.find(exp.AggFunc) is not None


def create(
    cursor: duckdb.DuckDBPyConnection,
    name: Name,
    owner: str,
    definition: str,
    columns: tuple[str, ...],
    names: Names,
) -> MaterializedView:
    """Builds a view from its tables as they are now, within the cursor's transaction.

    `definition` is the text with names resolved: it is compiled as every refresh will compile it,
    so that the segments' layout is the same.

    Raises:
        WarehouseError: the definition does not fit the tables.
    """
    view = MaterializedView(
        view_id=registry.next_view_id(cursor),
        name=name,
        owner=owner,
        definition=definition,
        layout="",
        state=FULL_STATE,
        mutable=False,
        generation=0,
    )
    plan, _, _ = compile_view(_definition(view), names, columns)
    return rebuild(cursor, replace(view, note="; ".join(plan.reasons)), plan)


def rebuild(
    cursor: duckdb.DuckDBPyConnection, view: MaterializedView, plan: Plan
) -> MaterializedView:
    """Computes the view from scratch into a new generation, and reads from that one."""
    fresh = replace(
        view,
        layout=plan.shape.layout,
        state=plan.state,
        mutable=plan.mutable,
        generation=view.generation + 1,
        segment_count=0,
        segment_rows=0,
        base=_bases(view, plan),
    )
    sources = {key: scan(table) for key, table in plan.tables.items()}
    text = clock_filled(fill(plan.shape.segment_text, sources))
    order = f" ORDER BY {', '.join(plan.shape.keys)}" if plan.shape.keys else ""
    cursor.execute(f"CREATE TABLE {fresh.segment_table} AS SELECT * FROM ({text}){order}")  # noqa: S608
    _read_from(cursor, fresh, plan.shape)
    cursor.execute(f"DROP TABLE IF EXISTS {view.segment_table}")
    registry.put_materialized_view(cursor, fresh)
    return fresh


def _bases(view: MaterializedView, plan: Plan) -> dict[str, Base]:
    return {
        key: replace(delta.folded(table, view.base.get(key)), types=plan.types[key])
        for key, table in plan.tables.items()
    }


def clock_filled(text: str) -> str:
    """The text with the clocks as constants: a view is computed at one moment."""
    now = utc_now()
    values = {
        "$clock_getdate": literal(str(now.replace(microsecond=0))),
        "$clock_sysdate": literal(str(now)),
        "$clock_date": literal(str(now.date())),
    }
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def _read_from(cursor: duckdb.DuckDBPyConnection, view: MaterializedView, shape: Shape) -> None:
    read = shape.read_text.replace(SEGMENTS, view.segment_table)
    shown = quoted(view.name.schema, view.name.name)
    cursor.execute(f"CREATE OR REPLACE VIEW {shown} AS {read}")


def refresh(
    cursor: duckdb.DuckDBPyConnection, view: MaterializedView, names: Names
) -> tuple[MaterializedView, Outcome]:
    """Brings the view up to date within the cursor's transaction.

    Raises:
        WarehouseError: the definition no longer fits the tables (42703, 42P01).
        TypeChangedError: a column that it reads has another type than when it was built.
        OSError: a snapshot went away while it was read; refresh again.
    """
    plan, _, _ = compile_view(_definition(view), names, view_column_names(cursor, view))
    refuse_changed(view.base, plan.types)
    if plan.state == FULL_STATE:
        if _is_current(view, plan):
            return view, Outcome(UP_TO_DATE, "")
        fresh = rebuild(cursor, view, plan)
        return fresh, Outcome(RECOMPUTED, view.note)
    if plan.shape.layout != view.layout:
        return _rebuilt(cursor, view, plan, "the program keeps this view in another layout now")
    changes = {
        key: delta.plan(view.base.get(key), table, names.lake) for key, table in plan.tables.items()
    }
    changed = {key: c for key, c in changes.items() if c.change is not Change.NONE}
    if not changed:
        return view, Outcome(UP_TO_DATE, "")
    full = [c.reason for c in changed.values() if c.change is Change.FULL]
    if full:
        return _rebuilt(cursor, view, plan, "; ".join(full))
    if len(changed) > 1:
        return _rebuilt(cursor, view, plan, "more than one base table has changed")
    ((key, change),) = changed.items()
    return _fold_in(cursor, view, plan, key, change)


def _is_current(view: MaterializedView, plan: Plan) -> bool:
    if plan.mutable or view.mutable or not plan.reads_lake_only:
        return False
    found = {k: (t.uuid, t.current_id) for k, t in plan.tables.items()}
    return found == {k: (b.uuid, b.snapshot_id) for k, b in view.base.items()}


def _definition(view: MaterializedView) -> Statement:
    script = tokenize(view.definition)
    return Statement(Kind.CREATE_MATERIALIZED_VIEW, script, query=view.definition)


def view_column_names(cursor: duckdb.DuckDBPyConnection, view: MaterializedView) -> tuple[str, ...]:
    """The names under which the view's columns are read."""
    return tuple(name for name, _ in registry.local_columns(cursor, view.name))


def _rebuilt(
    cursor: duckdb.DuckDBPyConnection, view: MaterializedView, plan: Plan, why: str
) -> tuple[MaterializedView, Outcome]:
    fresh = rebuild(cursor, replace(view, note=f"recomputed: {why}"), plan)
    return fresh, Outcome(RECOMPUTED, f"recomputed: {why}")


def _fold_in(
    cursor: duckdb.DuckDBPyConnection,
    view: MaterializedView,
    plan: Plan,
    key: str,
    change: Delta,
) -> tuple[MaterializedView, Outcome]:
    table, base = plan.tables[key], view.base[key]
    note = ""
    if change.change is Change.ABOVE_UNTIL:
        if not delta.above_until_is_complete(cursor, base, table):
            return _rebuilt(
                cursor,
                view,
                plan,
                f"{change.reason}, and rows without offsets or with old ones came in since",
            )
        source = delta.above_until_source(base, table)
        note = f"by offsets: {change.reason}; rows above the view's own until were read"
    else:
        source = delta.files_source(cursor, table, change.files)
    sources = {k: scan(t) for k, t in plan.tables.items()} | {key: source}
    rows = 0
    if change.change is Change.ABOVE_UNTIL or change.files:
        text = fill(plan.shape.segment_text, sources)
        inserted = cursor.execute(f"INSERT INTO {view.segment_table} {text}").fetchone()
        rows = int(inserted[0]) if inserted else 0
    fresh = replace(
        view,
        state=plan.state,
        segment_count=view.segment_count + (1 if rows else 0),
        segment_rows=view.segment_rows + rows,
        base=_bases(view, plan),
        note=note,
    )
    registry.put_materialized_view(cursor, fresh)
    return fresh, Outcome(INCREMENTAL, note)


def needs_fold(
    cursor: duckdb.DuckDBPyConnection, view: MaterializedView, limits: FoldLimits
) -> bool:
    """True when readers would gain from putting the segments together."""
    if view.segment_rows <= limits.rows:
        return False
    ((total,),) = cursor.execute(f"SELECT count(*) FROM {view.segment_table}").fetchall()  # noqa: S608
    return view.segment_rows > limits.share * (int(total) - view.segment_rows)


def fold(cursor: duckdb.DuckDBPyConnection, view: MaterializedView, names: Names) -> None:
    """Puts a view's segments together in one transaction of its own; what it says stays the same.

    Raises:
        WarehouseError: the definition no longer fits the tables; the segments stay as they are.
    """
    plan, _, _ = compile_view(_definition(view), names, view_column_names(cursor, view))
    if plan.shape.merge_text is None or plan.shape.layout != view.layout:
        return
    fresh = replace(view, generation=view.generation + 1, segment_count=0, segment_rows=0)
    merged = plan.shape.merge_text.replace(SEGMENTS, view.segment_table)
    order = f" ORDER BY {', '.join(plan.shape.keys)}" if plan.shape.keys else ""
    started = time.monotonic()
    cursor.execute("BEGIN")
    try:
        cursor.execute(f"CREATE TABLE {fresh.segment_table} AS SELECT * FROM ({merged}){order}")  # noqa: S608
        _read_from(cursor, fresh, plan.shape)
        cursor.execute(f"DROP TABLE {view.segment_table}")
        registry.put_materialized_view(cursor, fresh)
        cursor.execute("COMMIT")
    except duckdb.Error as error:
        cursor.execute("ROLLBACK")
        raise from_duckdb(error) from error
    _log.info("Folded %s in %.0f ms", view.name, (time.monotonic() - started) * 1000)
