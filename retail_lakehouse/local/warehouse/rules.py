"""What Redshift refuses, and what makes it recompute a view in full: one table of rules.

Here: every rule once, with its source; the session refuses by it and the state of a materialized
view comes from it. Not here: errors that DuckDB or the binder find by themselves (unknown columns,
bad values), or the statements' grammar.

Sources are sections of aws.md; "CREATE VIEW" and the like name the page of the Database Developer
Guide. Where Redshift's own words are not known, the sentence is ours and says the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from sqlglot import exp
from sqlglot.tokens import TokenType

from retail_lakehouse.local.warehouse import functions
from retail_lakehouse.local.warehouse.binding import Bound, Relation, Resolved
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.inference import INTEGERS, kind_of
from retail_lakehouse.local.warehouse.statements import DDL, Kind, Statement


class Effect(Enum):
    """What follows when a rule is broken."""

    REFUSE = "refused"
    RECOMPUTE = "recomputed in full"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule looks at: the statement, its query as bound (None where it has none or it could
    not be bound yet), the relation it acts on, and whether a transaction is open.
    """

    statement: Statement
    bound: Bound | None = None
    target: Resolved | None = None
    in_transaction: bool = False

    def nodes(self, *kinds: type[exp.Expression]) -> Iterable[exp.Expression]:
        """The query's nodes of the given kinds."""
        return () if self.bound is None else self.bound.tree.find_all(*kinds)

    def reads(self, *kinds: Relation) -> bool:
        """True when the query itself names a relation of one of the kinds."""
        return self.bound is not None and any(r.kind in kinds for r in self.bound.relations)

    def reads_behind_views(self, *kinds: Relation) -> bool:
        """Like `reads`, through plain views."""
        return self.bound is not None and any(r.kind in kinds for r in self.bound.read)

    def calls(self, names: frozenset[str]) -> list[str]:
        """Which of the functions the text calls, with or without parentheses."""
        return [name for name in _called(self.statement) if name in names]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `breaks` answers whether the facts break it; `kinds` are the statements it looks
    at (none: all).
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


def _called(statement: Statement) -> list[str]:
    found: list[str] = []
    tokens = statement.script.tokens
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.token_type in (TokenType.STRING, TokenType.IDENTIFIER, TokenType.NUMBER):
            continue
        name = token.text.lower()
        opens = following is not None and following.token_type == TokenType.L_PAREN
        if opens or name in _WITHOUT_PARENTHESES:
            found.append(name)
    return found


_WITHOUT_PARENTHESES = frozenset(
    {"sysdate", "current_date", "current_timestamp", "current_time", "current_user"}
    | {"session_user", "localtime", "current_user_id"}
)
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
_INCREMENTAL_AGGREGATES = (exp.Sum, exp.Count, exp.Min, exp.Max, exp.Avg)


def _unknown_functions(facts: Facts) -> list[str]:
    if facts.statement.kind not in (Kind.QUERY, Kind.CREATE_VIEW, Kind.CREATE_MATERIALIZED_VIEW):
        return []
    tokens = facts.statement.script.tokens
    skip: set[int] = set()
    for i, token in enumerate(tokens):
        # name (a, b) AS: a common table expression's or view's column list; x.name(: no function.
        if token.text.lower() in ("with", "view", ",", ".", "as", "into"):
            skip.add(i + 1)
    found = []
    for i, token in enumerate(tokens[:-1]):
        opens = tokens[i + 1].token_type == TokenType.L_PAREN
        is_name = token.text.replace("_", "a").isalnum() and not token.text[0].isdigit()
        if not (opens and is_name) or token.token_type in (TokenType.STRING, TokenType.IDENTIFIER):
            continue
        if token.text.lower() in functions.KNOWN or _is_column_list(tokens, i, skip):
            continue
        found.append(token.text.lower())
    return found


def _is_column_list(tokens: tuple[object, ...], index: int, skip: set[int]) -> bool:
    if index not in skip:
        return False
    depth = 0
    for position in range(index + 1, len(tokens)):
        text = tokens[position].text  # type: ignore[attr-defined]
        depth += {"(": 1, ")": -1}.get(text, 0)
        if depth == 0:
            following = tokens[position + 1].text.lower() if position + 1 < len(tokens) else ""  # type: ignore[attr-defined]
            return following in ("as", "") or tokens[index - 1].text.lower() != ","  # type: ignore[attr-defined]
    return False


def _timestamp_of_integer(facts: Facts) -> bool:
    moments = (exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ, exp.DType.DATE, exp.DType.TIMESTAMPNTZ)
    return any(
        isinstance(node, exp.Cast)
        and node.to.this in moments
        and kind_of(node.this) in INTEGERS | {exp.DType.DECIMAL, exp.DType.DOUBLE, exp.DType.FLOAT}
        for node in facts.nodes(exp.Cast)
    )


def _mutable(facts: Facts) -> bool:
    return bool(facts.calls(functions.MUTABLE))


def _date_time_function(facts: Facts) -> bool:
    return any(not _is_immutable(node) for node in facts.nodes(*_DATE_TIME_NODES))


_DATE_TIME_NODES = (
    exp.Extract,
    exp.TimestampTrunc,
    exp.TsOrDsAdd,
    exp.TsOrDsDiff,
    exp.TimeToStr,
    exp.StrToTime,
    exp.StrToDate,
    exp.ConvertTimezone,
    exp.AtTimeZone,
    exp.LastDay,
    exp.AddMonths,
    exp.MonthsBetween,
    exp.Mul,
)


