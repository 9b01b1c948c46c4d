"""Redshift's SQL to DuckDB's: the tree is rewritten so that DuckDB gives Redshift's answers.

Here: parsing with Redshift's own meaning of GETDATE(), and the rewriting of what the two engines
do differently without saying so (integer and decimal division, AVG, SUM's type, varchar(n), the
clock). Not here: what Redshift refuses (`rules.py`) or the resolution of names (`binding.py`).

Source: reliability_ecosystem.md 3.3 for the differences; DuckDB runs with `integer_division`, so
that quotients of integers are integers without knowing their types.
"""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.dialects.redshift import Redshift
from sqlglot.errors import SqlglotError
from sqlglot.parsers.redshift import RedshiftParser
from sqlglot.tokenizer_core import Token, TokenType

from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.identifiers import checked
from retail_lakehouse.local.warehouse.inference import (
    FLOATS,
    INTEGERS,
    digits_of,
    is_decimal,
    kind_of,
    quotient_digits,
)

CLOCK_GETDATE, CLOCK_SYSDATE, CLOCK_DATE = "clock_getdate", "clock_sysdate", "clock_date"
SESSION_USER, SESSION_DATABASE = "session_user_name", "session_database"
SESSION_SCHEMA, SESSION_VERSION = "session_schema", "session_version"
RAW = "raw"
"""Meta key of a SUM that combines partial sums and keeps its argument's type."""


class WarehouseRedshift(Redshift):
    """Redshift with GETDATE() kept apart from CURRENT_TIMESTAMP: another type, another rule."""

    class Tokenizer(Redshift.Tokenizer):
        """Tokens of every statement: sqlglot would swallow REFRESH and SHOW as one text."""

        COMMANDS: ClassVar[set[TokenType]] = set()

    class Parser(RedshiftParser):
        """The parser of the dialect."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {
            k: v for k, v in RedshiftParser.FUNCTIONS.items() if k not in ("GETDATE", "NOW")
        }


@dataclass(frozen=True, slots=True)
class Script:
    """A statement's text with its tokens; comments are gone, positions are the text's."""

    text: str
    tokens: tuple[Token, ...]

    @property
    def words(self) -> list[str]:
        """The tokens' texts in upper case."""
        return [token.text.upper() for token in self.tokens]

    def after(self, index: int) -> str:
        """The text from token `index` on."""
        return self.text[self.tokens[index].start :] if index < len(self.tokens) else ""


_QUOTED_OR_PARAMETER = re.compile(
    r"""'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(\d+)""", re.DOTALL
)


def with_named_parameters(text: str) -> tuple[str, bool]:
    """The text with `$n` as `:pn`, and whether there was any.

    sqlglot reads `$1,$` as the start of a quotation.
    """
    found = False

    def name(match: re.Match[str]) -> str:
        nonlocal found
        if match[1] is None:
            return match[0]
        found = True
        return f":p{match[1]}"

    return _QUOTED_OR_PARAMETER.sub(name, text), found


def tokenize(text: str) -> Script:
    """The text's tokens.

    Raises:
        WarehouseError: a quote or comment has no end (42601).
    """
    try:
        tokens = WarehouseRedshift().tokenize(text)
    except SqlglotError as error:
        raise WarehouseError("42601", f"syntax error: {_first_line(error)}") from None
    return Script(text, tuple(tokens))


def parse(text: str) -> exp.Expr:
    """One statement's tree.

    Raises:
        WarehouseError: it is no SQL that Redshift knows (42601), or a name in it is one that the
            stand-in does not take (42602).
    """
    try:
        tree = sqlglot.parse_one(_typed_literals_closed(text), dialect=WarehouseRedshift)
    except SqlglotError as error:
        raise WarehouseError("42601", f"syntax error: {_first_line(error)}") from None
    for name in tree.find_all(exp.Identifier, exp.Var):
        checked(name.name)
        # A quoted name is a word to sqlglot where it expects one, and is written without quotes.
        if isinstance(name, exp.Var) and not _WORDS.fullmatch(name.name):
            raise WarehouseError("42601", f"syntax error at or near {name.name!r}")
    return tree


_WORDS = re.compile(r"[\w ]+")
_LITERAL_TYPES = frozenset({"TIMESTAMP", "DATE", "TIME", "TIMESTAMPTZ"})


