"""What the rules look at, and the questions that they ask of it.

Here: the facts of a statement, and predicates over its tokens and its tree. Not here: which of them
are rules, and what follows (`rules.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from retail_lakehouse.local.warehouse import functions
from retail_lakehouse.local.warehouse.binding import Bound, Relation, Resolved
from retail_lakehouse.local.warehouse.inference import INTEGERS, kind_of
from retail_lakehouse.local.warehouse.statements import Kind, Statement


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule looks at.

    `bound` is the statement's query (None where it has none, or before names are resolved),
    `target` the relation that it acts on.
    """

    statement: Statement
    bound: Bound | None = None
    target: Resolved | None = None
    in_transaction: bool = False

    def nodes(self, *kinds: type[exp.Expr]) -> Iterable[exp.Expr]:
        """The query's nodes of the given kinds."""
        return () if self.bound is None else self.bound.tree.find_all(*kinds)

    def has(self, *kinds: type[exp.Expr]) -> bool:
        """True when the query has a node of one of the kinds."""
        return any(True for _ in self.nodes(*kinds))

    def reads(self, *kinds: Relation) -> bool:
        """True when the query itself names a relation of one of the kinds."""
        return self.bound is not None and any(r.kind in kinds for r in self.bound.relations)

    def reads_behind_views(self, *kinds: Relation) -> bool:
        """Like `reads`, through plain views."""
        return self.bound is not None and any(r.kind in kinds for r in self.bound.read)

    def calls(self, names: frozenset[str]) -> list[str]:
        """Which of the functions the text calls, with or without parentheses."""
        return [name for name in _called(self.statement) if name in names]


def _called(statement: Statement) -> list[str]:
    found: list[str] = []
    tokens = statement.script.tokens
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.token_type in (TokenType.STRING, TokenType.NUMBER):
            continue
        name = token.text.lower()
        opens = following is not None and following.token_type == TokenType.L_PAREN
        is_quoted = token.token_type == TokenType.IDENTIFIER
        if opens or (name in _WITHOUT_PARENTHESES and not is_quoted):
            found.append(name)
    return found


_WITHOUT_PARENTHESES = frozenset(
    {"sysdate", "current_date", "current_timestamp", "current_time", "current_user"}
    | {"session_user", "localtime", "current_user_id"}
)
_INCREMENTAL_AGGREGATES = (exp.Sum, exp.Count, exp.Min, exp.Max, exp.Avg)


_CALLING = frozenset(
    {Kind.QUERY, Kind.CREATE_VIEW, Kind.CREATE_MATERIALIZED_VIEW, Kind.CREATE_TABLE}
    | {Kind.INSERT, Kind.UPDATE, Kind.DELETE}
)


def unknown_functions(facts: Facts) -> list[str]:
    """The functions that the text calls and Redshift does not have."""
    if facts.statement.kind not in _CALLING:
        return []
    tokens = facts.statement.script.tokens
    return [
        tokens[position].text.lower()
        for position in range(_past_target(facts.statement), len(tokens) - 1)
        if _calls_unknown(tokens, position)
    ]


def _past_target(statement: Statement) -> int:
    """Where calls may begin: earlier, what stands before a parenthesis is a relation or a type."""
    tokens = statement.script.tokens
    if statement.kind in (Kind.CREATE_TABLE, Kind.CREATE_VIEW, Kind.CREATE_MATERIALIZED_VIEW):
        as_words = (i for i, t in enumerate(tokens) if t.token_type == TokenType.ALIAS)
        return next(as_words, len(tokens))
    if statement.kind is not Kind.INSERT:
        return 0
    end = len(("INSERT", "INTO", "name"))
    while end < len(tokens) and tokens[end].token_type == TokenType.DOT:
        end += 2
    return end


def _calls_unknown(tokens: Sequence[Token], position: int) -> bool:
    token = tokens[position]
    return (
        tokens[position + 1].token_type == TokenType.L_PAREN
        and token.token_type not in (TokenType.STRING, TokenType.NUMBER)
        and token.text.replace("_", "a").isalnum()
        and token.text.lower() not in functions.KNOWN
        and not _lists_columns(tokens, position)
    )


def _lists_columns(tokens: Sequence[Token], position: int) -> bool:
    """True for `name (a, b) AS`, and for the alias in `AS name (a, b)`."""
    if position and tokens[position - 1].text.lower() in ("as", ")", "into", "view"):
        return True
    depth = 0
    for index in range(position + 1, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[index].text, 0)
        if depth == 0:
            rest = [t.text.lower() for t in tokens[index + 1 : index + 3]]
            return rest[:1] == ["as"] and rest[1:] in (["("], ["select"], ["with"])
    return False


