"""Statements that change rows of local tables: INSERT, UPDATE, DELETE, CREATE TABLE, ANALYZE.

Here: what a client needs for a small table of its own beside the views. Not here: schemas and views
(`definitions.py`). External tables have one writer, and it is not the warehouse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from retail_lakehouse.local.warehouse import datatypes, definitions, rules
from retail_lakehouse.local.warehouse.binding import Bound, bind_query, name_of
from retail_lakehouse.local.warehouse.dialect import parse, sql, to_duckdb
from retail_lakehouse.local.warehouse.errors import WarehouseError, undefined_table
from retail_lakehouse.local.warehouse.facts import Facts
from retail_lakehouse.local.warehouse.statements import Kind, Statement
from retail_lakehouse.local.warehouse.translation import compile_query

if TYPE_CHECKING:
    from retail_lakehouse.local.warehouse.results import Prepared
    from retail_lakehouse.local.warehouse.session import Session


def run(session: Session, prepared: Prepared, values: Sequence[object]) -> str:
    """Runs the statement; returns its tag.

    Raises:
        WarehouseError: the table is not there or not ours to change, the values do not fit, or
            Redshift refuses the query.
    """
    tree = parse(prepared.statement.script.text)
    target = tree.find(exp.Table)
    if target is None:
        raise WarehouseError("42601", "a table was expected")
    names = session.names()
    name = name_of(target, session.engine.settings.database)
    resolved = names.find(name)
    rules.refuse(Facts(prepared.statement, target=resolved), bound=False)
    if prepared.statement.kind is Kind.CREATE_TABLE:
        definitions.create_table(session, prepared.statement, tree, name)
        return "CREATE TABLE"
    if resolved is None:
        raise undefined_table(str(name))
    read = _query_of(tree)
    bound: Bound | None = None
    if read is not None:
        types = [datatypes.PARAMETER_TYPES.get(oid) for oid in prepared.oids]
        bound = bind_query(read, names, types)
        rules.refuse(Facts(prepared.statement, bound, resolved), bound=True)
    target.replace(exp.table_(resolved.name.name, db=resolved.name.schema, quoted=True))
    if isinstance(tree, exp.Insert) and bound is not None:
        compiled = compile_query(bound)
        tree.set("expression", None)
        text = f"{sql(tree)} {session.filled(compiled.text, compiled, names)}"
        to_bind = session.bound_values(compiled, values)
    else:
        text = sql(to_duckdb(tree))
        placeholders = sorted({p.name for p in tree.find_all(exp.Placeholder)})
        to_bind = session.bound_parameters(placeholders, values)
    done = session.cursor.execute(text, to_bind).fetchone()
    count = done[0] if done else 0
    kind = prepared.statement.kind.value
    return f"INSERT 0 {count}" if kind == "INSERT" else f"{kind} {count}"


def _query_of(tree: exp.Expr) -> exp.Query | None:
    """What the statement reads, as a query of its own: Redshift refuses the same in both."""
    if isinstance(tree, exp.Insert):
        query = tree.args.get("expression")
        return query.copy() if isinstance(query, exp.Query) else None
    if isinstance(tree, exp.Update):
        values = [assignment.expression.copy() for assignment in tree.expressions]
        origin = tree.args.get("from_")
        others = [origin.this] if origin else []
    elif isinstance(tree, exp.Delete):
        values, others = [], tree.args.get("using") or []
    else:
        return None
    selected = exp.select(*(values or [exp.Literal.number(1)])).from_(tree.this.copy())
    for other in others:
        selected = selected.join(other.copy(), join_type="cross")
    where = tree.args.get("where")
    return selected.where(where.this.copy()) if where else selected


def analyze(session: Session, statement: Statement) -> None:
    """Checks the table; statistics are DuckDB's own business.

    Raises:
        WarehouseError: there is no such table, or it is an external one.
    """
    if statement.name is not None:
        target = session.names().resolve(statement.name)
        rules.refuse(Facts(statement, target=target), bound=False)
