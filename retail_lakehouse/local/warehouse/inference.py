"""Redshift's result types over a SQL tree, where sqlglot's own inference is too coarse.

Here: the precision and scale that Redshift gives to sums, averages and arithmetic, so that the
translation can divide and average as Redshift does. Not here: the translation (`dialect.py`).

Source: Amazon Redshift Database Developer Guide, "Computations with numeric values",
"SUM function", "AVG function".
"""

from typing import Any

from sqlglot import exp
from sqlglot.dialects.redshift import Redshift
from sqlglot.optimizer.annotate_types import TypeAnnotator

MAX_PRECISION = 38
_INTEGER_DIGITS: dict[exp.DType, int] = {
    exp.DType.TINYINT: 5,
    exp.DType.SMALLINT: 5,
    exp.DType.INT: 10,
    exp.DType.BIGINT: 19,
}
INTEGERS = frozenset(_INTEGER_DIGITS)
FLOATS = frozenset({exp.DType.FLOAT, exp.DType.DOUBLE})


def decimal_type(precision: int, scale: int) -> exp.DataType:
    """NUMERIC(precision, scale), at most 38 digits."""
    return exp.DataType.build(f"DECIMAL({min(precision, MAX_PRECISION)}, {scale})")


def kind_of(node: exp.Expr | None) -> exp.DType:
    """The annotated type's kind, UNKNOWN when there is none."""
    declared = node.type if node is not None else None
    if declared is None or not isinstance(declared.this, exp.DType):
        return exp.DType.UNKNOWN
    return declared.this


def is_decimal(node: exp.Expr | None) -> bool:
    """True for NUMERIC and DECIMAL."""
    return kind_of(node) == exp.DType.DECIMAL


def digits_of(node: exp.Expr) -> tuple[int, int] | None:
    """(precision, scale) of an exact number; None for anything else."""
    kind = kind_of(node)
    if kind in _INTEGER_DIGITS:
        return _INTEGER_DIGITS[kind], 0
    if kind != exp.DType.DECIMAL or node.type is None:
        return None
    parameters = [int(p.name) for p in node.type.expressions]
    if not parameters:
        return 18, 0
    return parameters[0], parameters[1] if len(parameters) > 1 else 0