def timestamp_of_integer(facts: Facts) -> bool:
    """True when a number is cast to a date or timestamp."""
    moments = (exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ, exp.DType.DATE, exp.DType.TIMESTAMPNTZ)
    return any(
        isinstance(node, exp.Cast)
        and node.to.this in moments
        and kind_of(node.this) in INTEGERS | {exp.DType.DECIMAL, exp.DType.DOUBLE, exp.DType.FLOAT}
        for node in facts.nodes(exp.Cast)
    )


def mutable(facts: Facts) -> bool:
    """True when a function of the text gives another answer at another moment."""
    return bool(facts.calls(functions.MUTABLE))


def date_time_function(facts: Facts) -> bool:
    """True for a date-time function that is not immutable for its argument's type."""
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


def _is_immutable(node: exp.Expr) -> bool:
    if isinstance(node, exp.Mul):
        return not any(isinstance(side.unnest(), exp.Interval) for side in (node.left, node.right))
    if isinstance(node, exp.TimestampTrunc):
        return kind_of(node.this) in (exp.DType.TIMESTAMP, exp.DType.INTERVAL)
    if isinstance(node, exp.Extract):
        kinds = (exp.DType.DATE, exp.DType.TIME, exp.DType.TIMETZ, exp.DType.INTERVAL)
        return kind_of(node.expression) in kinds
    return False


def outer_join(facts: Facts) -> bool:
    """True for LEFT, RIGHT and FULL."""
    return any(isinstance(j, exp.Join) and bool(j.side) for j in facts.nodes(exp.Join))


def subquery(facts: Facts) -> bool:
    """True when there is more than one SELECT, common table expressions included."""
    if facts.bound is None:
        return False
    selects = list(facts.bound.tree.find_all(exp.Select))
    return len(selects) > 1 and not isinstance(facts.bound.tree, exp.SetOperation)


def other_aggregate(facts: Facts) -> bool:
    """True for an aggregate that cannot be kept up from inserts alone."""
    approximate = (exp.ApproxDistinct, exp.ApproxQuantile)
    ordered = (exp.WithinGroup, exp.PercentileCont, exp.PercentileDisc, exp.GroupConcat)
    if facts.has(*approximate, *ordered):
        return True
    return any(
        not isinstance(node, _INCREMENTAL_AGGREGATES) for node in facts.nodes(exp.AggFunc)
    ) or bool(facts.calls(functions.AGGREGATES - {"sum", "count", "min", "max", "avg"}))


def ordered(facts: Facts) -> bool:
    """True for ORDER BY, LIMIT, OFFSET and TOP anywhere."""
    if facts.bound is None:
        return False
    return any(
        query.args.get(clause) is not None
        for query in facts.bound.tree.find_all(exp.Query)
        for clause in ("order", "limit", "offset")
    )


def grouping_sets(facts: Facts) -> bool:
    """True for GROUPING SETS, ROLLUP and CUBE."""
    return facts.has(exp.GroupingSets, exp.Rollup, exp.Cube)


def unqualified(facts: Facts) -> bool:
    """True for a late-binding view that names a relation without its schema."""
    if not facts.statement.has("no_schema_binding") or facts.bound is None:
        return False
    written = facts.statement.options.get("unqualified", "")
    return bool(written)


def varbyte(facts: Facts) -> bool:
    """True when a VARBYTE column is read."""
    return any(kind_of(c) == exp.DType.VARBINARY for c in facts.nodes(exp.Column))


def iceberg_v3(facts: Facts) -> bool:
    """True when a table's format is newer than version 2."""
    return facts.bound is not None and any(t.format_version > 2 for t in facts.bound.external)


def several_databases(facts: Facts) -> bool:
    """True when the external tables are of more than one database of the data catalog."""
    return facts.bound is not None and len({t.database for t in facts.bound.external}) > 1


def table_twice(facts: Facts) -> bool:
    """True when an external table is named more than once, under whatever schema.

    The new rows of one place would meet all rows of the other, and never the other way round.
    """
    if facts.bound is None:
        return False
    # Two schemas may show one database, so it is the tables that are counted and not their names.
    lake = {(r.name.schema, r.name.name): r.table for r in facts.bound.read if r.table is not None}
    named = [
        (table.database, table.name)
        for node in facts.bound.tree.find_all(exp.Table)
        if (table := lake.get((node.db, node.name))) is not None
    ]
    return len(named) > len(set(named))


def on_external(facts: Facts) -> bool:
    """True when the relation is a materialized view over external tables."""
    view = facts.target.materialized if facts.target else None
    return view is not None and bool(view.base)
