"""What Redshift refuses, and what makes it recompute a view in full: one table of rules.

Here: every rule once, with its source; the session refuses by it and the state of a materialized
view comes from it. Not here: errors that DuckDB or the binder find by themselves (unknown columns,
bad values), or the statements' grammar.

Sources are sections of aws.md; "CREATE VIEW" and the like name the page of the Database Developer
Guide. Where Redshift's own words are not known, the sentence is ours and says the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
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
    kinds: frozenset[Kind] = field(default_factory=frozenset)
    sqlstate: str = "0A000"
    hint: str = ""
    needs_binding: bool = False
    """Looked at once names are resolved."""


_VIEW = frozenset({Kind.CREATE_VIEW})
_MV = frozenset({Kind.CREATE_MATERIALIZED_VIEW})
_READS = frozenset({Kind.QUERY, Kind.INSERT, Kind.CREATE_TABLE})
_WRITES = frozenset({Kind.INSERT, Kind.DELETE, Kind.UPDATE})
_USER_DATA = (
    Relation.LOCAL,
    Relation.TEMPORARY,
    Relation.MATERIALIZED,
    Relation.EXTERNAL,
)
RULES: tuple[Rule, ...] = (
    Rule(
        "several-statements",
        Effect.REFUSE,
        "4.5",
        "cannot insert multiple commands into a prepared statement",
        lambda f: f.statement.has("several"),
        sqlstate="42601",
    ),
    Rule(
        "no-scheduler",
        Effect.REFUSE,
        "2.1",
        'syntax error at or near "SCHEDULE"',
        lambda f: (
            f.statement.script.words[:2] == ["CREATE", "SCHEDULE"]
            or "DBMS_SCHEDULER" in f.statement.script.words
        ),
        sqlstate="42601",
        hint="Redshift has no scheduler in SQL: a Dagster sensor or EventBridge runs the refresh.",
    ),
    Rule(
        "parameters-in-ddl",
        Effect.REFUSE,
        "4.6",
        "bind parameters are not supported in DDL statements",
        lambda f: f.statement.has_parameters,
        kinds=DDL,
        sqlstate="42601",
        hint="Write the value into the statement, after checking it.",
    ),
    Rule(
        "unknown-function",
        Effect.REFUSE,
        "SQL functions reference",
        "function does not exist in Redshift",
        lambda f: bool(asked.unknown_functions(f)),
        sqlstate="42883",
    ),
    Rule(
        "time-travel",
        Effect.REFUSE,
        "3.4",
        "time travel is not supported on Iceberg tables",
        lambda f: (
            any(t.args.get("version") or t.args.get("when") for t in f.nodes(exp.Table))
            or asked.words_in(f, "FOR", "SYSTEM_TIME")
            or asked.words_in(f, "FOR", "TIMESTAMP", "AS")
            or asked.words_in(f, "FOR", "VERSION", "AS")
        ),
        sqlstate="42601",
    ),
    Rule(
        "integer-to-timestamp",
        Effect.REFUSE,
        "10.39",
        "cannot cast type bigint to timestamp without time zone",
        asked.timestamp_of_integer,
        sqlstate="42846",
        hint="Keep a timestamp column, or in a query TIMESTAMP 'epoch' + x * INTERVAL '1 second'.",
        needs_binding=True,
    ),
    Rule(
        "leader-node-function-on-tables",
        Effect.REFUSE,
        "Leader node-only functions",
        "Specified types or functions (one per INFO message) not supported on Redshift tables.",
        lambda f: bool(f.calls(functions.LEADER_NODE_ONLY)) and f.reads_behind_views(*_USER_DATA),
        kinds=_READS | _VIEW,
        needs_binding=True,
    ),
    Rule(
        "view-on-external-table",
        Effect.REFUSE,
        "CREATE VIEW",
        "External tables are not supported in views",
        lambda f: (
            not f.statement.has("no_schema_binding") and f.reads_behind_views(Relation.EXTERNAL)
        ),
        kinds=_VIEW,
        hint="Add WITH NO SCHEMA BINDING.",
        needs_binding=True,
    ),
    Rule(
        "late-binding-needs-schemas",
        Effect.REFUSE,
        "CREATE VIEW",
        "All the relation names inside should be qualified when creating VIEW WITH NO SCHEMA "
        "BINDING.",
        asked.unqualified,
        kinds=_VIEW,
        sqlstate="42601",
        needs_binding=True,
    ),
    Rule(
        "external-schema-session-role",
        Effect.REFUSE,
        "3.1",
        "CATALOG_ID is supported with IAM_ROLE 'SESSION' only",
        lambda f: (
            f.statement.has("catalog_id") and f.statement.options.get("iam_role") != "SESSION"
        ),
        kinds=frozenset({Kind.CREATE_EXTERNAL_SCHEMA}),
        sqlstate="42601",
    ),
    Rule(
        "external-schema-needs-role",
        Effect.REFUSE,
        "3.1",
        "syntax error at or near end of input: IAM_ROLE is missing",
        lambda f: not f.statement.has("iam_role"),
        kinds=frozenset({Kind.CREATE_EXTERNAL_SCHEMA}),
        sqlstate="42601",
    ),
    Rule(
        "external-table-in-transaction",
        Effect.REFUSE,
        "4.3",
        "CREATE EXTERNAL TABLE cannot run inside a transaction block",
        lambda f: f.in_transaction,
        kinds=frozenset({Kind.CREATE_EXTERNAL_TABLE}),
        sqlstate="25001",
    ),
    Rule(
        "external-table-by-platform",
        Effect.REFUSE,
        "3.8",
        "CREATE EXTERNAL TABLE is not run by the local stand-in",
        lambda f: not f.in_transaction,
        kinds=frozenset({Kind.CREATE_EXTERNAL_TABLE}),
        hint="The tables of the data catalog are made from the contracts (retail-lakehouse).",
    ),
    Rule(
        "grant-on-external-table",
        Effect.REFUSE,
        "3.2",
        "Operation not supported on external tables",
        lambda f: f.target is not None and f.target.kind is Relation.EXTERNAL,
        kinds=frozenset({Kind.GRANT, Kind.REVOKE}),
        hint="Grant USAGE on the external schema, and SELECT on the materialized views.",
    ),
    Rule(
        "external-tables-are-read-only",
        Effect.REFUSE,
        "3.8",
        "Operation not supported on external tables",
        lambda f: f.target is not None and f.target.kind is Relation.EXTERNAL,
        kinds=_WRITES | {Kind.DROP_TABLE, Kind.ANALYZE},
        hint="One writer a table: a second one would conflict with the stream.",
    ),
    Rule(
        "views-are-read-only",
        Effect.REFUSE,
        "CREATE MATERIALIZED VIEW",
        "cannot modify a view",
        lambda f: (
            f.target is not None
            and f.target.kind in (Relation.MATERIALIZED, Relation.PLAIN_VIEW, Relation.SYSTEM)
        ),
        kinds=_WRITES,
    ),
    Rule(
        "auto-refresh-mutable",
        Effect.REFUSE,
        "1.5",
        "auto refresh is not supported for materialized view with mutable function",
        lambda f: (
            f.statement.has("auto_refresh") and (asked.mutable(f) or asked.date_time_function(f))
        ),
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "auto-refresh-external",
        Effect.REFUSE,
        "1.5",
        "auto refresh is not supported for materialized view over external schema",
        lambda f: f.statement.has("auto_refresh") and f.reads(Relation.EXTERNAL),
        kinds=_MV,
        hint="Create it with AUTO REFRESH NO and refresh it yourself.",
        needs_binding=True,
    ),
    Rule(
        "auto-refresh-nested",
        Effect.REFUSE,
        "1.5",
        "auto refresh is not supported for materialized view over another materialized view",
        lambda f: f.statement.has("auto_refresh") and f.reads(Relation.MATERIALIZED),
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "mv-late-binding",
        Effect.REFUSE,
        "1.8",
        "WITH NO SCHEMA BINDING is not supported for materialized views",
        lambda f: f.statement.has("no_schema_binding"),
        kinds=_MV,
        sqlstate="42601",
    ),
    Rule(
        "mv-ordered",
        Effect.REFUSE,
        "1.8",
        "ORDER BY, LIMIT and OFFSET are not supported in materialized view definition",
        asked.ordered,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "mv-on-plain-view",
        Effect.REFUSE,
        "1.8",
        "Materialized views cannot be defined over standard views",
        lambda f: f.reads(Relation.PLAIN_VIEW),
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "mv-on-system-table",
        Effect.REFUSE,
        "1.8",
        "Materialized views cannot be defined over system tables",
        lambda f: f.reads(Relation.SYSTEM),
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "mv-on-temporary-table",
        Effect.REFUSE,
        "1.8",
        "Materialized views cannot be defined over temporary tables",
        lambda f: f.reads(Relation.TEMPORARY),
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "mv-leader-node-function",
        Effect.REFUSE,
        "1.8",
        "Leader node-only functions are not supported in materialized view definition",
        lambda f: bool(f.calls(functions.LEADER_NODE_ONLY)),
        kinds=_MV,
    ),
    Rule(
        "mv-on-iceberg-v3",
        Effect.REFUSE,
        "1.4",
        "You can't create materialized views on Iceberg v3 tables",
        asked.iceberg_v3,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "refresh-cascade-external",
        Effect.REFUSE,
        "1.9",
        "REFRESH MATERIALIZED VIEW CASCADE is not supported for materialized views on external "
        "tables",
        lambda f: f.statement.has("cascade") and asked.on_external(f),
        kinds=frozenset({Kind.REFRESH}),
        hint="Refresh nested views one by one, in order.",
    ),
    Rule(
        "mutable-function",
        Effect.RECOMPUTE,
        "1.6",
        "has a mutable function",
        asked.mutable,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "date-time-function",
        Effect.RECOMPUTE,
        "1.6",
        "has a date-time function that counts as mutable for its argument's type",
        asked.date_time_function,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "outer-join",
        Effect.RECOMPUTE,
        "1.7",
        "has an outer join",
        asked.outer_join,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "set-operation",
        Effect.RECOMPUTE,
        "1.7",
        "has UNION, INTERSECT or EXCEPT",
        lambda f: any(True for _ in f.nodes(exp.SetOperation)),
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "distinct",
        Effect.RECOMPUTE,
        "1.7",
        "has DISTINCT",
        lambda f: any(True for _ in f.nodes(exp.Distinct)),
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "window-function",
        Effect.RECOMPUTE,
        "1.7",
        "has a window function",
        lambda f: any(True for _ in f.nodes(exp.Window)),
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "subquery",
        Effect.RECOMPUTE,
        "1.7",
        "has a subquery or a common table expression",
        asked.subquery,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "other-aggregate",
        Effect.RECOMPUTE,
        "1.7",
        "has an aggregate other than SUM, COUNT, MIN, MAX and AVG",
        asked.other_aggregate,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "grouping-sets",
        Effect.RECOMPUTE,
        "1.7",
        "has GROUPING SETS, ROLLUP or CUBE",
        asked.grouping_sets,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "varbyte",
        Effect.RECOMPUTE,
        "1.2",
        "reads a VARBYTE column",
        asked.varbyte,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "base-is-local",
        Effect.RECOMPUTE,
        "the stand-in keeps no log of changes to local tables",
        "reads a table or view that is not an Iceberg table",
        lambda f: f.reads(Relation.LOCAL, Relation.MATERIALIZED),
        kinds=_MV,
        needs_binding=True,
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
