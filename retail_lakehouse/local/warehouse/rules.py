"""What Redshift refuses, and what makes it recompute a view in full: one table of rules.

Here: every rule once, with its source; the session refuses by it and the state of a materialized
view comes from it. Not here: errors that DuckDB or the binder find by themselves (unknown columns,
bad values), or the statements' grammar.

Sources are sections of aws.md; "CREATE VIEW" and the like name the page of the Database Developer
Guide. Where Redshift's own words are not known, the sentence is ours and says the same.

Known of Redshift and not held here, as nothing of this platform comes near it: the limit of four
million deleted positions a data file (1.3), a refresh by the owner only (1.9; there is one user),
and the states 103 to 105 of renamed tables, columns and schemas (1.10: a renamed column is one
that is gone, 101). A UNION ALL is always recomputed in full, which Redshift does in most places
only (1.7): what is incremental here is so there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from sqlglot import exp

from retail_lakehouse.local.warehouse import facts as asked
from retail_lakehouse.local.warehouse import functions
from retail_lakehouse.local.warehouse.binding import Relation
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.facts import Facts
from retail_lakehouse.local.warehouse.statements import DDL, Kind


class Effect(Enum):
    """What follows when a rule is broken."""

    REFUSE = "refused"
    RECOMPUTE = "recomputed in full"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    `breaks` answers whether the facts break it; `kinds` are the statements it looks at (none: all).
    """

    rule_id: str
    effect: Effect
    source: str
    message: str
    breaks: Callable[[Facts], bool]
    kinds: frozenset[Kind]
    sqlstate: str = "0A000"
    hint: str = ""
    needs_binding: bool = False
    """Looked at once names are resolved."""


_VIEW = frozenset({Kind.CREATE_VIEW})
_MV = frozenset({Kind.CREATE_MATERIALIZED_VIEW})
_WRITES = frozenset({Kind.INSERT, Kind.DELETE, Kind.UPDATE})
_READS = _WRITES | {Kind.QUERY, Kind.CREATE_TABLE}
_USER_DATA = (
    Relation.LOCAL,
    Relation.TEMPORARY,
    Relation.MATERIALIZED,
    Relation.EXTERNAL,
)


def _refused(
    rule_id: str,
    source: str,
    message: str,
    breaks: Callable[[Facts], bool],
    kinds: frozenset[Kind] = frozenset(),
    sqlstate: str = "0A000",
    hint: str = "",
    needs_binding: bool = False,
) -> Rule:
    return Rule(
        rule_id, Effect.REFUSE, source, message, breaks, kinds, sqlstate, hint, needs_binding
    )


def _recomputed(rule_id: str, source: str, message: str, breaks: Callable[[Facts], bool]) -> Rule:
    return Rule(rule_id, Effect.RECOMPUTE, source, message, breaks, _MV, needs_binding=True)