def _typed_literals_closed(text: str) -> str:
    # sqlglot reads TIMESTAMP 'x'::DATE as TIMESTAMP ('x'::DATE); parentheses keep its order.
    tokens = tokenize(text).tokens
    pieces: list[str] = []
    done = 0
    for kind, value, cast in zip(tokens, tokens[1:], tokens[2:], strict=False):
        is_literal = kind.text.upper() in _LITERAL_TYPES and value.token_type == TokenType.STRING
        if is_literal and cast.token_type == TokenType.DCOLON:
            pieces += [text[done : kind.start], "(", text[kind.start : value.end + 1], ")"]
            done = value.end + 1
    return "".join(pieces) + text[done:]


def _first_line(error: Exception) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return plain.split("\n", 1)[0]


def to_duckdb(tree: exp.Expr) -> exp.Expr:
    """An annotated Redshift tree rewritten in place for DuckDB; returns its root."""
    root = tree
    for node in reversed(list(tree.walk())):
        replacement = _rewrite(node)
        if replacement is node:
            continue
        if node is root:
            root = replacement
        else:
            node.replace(replacement)
    return root


def sql(tree: exp.Expr) -> str:
    """DuckDB's text of a rewritten tree."""
    return tree.sql(dialect=DuckDB, unsupported_level=sqlglot.ErrorLevel.IGNORE)


def _rewrite(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Div):
        return _divide(node)
    if isinstance(node, exp.Window) and isinstance(node.this, exp.Avg | exp.Sum):
        return _aggregate(node.this, node)
    if isinstance(node, exp.Avg | exp.Sum) and not isinstance(node.parent, exp.Window):
        return _aggregate(node, None)
    if isinstance(node, exp.Cast):
        return _cast(node)
    if isinstance(node, exp.Anonymous) and node.name.lower() == "getdate":
        return exp.cast(exp.Placeholder(this=CLOCK_GETDATE), exp.DType.TIMESTAMP)
    if isinstance(node, exp.CurrentTimestamp) and node.args.get("sysdate"):
        return exp.cast(exp.Placeholder(this=CLOCK_SYSDATE), exp.DType.TIMESTAMP)
    if isinstance(node, exp.CurrentDate):
        return exp.cast(exp.Placeholder(this=CLOCK_DATE), exp.DType.DATE)
    if type(node) in _OF_SESSION:
        return exp.cast(exp.Placeholder(this=_OF_SESSION[type(node)]), exp.DType.VARCHAR)
    if isinstance(node, exp.Trunc) and kind_of(node.this) in (
        exp.DType.TIMESTAMP,
        exp.DType.DATE,
    ):
        return exp.cast(node.this.copy(), exp.DType.DATE)
    return node


_OF_SESSION: dict[type[exp.Expr], str] = {
    exp.CurrentUser: SESSION_USER,
    exp.SessionUser: SESSION_USER,
    exp.CurrentDatabase: SESSION_DATABASE,
    exp.CurrentSchema: SESSION_SCHEMA,
    exp.CurrentVersion: SESSION_VERSION,
}


def _literal_nonzero(node: exp.Expr) -> bool:
    node = node.unnest()
    return isinstance(node, exp.Literal) and not node.is_string and float(node.name) != 0


def _checked(divisor: exp.Expr, quotient: exp.Expr) -> exp.Expr:
    # DuckDB answers NULL or infinity where Redshift stops the query.
    if _literal_nonzero(divisor):
        return exp.Paren(this=quotient)
    zero = exp.EQ(this=divisor.copy(), expression=exp.Literal.number(0))
    return exp.Case(
        ifs=[exp.If(this=zero, true=exp.func("ERROR", exp.Literal.string("Divide by zero")))],
        default=quotient,
    )


def _divide(node: exp.Div) -> exp.Expr:
    left, right = node.left, node.right
    a, b = digits_of(left), digits_of(right)
    if a and b and (is_decimal(left) or is_decimal(right)):
        precision, scale = quotient_digits(a, b)
        exact = exact_quotient(left, right, (a[1], b[1]), precision, scale)
        return _typed(_checked(right, exact), node.type)
    plain = exp.Div(this=_wrap(left), expression=_wrap(right), typed=False, safe=False)
    return _typed(_checked(right, plain), node.type)