def quotient_digits(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    """(precision, scale) that Redshift gives to a quotient of exact numbers."""
    (p1, s1), (p2, s2) = left, right
    scale = max(4, s1 + p2 - s2 + 1)
    precision = p1 - s1 + s2 + scale
    if precision <= MAX_PRECISION:
        return precision, scale
    return MAX_PRECISION, max(MAX_PRECISION + scale - precision, min(4, max(s1, s2)))


def _common(nodes: list[exp.Expr]) -> exp.DataType | exp.DType | None:
    """The type of a column that holds all the nodes' values; None when sqlglot may decide."""
    kinds = {kind_of(n) for n in nodes} - {exp.DType.NULL}
    if exp.DType.DECIMAL not in kinds:
        return None
    if kinds & FLOATS:
        return exp.DType.DOUBLE
    digits = [d for d in map(digits_of, nodes) if d]
    if len(digits) < sum(kind_of(n) != exp.DType.NULL for n in nodes):
        return exp.DType.UNKNOWN
    scale = max(s for _, s in digits)
    return decimal_type(max(p - s for p, s in digits) + scale, scale)


def _arithmetic(self: TypeAnnotator, node: exp.Binary) -> exp.Expr:
    left, right = node.left, node.right
    kinds = {kind_of(left), kind_of(right)}
    if exp.DType.DECIMAL not in kinds:
        return self._annotate_binary(node)
    if kinds & FLOATS:
        return self._set_type(node, exp.DType.DOUBLE)
    a, b = digits_of(left), digits_of(right)
    if a is None or b is None:
        return self._set_type(node, exp.DType.UNKNOWN)
    if isinstance(node, exp.Mul):
        return self._set_type(node, decimal_type(a[0] + b[0] + 1, a[1] + b[1]))
    if isinstance(node, exp.Div):
        return self._set_type(node, decimal_type(*quotient_digits(a, b)))
    scale = max(a[1], b[1])
    return self._set_type(node, decimal_type(max(a[0] - a[1], b[0] - b[1]) + scale + 1, scale))


def _sum(self: TypeAnnotator, node: exp.Sum) -> exp.Expr:
    argument = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    kind = kind_of(argument)
    if kind in (exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT):
        return self._set_type(node, exp.DType.BIGINT)
    if kind == exp.DType.BIGINT:
        return self._set_type(node, decimal_type(38, 0))
    digits = digits_of(argument)
    if digits:
        return self._set_type(node, decimal_type(38, digits[1]))
    return self._set_type(node, exp.DType.DOUBLE if kind in FLOATS else exp.DType.UNKNOWN)


def _average(self: TypeAnnotator, node: exp.Avg) -> exp.Expr:
    argument = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    kind = kind_of(argument)
    if kind in INTEGERS:
        return self._set_type(node, exp.DType.BIGINT)
    digits = digits_of(argument)
    if digits:
        return self._set_type(node, decimal_type(38, digits[1]))
    return self._set_type(node, exp.DType.DOUBLE if kind in FLOATS else exp.DType.UNKNOWN)


def _literal(self: TypeAnnotator, node: exp.Literal) -> exp.Expr:
    if node.is_string or node.is_int or "e" in node.name.lower():
        self._annotate_literal(node)
        if node.is_int and abs(int(node.name)) > 2**31 - 1:
            wide = abs(int(node.name)) > 2**63 - 1
            self._set_type(node, decimal_type(38, 0) if wide else exp.DType.BIGINT)
        return node
    whole, _, fraction = node.name.partition(".")
    return self._set_type(node, decimal_type(len(whole.lstrip("0") + fraction), len(fraction)))


def _alternatives(self: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Case):
        branches = [i.args["true"] for i in node.args["ifs"]]
        if node.args.get("default"):
            branches.append(node.args["default"])
    elif isinstance(node, exp.If):
        branches = [b for b in (node.args.get("true"), node.args.get("false")) if b]
    elif isinstance(node, exp.Nullif):
        branches = [node.this]
    else:
        branches = [node.this, *node.expressions]
    common = _common(branches)
    if common is None:
        return self._annotate_by_args(node, *branches)
    return self._set_type(node, common)


def _like_argument(self: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    return self._set_type(node, node.this.type)


def _rounded(self: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    digits = digits_of(node.this)
    if not is_decimal(node.this) or digits is None:
        return self._set_type(node, node.this.type)
    places = node.args.get("decimals")
    if places is not None and not (isinstance(places, exp.Literal) and places.is_int):
        return self._set_type(node, exp.DType.UNKNOWN)
    scale = min(digits[1], int(places.name)) if places is not None else 0
    return self._set_type(node, decimal_type(digits[0], scale))


def _anonymous(self: TypeAnnotator, node: exp.Anonymous) -> exp.Expr:
    kind = exp.DType.TIMESTAMP if node.name.lower() in ("getdate",) else exp.DType.UNKNOWN
    return self._set_type(node, kind)


def _returns(kind: exp.DType) -> dict[str, Any]:
    return {"returns": kind}


METADATA: dict[type[exp.Expr], dict[str, Any]] = {
    **Redshift.EXPRESSION_METADATA,
    **{node: {"annotator": _arithmetic} for node in (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)},
    **{
        node: {"annotator": _alternatives}
        for node in (exp.Case, exp.If, exp.Coalesce, exp.Greatest, exp.Least, exp.Nullif)
    },
    **{node: {"annotator": _like_argument} for node in (exp.Abs, exp.Max, exp.Min, exp.AnyValue)},
    **{node: {"annotator": _rounded} for node in (exp.Round, exp.Trunc)},
    exp.Sum: {"annotator": _sum},
    exp.Avg: {"annotator": _average},
    exp.Literal: {"annotator": _literal},
    exp.Anonymous: {"annotator": _anonymous},
    exp.TsOrDsDiff: _returns(exp.DType.BIGINT),
    exp.TsOrDsAdd: _returns(exp.DType.TIMESTAMP),
    exp.TimestampTrunc: _returns(exp.DType.TIMESTAMP),
    exp.ConvertTimezone: _returns(exp.DType.TIMESTAMP),
    exp.Date: _returns(exp.DType.DATE),
    exp.Extract: _returns(exp.DType.INT),
}