RULES: tuple[Rule, ...] = (
    _refused(
        "several-statements",
        "4.5",
        "cannot insert multiple commands into a prepared statement",
        lambda f: f.statement.has("several"),
        sqlstate="42601",
    ),
    _refused(
        "no-scheduler",
        "2.1",
        'syntax error at or near "SCHEDULE"',
        lambda f: (
            f.statement.script.words[:2] == ["CREATE", "SCHEDULE"]
            or "DBMS_SCHEDULER" in f.statement.script.words
        ),
        sqlstate="42601",
        hint="Redshift has no scheduler in SQL: a Dagster sensor or EventBridge runs the refresh.",
    ),
    _refused(
        "parameters-in-ddl",
        "4.6",
        "bind parameters are not supported in DDL statements",
        lambda f: f.statement.has_parameters,
        kinds=DDL,
        sqlstate="42601",
        hint="Write the value into the statement, after checking it.",
    ),
    _refused(
        "unknown-function",
        "SQL functions reference",
        "function does not exist in Redshift",
        lambda f: bool(asked.unknown_functions(f)),
        sqlstate="42883",
    ),
    _refused(
        "time-travel",
        "3.4",
        "time travel is not supported on Iceberg tables",
        lambda f: f.bound is not None and f.bound.travels,
        sqlstate="42601",
        needs_binding=True,
    ),
    _refused(
        "integer-to-timestamp",
        "10.39",
        "cannot cast type bigint to timestamp without time zone",
        asked.timestamp_of_integer,
        sqlstate="42846",
        hint="Keep a timestamp column, or in a query TIMESTAMP 'epoch' + x * INTERVAL '1 second'.",
        needs_binding=True,
    ),
    _refused(
        "leader-node-function-on-tables",
        "Leader node-only functions",
        "Specified types or functions (one per INFO message) not supported on Redshift tables.",
        lambda f: bool(f.calls(functions.LEADER_NODE_ONLY)) and f.reads_behind_views(*_USER_DATA),
        kinds=_READS | _VIEW,
        needs_binding=True,
    ),
    _refused(
        "view-on-external-table",
        "CREATE VIEW",
        "External tables are not supported in views",
        lambda f: (
            not f.statement.has("no_schema_binding") and f.reads_behind_views(Relation.EXTERNAL)
        ),
        kinds=_VIEW,
        hint="Add WITH NO SCHEMA BINDING.",
        needs_binding=True,
    ),
    _refused(
        "late-binding-needs-schemas",
        "CREATE VIEW",
        "All the relation names inside should be qualified when creating VIEW WITH NO SCHEMA "
        "BINDING.",
        asked.unqualified,
        kinds=_VIEW,
        sqlstate="42601",
        needs_binding=True,
    ),
    _refused(
        "external-schema-session-role",
        "3.1",
        "CATALOG_ID is supported with IAM_ROLE 'SESSION' only",
        lambda f: (
            f.statement.has("catalog_id") and f.statement.options.get("iam_role") != "SESSION"
        ),
        kinds=frozenset({Kind.CREATE_EXTERNAL_SCHEMA}),
        sqlstate="42601",
    ),
    _refused(
        "external-schema-needs-role",
        "3.1",
        "syntax error at or near end of input: IAM_ROLE is missing",
        lambda f: not f.statement.has("iam_role"),
        kinds=frozenset({Kind.CREATE_EXTERNAL_SCHEMA}),
        sqlstate="42601",
    ),
    _refused(
        "external-table-in-transaction",
        "4.3",
        "CREATE EXTERNAL TABLE cannot run inside a transaction block",
        lambda f: f.in_transaction,
        kinds=frozenset({Kind.CREATE_EXTERNAL_TABLE}),
        sqlstate="25001",
    ),
    _refused(
        "external-table-by-platform",
        "3.8",
        "CREATE EXTERNAL TABLE is not run by the local stand-in",
        lambda f: not f.in_transaction,
        kinds=frozenset({Kind.CREATE_EXTERNAL_TABLE}),
        hint="The tables of the data catalog are made from the contracts (retail-lakehouse).",
    ),
    _refused(
        "grant-on-external-table",
        "3.2",
        "Operation not supported on external tables",
        lambda f: f.target is not None and f.target.kind is Relation.EXTERNAL,
        kinds=frozenset({Kind.GRANT, Kind.REVOKE}),
        hint="Grant USAGE on the external schema, and SELECT on the materialized views.",
    ),
    _refused(
        "external-tables-are-read-only",
        "3.8",
        "Operation not supported on external tables",
        lambda f: f.target is not None and f.target.kind is Relation.EXTERNAL,
        kinds=_WRITES | {Kind.DROP_TABLE, Kind.ANALYZE},
        hint="One writer a table: a second one would conflict with the stream.",
    ),
    _refused(
        "views-are-read-only",
        "CREATE MATERIALIZED VIEW",
        "cannot modify a view",
        lambda f: (
            f.target is not None
            and f.target.kind in (Relation.MATERIALIZED, Relation.PLAIN_VIEW, Relation.SYSTEM)
        ),
        kinds=_WRITES,
    ),
    _refused(
        "auto-refresh-mutable",
        "1.5",
        "auto refresh is not supported for materialized view with mutable function",
        lambda f: (
            f.statement.has("auto_refresh") and (asked.mutable(f) or asked.date_time_function(f))
        ),
        kinds=_MV,
        needs_binding=True,
    ),
    _refused(
        "auto-refresh-external",
        "1.5",
        "auto refresh is not supported for materialized view over external schema",
        lambda f: f.statement.has("auto_refresh") and f.reads(Relation.EXTERNAL),
        kinds=_MV,
        hint="Create it with AUTO REFRESH NO and refresh it yourself.",
        needs_binding=True,
    ),
    _refused(
        "auto-refresh-nested",
        "1.5",
        "auto refresh is not supported for materialized view over another materialized view",
        lambda f: f.statement.has("auto_refresh") and f.reads(Relation.MATERIALIZED),
        kinds=_MV,
        needs_binding=True,
    ),
    _refused(
        "mv-late-binding",
        "1.8",
        "WITH NO SCHEMA BINDING is not supported for materialized views",
        lambda f: f.statement.has("no_schema_binding"),
        kinds=_MV,
        sqlstate="42601",
    ),
    _refused(
        "mv-ordered",
        "1.8",
        "ORDER BY, LIMIT and OFFSET are not supported in materialized view definition",
        asked.ordered,
        kinds=_MV,
        needs_binding=True,
    ),
    _refused(
        "mv-on-plain-view",
        "1.8",
        "Materialized views cannot be defined over standard views",
        lambda f: f.reads(Relation.PLAIN_VIEW),
        kinds=_MV,
        needs_binding=True,
    ),
    _refused(
        "mv-on-system-table",
        "1.8",
        "Materialized views cannot be defined over system tables",
        lambda f: f.reads(Relation.SYSTEM),
        kinds=_MV,
        needs_binding=True,
    ),
    _refused(
        "mv-on-temporary-table",
        "1.8",
        "Materialized views cannot be defined over temporary tables",
        lambda f: f.reads(Relation.TEMPORARY),
        kinds=_MV,
        needs_binding=True,
    ),
    _refused(
        "mv-leader-node-function",
        "1.8",
        "Leader node-only functions are not supported in materialized view definition",
        lambda f: bool(f.calls(functions.LEADER_NODE_ONLY)),
        kinds=_MV,
    ),
    _refused(
        "mv-on-iceberg-v3",
        "1.4",
        "You can't create materialized views on Iceberg v3 tables",
        asked.iceberg_v3,
        kinds=_MV,
        needs_binding=True,
    ),
    _refused(
        "refresh-cascade-external",
        "1.9",
        "REFRESH MATERIALIZED VIEW CASCADE is not supported for materialized views on external "
        "tables",
        lambda f: f.statement.has("cascade") and asked.on_external(f),
        kinds=frozenset({Kind.REFRESH}),
        hint="Refresh nested views one by one, in order.",
    ),
    _recomputed("mutable-function", "1.6", "has a mutable function", asked.mutable),
    _recomputed(
        "date-time-function",
        "1.6",
        "has a date-time function that counts as mutable for its argument's type",
        asked.date_time_function,
    ),
    _recomputed("outer-join", "1.7", "has an outer join", asked.outer_join),
    _recomputed(
        "set-operation",
        "1.7",
        "has UNION, INTERSECT or EXCEPT",
        lambda f: f.has(exp.SetOperation),
    ),
    _recomputed("distinct", "1.7", "has DISTINCT", lambda f: f.has(exp.Distinct)),
    _recomputed("window-function", "1.7", "has a window function", lambda f: f.has(exp.Window)),
    _recomputed("subquery", "1.7", "has a subquery or a common table expression", asked.subquery),
    _recomputed(
        "other-aggregate",
        "1.7",
        "has an aggregate other than SUM, COUNT, MIN, MAX and AVG",
        asked.other_aggregate,
    ),
    _recomputed("grouping-sets", "1.7", "has GROUPING SETS, ROLLUP or CUBE", asked.grouping_sets),
    _recomputed("varbyte", "1.2", "reads a VARBYTE column", asked.varbyte),
    _recomputed("several-databases", "1.7", "reads several databases", asked.several_databases),
    _recomputed(
        "table-twice",
        "the stand-in folds in the new rows of one table with all rows of the others",
        "reads an external table more than once",
        asked.table_twice,
    ),
    _recomputed(
        "base-is-local",
        "the stand-in keeps no log of changes to local tables",
        "reads a table or view that is not an Iceberg table",
        lambda f: f.reads(Relation.LOCAL, Relation.MATERIALIZED),
    ),
)


def broken(facts: Facts, effect: Effect, *, bound: bool) -> list[Rule]:
    """The rules of that effect which the facts break; `bound` tells whether names are resolved."""
    return [
        rule
        for rule in RULES
        if rule.effect is effect
        and rule.needs_binding == bound
        and (not rule.kinds or facts.statement.kind in rule.kinds)
        and rule.breaks(facts)
    ]


def refuse(facts: Facts, *, bound: bool) -> None:
    """Refuses what Redshift refuses.

    Raises:
        WarehouseError: with the message and SQLSTATE of the first broken rule.
    """
    for rule in broken(facts, Effect.REFUSE, bound=bound):
        raise WarehouseError(
            rule.sqlstate, rule.message, rule.hint, detail=f"rule {rule.rule_id}, {rule.source}"
        )


def reasons_to_recompute(facts: Facts) -> list[Rule]:
    """The rules that keep a materialized view from being refreshed incrementally."""
    return broken(facts, Effect.RECOMPUTE, bound=True)


def is_mutable(facts: Facts) -> bool:
    """True when Redshift calls the view stale for ever."""
    return asked.mutable(facts) or asked.date_time_function(facts)
