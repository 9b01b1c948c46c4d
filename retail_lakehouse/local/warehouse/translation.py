"""From a bound query to the text that DuckDB runs.

Here: the compiled form of a query, with gaps for what is known only when it runs: the metadata
files of external tables, the clock, the parameters. Not here: running it (`session.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from retail_lakehouse.local.warehouse.binding import Bound, Relation, real_tables
from retail_lakehouse.local.warehouse.dialect import sql, to_duckdb
from retail_lakehouse.local.warehouse.identifiers import quoted
from retail_lakehouse.local.warehouse.lake import LakeTable

SYSTEM_ROWS = "system_"
"""A system view's rows are bound as one list, as the parameter of this name and the view's."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """DuckDB's text of a query, with gaps where external tables are read.

    `schemas` are (uuid, schema id) of the external tables it was compiled for: when one differs,
    the query is compiled again.
    """

    text: str
    describing_text: str
    schemas: Mapping[str, tuple[str, int]]
    system_views: tuple[str, ...]
    placeholders: tuple[str, ...]
    output_names: tuple[str, ...]

    def fits(self, tables: Mapping[str, LakeTable]) -> bool:
        """True when the external tables still have the columns it was compiled for."""
        return all((tables[k].uuid, tables[k].schema_id) == v for k, v in self.schemas.items())


def gap(key: str) -> str:
    """What stands in a compiled text for the external table "database.table" or a system view."""
    return f"@@rows of {key}@@"


def literal(text: str) -> str:
    """A quoted SQL string."""
    return "'" + text.replace("'", "''") + "'"


def scan(table: LakeTable) -> str:
    """All rows of an external table at its current snapshot."""
    if table.current_id is None:
        # Nothing was ever written: DuckDB's scan needs a snapshot.
        columns = ", ".join(f"NULL::{c.duckdb_type} AS {quoted(c.name)}" for c in table.columns)
        return f"(SELECT {columns} WHERE false)"
    return f"iceberg_scan({literal(table.metadata_location)})"


def fill(text: str, sources: Mapping[str, str]) -> str:
    """The text with its gaps filled by `sources`, SQL by table key."""
    for key, source in sources.items():
        text = text.replace(literal(gap(key)), source)
    return text


def compile_query(bound: Bound) -> Compiled:
    """The query for DuckDB. The bound tree is used up."""
    output_names = bound.output_names
    if "*" in output_names:
        output_names = tuple(s.alias_or_name for s in bound.tree.selects)
    tree = duckdb_tree(bound.tree, bound)
    placeholders = sorted({p.name for p in tree.find_all(exp.Placeholder)})
    text = sql(tree)
    for placeholder in list(tree.find_all(exp.Placeholder)):
        placeholder.replace(_describing(placeholder))
    return Compiled(
        text=_open_gaps(text),
        describing_text=_open_gaps(sql(tree)),
        schemas={f"{t.database}.{t.name}": (t.uuid, t.schema_id) for t in bound.external},
        system_views=tuple(r.name.name for r in bound.read if r.kind is Relation.SYSTEM),
        placeholders=tuple(placeholders),
        output_names=output_names,
    )


def _describing(placeholder: exp.Placeholder) -> exp.Expr:
    # An untyped parameter takes the type of what it meets; alone in a select list it is text.
    parent = placeholder.parent
    if isinstance(parent, exp.Select | exp.Alias):
        return exp.cast(exp.Null(), exp.DType.VARCHAR)
    return exp.Null()


def segment_text(tree: exp.Query, bound: Bound) -> str:
    """DuckDB's text of a query over the bound relations, with gaps for external tables."""
    return _open_gaps(sql(duckdb_tree(tree, bound)))


def duckdb_tree(tree: exp.Query, bound: Bound) -> exp.Expr:
    """The tree rewritten for DuckDB, its tables replaced by gaps or registered names."""
    by_name = {(r.name.schema, r.name.name): r for r in bound.read}
    for table in real_tables(tree):
        resolved = by_name[table.db, table.name]
        if resolved.table is not None:
            key = f"{resolved.table.database}.{resolved.table.name}"
            table.set("this", exp.Anonymous(this=_GAP, expressions=[exp.Literal.string(gap(key))]))
            table.set("db", None)
        elif resolved.kind is Relation.SYSTEM:
            key = gap(resolved.name.name)
            table.set("this", exp.Anonymous(this=_GAP, expressions=[exp.Literal.string(key)]))
            table.set("db", None)
        elif resolved.kind is Relation.TEMPORARY:
            table.set("db", None)
    return to_duckdb(tree)


_GAP = "lake_gap"


def _open_gaps(text: str) -> str:
    # LAKE_GAP('@@rows of x@@') -> '@@rows of x@@', which `fill` replaces as a whole.
    parts = text.split("LAKE_GAP(")
    opened = [parts[0]]
    for part in parts[1:]:
        inner, rest = part.split(")", 1)
        opened.append(inner + rest)
    return "".join(opened)
