"""How a materialized view is kept: partial aggregates in segments, put together when read.

Here: the split of a view's query into what each delta computes (group keys and partial
aggregates) and what readers compute over all deltas (the same aggregates of the partials, HAVING,
the select list). SUM, COUNT, MIN, MAX and AVG (as sum and count) combine exactly, so a fold of
deltas equals a recomputation. Not here: which queries may be kept so (`rules.py`), or running
them (`refresh.py`).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from retail_lakehouse.local.warehouse.binding import Bound
from retail_lakehouse.local.warehouse.dialect import RAW, exact_quotient, sql, to_duckdb
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.identifiers import quoted
from retail_lakehouse.local.warehouse.inference import FLOATS, digits_of, is_decimal, kind_of
from retail_lakehouse.local.warehouse.translation import segment_text

SEGMENTS = "segment_rows"
"""The name under which the read query mentions the segment table."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A view in two halves, as DuckDB's SQL.

    `segment_text` has gaps for external tables; `read_text` reads from SEGMENTS. `merge_text`
    puts segments together into one row a group (None: rows are not grouped). `layout` changes
    whenever the segment table's columns would.
    """

    segment_text: str
    read_text: str
    merge_text: str | None
    keys: tuple[str, ...]
    layout: str


def whole_shape(bound: Bound, columns: tuple[str, ...]) -> Shape:
    """A view whose rows are kept as they are: recomputed in full, or a plain selection."""
    text = segment_text(_renamed(bound.tree, columns), bound)
    listed = ", ".join(map(quoted, columns))
    read = f"SELECT {listed} FROM {SEGMENTS}"  # noqa: S608 - names were checked by the binder
    return Shape(text, read, None, (), _fingerprint("whole", text))


def _renamed(tree: exp.Query, columns: tuple[str, ...]) -> exp.Query:
    selects = tree.selects
    for select, column in zip(list(selects), columns, strict=True):
        if isinstance(tree, exp.Select):
            inner = select.this if isinstance(select, exp.Alias) else select
            select.replace(exp.alias_(inner.copy(), column, quoted=True))
    return tree


def aggregate_shape(bound: Bound, columns: tuple[str, ...]) -> Shape:
    """A grouped view in two halves.

    Raises:
        WarehouseError: a column is neither grouped nor aggregated (42803).
    """
    tree = bound.tree
    if not isinstance(tree, exp.Select):
        raise WarehouseError("0A000", "only a SELECT can be kept as partial aggregates")
    group = tree.args.get("group")
    split = _Split(group.expressions if group else [])
    selects = [
        split.outer(s.this if isinstance(s, exp.Alias) else s).as_(c, quoted=True)
        for s, c in zip(tree.selects, columns, strict=True)
    ]
    having = tree.args.get("having")
    kept = split.outer(having.this) if having else None
    read = exp.select(*selects).from_(SEGMENTS)
    merge = exp.select(*split.merged()).from_(SEGMENTS)
    if group:
        keys = [exp.column(k) for k in split.key_names]
        read, merge = read.group_by(*keys), merge.group_by(*[k.copy() for k in keys])
    if kept is not None:
        read = read.having(kept)
    inner = tree.copy()
    inner.set("expressions", split.inner())
    inner.set("having", None)
    inner.set("order", None)
    text = segment_text(inner, bound)
    described = "|".join([*split.key_names, *split.partial_sql])
    return Shape(
        segment_text=text,
        read_text=sql(to_duckdb(read)),
        merge_text=sql(to_duckdb(merge)),
        keys=tuple(split.key_names),
        layout=_fingerprint("aggregate", described + "|" + text),
    )


def _fingerprint(kind: str, text: str) -> str:
    return f"{kind}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


class _Split:
    """Collects group keys and partial aggregates while the outer half is written."""

    def __init__(self, group: list[exp.Expr]):
        self._keys = {key.sql(): (f"k{i}", key) for i, key in enumerate(group)}
        self._grouped = bool(group)
        self._partials: dict[str, tuple[str, exp.AggFunc]] = {}

    @property
    def key_names(self) -> list[str]:
        return [name for name, _ in self._keys.values()]

    @property
    def partial_sql(self) -> list[str]:
        return [node.sql() for _, node in self._partials.values()]

    def inner(self) -> list[exp.Expr]:
        """The select list of a segment."""
        listed = [key.copy().as_(name) for name, key in self._keys.values()]
        return listed + [node.copy().as_(name) for name, node in self._partials.values()]

    def merged(self) -> list[exp.Expr]:
        """The select list that puts segments together without changing their columns."""
        keys = [exp.column(name).as_(name) for name in self.key_names]
        return keys + [
            self._combined(name, node).as_(name) for name, node in self._partials.values()
        ]

    def outer(self, node: exp.Expr) -> exp.Expr:
        """An expression of the view over the segments' columns."""
        rewritten = node.copy().transform(self._replace)
        for column in rewritten.find_all(exp.Column):
            if column.table:
                raise WarehouseError(
                    "42803",
                    f'column "{column.table}.{column.name}" must appear in the GROUP BY clause or '
                    "be used in an aggregate function",
                )
        return rewritten

    def _replace(self, node: exp.Expr) -> exp.Expr:
        key = self._keys.get(node.sql())
        if key is not None:
            return _with_type(exp.column(key[0]), node)
        if isinstance(node, exp.Avg):
            return self._average(node)
        if isinstance(node, exp.AggFunc):
            return self._combined(self._partial(node), node)
        return node

    def _partial(self, node: exp.AggFunc) -> str:
        text = node.sql()
        if text not in self._partials:
            self._partials[text] = (f"a{len(self._partials)}", node.copy())
        return self._partials[text][0]

    def _combined(self, name: str, node: exp.AggFunc) -> exp.Expr:
        column = _with_type(exp.column(name), node)
        if isinstance(node, exp.Min | exp.Max):
            build: Callable[..., exp.Expr] = type(node)
            return _with_type(build(this=column), node)
        total: exp.Expr = _raw_sum(column)
        if isinstance(node, exp.Count) and not self._grouped:
            total = exp.Coalesce(this=total, expressions=[exp.Literal.number(0)])
        if node.type is not None and kind_of(node) not in (exp.DType.UNKNOWN, *FLOATS):
            total = exp.cast(total, node.type)
        return _with_type(total, node)

    def _average(self, node: exp.Avg) -> exp.Expr:
        argument = node.this
        total = exp.Sum(this=argument.copy())
        count = exp.Count(this=argument.copy())
        count.type = exp.DType.BIGINT.into_expr()
        digits = digits_of(argument)
        if digits:
            scale = digits[1]
            total.type = exp.DataType.build(f"DECIMAL(38, {scale})")
        else:
            total.type = exp.DType.DOUBLE.into_expr()
        dividend = _raw_sum(_with_type(exp.column(self._partial(total)), total))
        divisor = exp.Nullif(
            this=_raw_sum(_with_type(exp.column(self._partial(count)), count)),
            expression=exp.Literal.number(0),
        )
        if is_decimal(argument) and digits:
            return _with_type(
                exact_quotient(dividend, divisor, (digits[1], 0), 38, digits[1]), node
            )
        if digits:
            whole = exp.IntDiv(this=exp.cast(dividend, "INT128"), expression=divisor)
            return _with_type(exp.cast(exp.Paren(this=whole), exp.DType.BIGINT), node)
        quotient = exp.Div(this=dividend, expression=divisor, typed=False, safe=False)
        return _with_type(exp.Paren(this=quotient), node)


def _raw_sum(column: exp.Expr) -> exp.Sum:
    total = exp.Sum(this=column)
    total.meta[RAW] = True
    return total


def _with_type(node: exp.Expr, like: exp.Expr) -> exp.Expr:
    node.type = like.type
    return node