def _is_immutable(node: exp.Expression) -> bool:
    if isinstance(node, exp.Mul):
        return not any(isinstance(side.unnest(), exp.Interval) for side in (node.left, node.right))
    if isinstance(node, exp.TimestampTrunc):
        return kind_of(node.this) in (exp.DType.TIMESTAMP, exp.DType.INTERVAL)
    if isinstance(node, exp.Extract):
        kinds = (exp.DType.DATE, exp.DType.TIME, exp.DType.TIMETZ, exp.DType.INTERVAL)
        return kind_of(node.expression) in kinds
    return False


def _outer_join(facts: Facts) -> bool:
    return any(isinstance(j, exp.Join) and bool(j.side) for j in facts.nodes(exp.Join))


def _subquery(facts: Facts) -> bool:
    if facts.bound is None:
        return False
    selects = list(facts.bound.tree.find_all(exp.Select))
    return len(selects) > 1 and not isinstance(facts.bound.tree, exp.SetOperation)


def _other_aggregate(facts: Facts) -> bool:
    approximate = (exp.ApproxDistinct, exp.ApproxQuantile)
    ordered = (exp.WithinGroup, exp.PercentileCont, exp.PercentileDisc, exp.GroupConcat)
    if any(True for _ in facts.nodes(*approximate, *ordered)):
        return True
    return any(
        not isinstance(node, _INCREMENTAL_AGGREGATES) for node in facts.nodes(exp.AggFunc)
    ) or bool(facts.calls(functions.AGGREGATES - {"sum", "count", "min", "max", "avg"}))


def _ordered(facts: Facts) -> bool:
    if facts.bound is None:
        return False
    return any(
        query.args.get(clause) is not None
        for query in facts.bound.tree.find_all(exp.Query)
        for clause in ("order", "limit", "offset")
    )


def _grouping_sets(facts: Facts) -> bool:
    return any(
        group.args.get(kind)
        for group in facts.nodes(exp.Group)
        for kind in ("grouping_sets", "rollup", "cube")
    )


def _unqualified(facts: Facts) -> bool:
    if not facts.statement.has("no_schema_binding") or facts.bound is None:
        return False
    written = facts.statement.options.get("unqualified", "")
    return bool(written)


def _varbyte(facts: Facts) -> bool:
    return any(kind_of(c) == exp.DType.VARBINARY for c in facts.nodes(exp.Column))


def _iceberg_v3(facts: Facts) -> bool:
    return facts.bound is not None and any(t.format_version > 2 for t in facts.bound.external)


def _on_external(facts: Facts) -> bool:
    view = facts.target.materialized if facts.target else None
    return view is not None and bool(view.base)


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
        lambda f: bool(_unknown_functions(f)),
        sqlstate="42883",
    ),
    Rule(
        "time-travel",
        Effect.REFUSE,
        "3.4",
        "time travel is not supported on Iceberg tables",
        lambda f: (
            any(t.args.get("version") or t.args.get("when") for t in f.nodes(exp.Table))
            or _words_in(f, "FOR", "SYSTEM_TIME")
            or _words_in(f, "FOR", "TIMESTAMP", "AS")
            or _words_in(f, "FOR", "VERSION", "AS")
        ),
        sqlstate="42601",
    ),
    Rule(
        "integer-to-timestamp",
        Effect.REFUSE,
        "10.39",
        "cannot cast type bigint to timestamp without time zone",
        _timestamp_of_integer,
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
        _unqualified,
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
        lambda f: f.statement.has("auto_refresh") and (_mutable(f) or _date_time_function(f)),
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
        _ordered,
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
        _iceberg_v3,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "refresh-cascade-external",
        Effect.REFUSE,
        "1.9",
        "REFRESH MATERIALIZED VIEW CASCADE is not supported for materialized views on external "
        "tables",
        lambda f: f.statement.has("cascade") and _on_external(f),
        kinds=frozenset({Kind.REFRESH}),
        hint="Refresh nested views one by one, in order.",
    ),
    Rule(
        "mutable-function",
        Effect.RECOMPUTE,
        "1.6",
        "has a mutable function",
        _mutable,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "date-time-function",
        Effect.RECOMPUTE,
        "1.6",
        "has a date-time function that counts as mutable for its argument's type",
        _date_time_function,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "outer-join",
        Effect.RECOMPUTE,
        "1.7",
        "has an outer join",
        _outer_join,
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
        _subquery,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "other-aggregate",
        Effect.RECOMPUTE,
        "1.7",
        "has an aggregate other than SUM, COUNT, MIN, MAX and AVG",
        _other_aggregate,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "grouping-sets",
        Effect.RECOMPUTE,
        "1.7",
        "has GROUPING SETS, ROLLUP or CUBE",
        _grouping_sets,
        kinds=_MV,
        needs_binding=True,
    ),
    Rule(
        "varbyte",
        Effect.RECOMPUTE,
        "1.2",
        "reads a VARBYTE column",
        _varbyte,
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


def _words_in(facts: Facts, *words: str) -> bool:
    written = facts.statement.script.words
    return any(
        written[i : i + len(words)] == list(words) for i in range(len(written) - len(words) + 1)
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
    return _mutable(facts) or _date_time_function(facts)