def exact_quotient(
    left: exp.Expr, right: exp.Expr, scales: tuple[int, int], precision: int, scale: int
) -> exp.Expr:
    """Left / right as NUMERIC(precision, scale), cut off after `scale` digits, in integers only.

    DuckDB divides decimals as doubles; here both sides, whose digits after the point are `scales`,
    become whole numbers of 128 bits first.
    """
    dividend = _whole(left, scales[0], scale + scales[1])
    divisor = _whole(right, scales[1], scales[1])
    whole = exp.IntDiv(this=dividend, expression=divisor)
    number: exp.Expr = exp.cast(exp.Paren(this=whole), "DECIMAL(38, 0)")
    if scale:
        unit = exp.cast(exp.Literal.string("0." + "0" * (scale - 1) + "1"), f"DECIMAL(38, {scale})")
        number = exp.Mul(this=number, expression=unit)
    return exp.cast(exp.Paren(this=number), f"DECIMAL({precision}, {scale})")


def _whole(node: exp.Expr, scale: int, places: int) -> exp.Expr:
    shifted: exp.Expr = _wrap(node)
    if places:
        # Not exp.cast: it would take a cast to another DECIMAL for this one.
        shifted = exp.Cast(this=shifted, to=exp.DataType.build(f"DECIMAL(38, {scale})"))
        factor = exp.cast(exp.Literal.number(10**places), f"DECIMAL({places + 1}, 0)")
        shifted = exp.Paren(this=exp.Mul(this=shifted, expression=factor))
    return exp.cast(shifted, "INT128")


def _wrap(node: exp.Expr) -> exp.Expr:
    copy = node.copy()
    simple = isinstance(copy, exp.Column | exp.Literal | exp.Func | exp.Paren | exp.Placeholder)
    return copy if simple else exp.Paren(this=copy)


def _typed(node: exp.Expr, kind: exp.DataType | None) -> exp.Expr:
    node.type = kind
    return node


def _aggregate(node: exp.AggFunc, window: exp.Window | None) -> exp.Expr:
    whole: exp.Expr = window or node
    if node.meta.get(RAW):
        return whole
    target = node.type
    if isinstance(node, exp.Sum):
        if target is not None and (kind_of(node) == exp.DType.BIGINT or is_decimal(node)):
            return _typed(exp.cast(whole.copy(), target), target)
        return whole
    argument = node.this
    if kind_of(argument) in FLOATS:
        return whole
    total, count = (
        _over(exp.Sum(this=argument.copy()), window),
        _over(exp.Count(this=argument.copy()), window),
    )
    digits = digits_of(argument)
    if is_decimal(argument) and digits:
        safe = exp.Nullif(this=count, expression=exp.Literal.number(0))
        return _typed(exact_quotient(total, safe, (digits[1], 0), 38, digits[1]), target)
    quotient = exp.Div(this=total, expression=count, typed=False, safe=False)
    if kind_of(argument) in INTEGERS:
        return _typed(exp.cast(exp.Paren(this=quotient), exp.DType.BIGINT), target)
    return _typed(exp.Paren(this=quotient), target)


def _over(node: exp.Expr, window: exp.Window | None) -> exp.Expr:
    if window is None:
        return node
    copy = window.copy()
    copy.set("this", node)
    return copy


def _cast(node: exp.Cast) -> exp.Expr:
    target = node.to
    if target.this in (exp.DType.VARCHAR, exp.DType.CHAR, exp.DType.NVARCHAR, exp.DType.NCHAR):
        plain = exp.cast(node.this.copy(), exp.DType.VARCHAR)
        if not target.expressions or not target.expressions[0].name.isdigit():
            return _typed(plain, target)
        size = exp.Literal.number(target.expressions[0].name)
        return _typed(exp.Anonymous(this="cut_to_bytes", expressions=[plain, size]), target)
    if target.this == exp.DType.DECIMAL and not target.expressions:
        return _typed(exp.cast(node.this.copy(), "DECIMAL(18, 0)"), target)
    if target.this in (exp.DType.SUPER,):
        return exp.cast(node.this.copy(), exp.DType.JSON)
    return node
