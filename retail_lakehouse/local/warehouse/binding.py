"""Names in a query: what each relation is, its columns and types, and the views put in place.

Here: resolution against local schemas, external schemas and system views; expansion of plain
views; qualification and type annotation by sqlglot. Not here: rewriting for DuckDB (`dialect.py`)
or refusals (`rules.py`).

An external table is bound to one metadata file a statement, so that a statement sees one snapshot
of it however often it is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import duckdb
from sqlglot import exp
from sqlglot.errors import OptimizeError, SqlglotError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope
from sqlglot.schema import MappingSchema

from retail_lakehouse.local.warehouse import datatypes, registry
from retail_lakehouse.local.warehouse.dialect import WarehouseRedshift, parse
from retail_lakehouse.local.warehouse.errors import (
    WarehouseError,
    undefined_schema,
    undefined_table,
)
from retail_lakehouse.local.warehouse.inference import METADATA
from retail_lakehouse.local.warehouse.lake import Lake, LakeTable
from retail_lakehouse.local.warehouse.registry import MaterializedView, PlainView
from retail_lakehouse.local.warehouse.statements import Name

_MAX_DEPTH = 16


class Relation(StrEnum):
    """What a name in FROM is."""

    LOCAL = "table"
    TEMPORARY = "temporary table"
    MATERIALIZED = "materialized view"
    EXTERNAL = "external table"
    PLAIN_VIEW = "view"
    SYSTEM = "system view"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A relation: its full name, what it is, and its columns as (name, Redshift type)."""

    name: Name
    kind: Relation
    columns: tuple[tuple[str, str], ...] = ()
    table: LakeTable | None = None
    view: PlainView | None = None
    materialized: MaterializedView | None = None


@dataclass(slots=True)
class Names:
    """Resolves names for one statement, on a session's cursor."""

    cursor: duckdb.DuckDBPyConnection
    lake: Lake
    database: str
    system: Mapping[str, Sequence[tuple[str, str]]]
    search_path: tuple[str, ...] = ("public",)
    tables: dict[str, LakeTable] = field(default_factory=dict)
    """External tables by "database.table", as first seen by this statement."""

    def resolve(self, name: Name) -> Resolved:
        """What the name stands for.

        Raises:
            WarehouseError: there is no such schema (3F000) or relation (42P01).
        """
        if name.schema in ("", "pg_catalog") and name.name in self.system:
            columns = tuple(self.system[name.name])
            return Resolved(Name("pg_catalog", name.name), Relation.SYSTEM, columns)
        if not name.schema:
            # Before the search path, as Redshift does: a temporary table hides what it is named as.
            temporary = registry.local_columns(self.cursor, Name("main", name.name))
            if temporary:
                return Resolved(
                    Name("main", name.name), Relation.TEMPORARY, _redshift_types(temporary)
                )
        candidates = (name.schema,) if name.schema else self.search_path
        for schema in candidates:
            found = self._in_schema(Name(schema, name.name))
            if found is not None:
                return found
        if name.schema and not self.has_schema(name.schema):
            raise undefined_schema(name.schema)
        raise undefined_table(str(name))

    def has_schema(self, schema: str) -> bool:
        """True for a local or an external schema."""
        return schema in registry.external_schemas(self.cursor) or schema in registry.schemas(
            self.cursor
        )

    def find(self, name: Name) -> Resolved | None:
        """Like `resolve`, None when there is nothing of that name."""
        try:
            return self.resolve(name)
        except WarehouseError as error:
            if error.sqlstate in ("3F000", "42P01"):
                return None
            raise

    def _in_schema(self, name: Name) -> Resolved | None:
        database = registry.external_schemas(self.cursor).get(name.schema)
        if database is not None:
            table = self.lake_table(database, name.name)
            columns = tuple((c.name.lower(), c.redshift_type) for c in table.columns)
            return Resolved(name, Relation.EXTERNAL, columns, table=table)
        view = registry.plain_view(self.cursor, name)
        if view is not None:
            return Resolved(name, Relation.PLAIN_VIEW, view=view)
        if name.schema in registry.OWN_SCHEMAS:
            return None
        columns_found = registry.local_columns(self.cursor, name)
        if not columns_found:
            return None
        materialized = registry.materialized_view(self.cursor, name)
        kind = Relation.LOCAL if materialized is None else Relation.MATERIALIZED
        return Resolved(name, kind, _redshift_types(columns_found), materialized=materialized)

    def lake_table(self, database: str, name: str) -> LakeTable:
        """The external table, the same one for the whole statement."""
        key = f"{database}.{name}"
        if key not in self.tables:
            self.tables[key] = self.lake.table(database, name)
        return self.tables[key]


def _redshift_types(columns: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), datatypes.from_duckdb(kind).name) for name, kind in columns)


@dataclass(frozen=True, slots=True)
class Bound:
    """A query whose names are resolved and whose nodes carry types.

    `relations` are those that the query names itself, `read` also those behind its views; `travels`
    tells whether it names one as of another moment.
    """

    tree: exp.Query
    relations: tuple[Resolved, ...]
    read: tuple[Resolved, ...]
    output_names: tuple[str, ...]
    travels: bool

    @property
    def external(self) -> tuple[LakeTable, ...]:
        """The external tables that are read, each once."""
        tables = {f"{t.database}.{t.name}": t for r in self.read if (t := r.table)}
        return tuple(tables.values())


def bind(text: str, names: Names, parameter_types: Sequence[str | None] = ()) -> Bound:
    """The query of `text`, resolved and annotated; parameters are cast to the declared types.

    Raises:
        WarehouseError: a syntax error (42601), an unknown relation (42P01) or column (42703).
    """
    return bind_query(_query(text), names, parameter_types)


def bind_query(tree: exp.Query, names: Names, parameter_types: Sequence[str | None] = ()) -> Bound:
    """Like `bind`, of a query that was parsed as a part of a statement. The tree is used up.

    Raises:
        WarehouseError: as `bind`.
    """
    output_names = _output_names(tree)
    _type_parameters(tree, parameter_types)
    # Asked before a view's query takes the place of its name, and of what stands behind the name.
    travels = tree.find(exp.Version, exp.HistoricalData) is not None
    named: dict[Name, Resolved] = {}
    read: dict[Name, Resolved] = {}
    tree = _expand(tree, names, named, read, 0)
    relations, behind = tuple(named.values()), tuple(read.values())
    return Bound(_annotate(tree, read), relations, behind, output_names, travels)


def _query(text: str) -> exp.Query:
    tree = parse(text)
    if not isinstance(tree, exp.Query):
        raise WarehouseError("42601", "a query was expected")
    return tree


def _type_parameters(tree: exp.Expr, types: Sequence[str | None]) -> None:
    for placeholder in list(tree.find_all(exp.Placeholder)):
        number = int(placeholder.name.removeprefix("p"))
        declared = types[number - 1] if number <= len(types) else None
        if declared is not None:
            placeholder.replace(exp.cast(placeholder.copy(), declared, dialect=WarehouseRedshift))


def real_tables(tree: exp.Query) -> list[exp.Table]:
    """The tables of a query that are no common table expressions."""
    found: dict[int, exp.Table] = {}
    try:
        scopes = traverse_scope(tree)
    except OptimizeError as error:
        raise WarehouseError("42712", str(error).split("\n", 1)[0]) from None
    for scope in scopes:
        for source in scope.sources.values():
            if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
                found[id(source)] = source
    return list(found.values())


def name_of(table: exp.Table, database: str) -> Name:
    """The name as written; a leading database must be this one.

    Raises:
        WarehouseError: it names another database (0A000).
    """
    if table.catalog and table.catalog.lower() != database:
        raise WarehouseError(
            "0A000", f'cross-database reference to database "{table.catalog}" is not supported'
        )
    return Name(table.db.lower(), table.name.lower())


def _expand(
    tree: exp.Query,
    names: Names,
    named: dict[Name, Resolved],
    read: dict[Name, Resolved],
    depth: int,
) -> exp.Query:
    if depth > _MAX_DEPTH:
        raise WarehouseError("54001", "views are nested too deeply")
    for table in real_tables(tree):
        resolved = names.resolve(name_of(table, names.database))
        if depth == 0:
            named[resolved.name] = resolved
        if resolved.view is None:
            read[resolved.name] = resolved
            table.set("this", exp.to_identifier(resolved.name.name))
            table.set("db", exp.to_identifier(resolved.name.schema))
            table.set("catalog", None)
            continue
        inner = _query(resolved.view.definition)
        body = _expand(inner, names, named, read, depth + 1)
        alias = table.alias or table.name
        columns = table.args["alias"].args.get("columns") if table.args.get("alias") else None
        subquery = body.subquery(alias)
        if columns:
            subquery.args["alias"].set("columns", columns)
        joins = table.args.get("joins")
        if joins:
            subquery.set("joins", joins)
        table.replace(subquery)
    return tree


def _annotate(tree: exp.Query, read: Mapping[Name, Resolved]) -> exp.Query:
    schema = MappingSchema(dialect=WarehouseRedshift)
    for name, resolved in read.items():
        table = exp.table_(name.name, db=name.schema)
        schema.add_table(table, dict(resolved.columns), dialect=WarehouseRedshift)
    try:
        qualified = qualify(
            tree,
            schema=schema,
            dialect=WarehouseRedshift,
            quote_identifiers=True,
            validate_qualify_columns=True,
        )
        annotated = annotate_types(
            qualified,
            schema=schema,
            dialect=WarehouseRedshift,
            expression_metadata=METADATA,
        )
    except SqlglotError as error:
        raise _unresolved(error) from None
    return annotated


def _unresolved(error: SqlglotError) -> WarehouseError:
    message = str(error).split("\n", 1)[0].split(" Line:", 1)[0]
    if "olumn" in message:
        return WarehouseError("42703", f"column does not exist or is ambiguous: {message}")
    return WarehouseError("42601", message)


def _output_names(tree: exp.Query) -> tuple[str, ...]:
    # As PostgreSQL names them; sqlglot would say _col_0.
    return tuple(_output_name(select) for select in tree.selects)


def _output_name(select: exp.Expr) -> str:
    if isinstance(select, exp.Star) or (isinstance(select, exp.Column) and select.is_star):
        return "*"
    unnamed = (exp.Func, exp.Literal, exp.Binary, exp.Placeholder, exp.Null)
    if select.alias_or_name and not isinstance(select, unnamed):
        return select.alias_or_name.lower()
    if isinstance(select, exp.Placeholder):
        return "?column?"
    if isinstance(select, exp.CurrentVersion):
        return "version"
    if isinstance(select, exp.Paren):
        return _output_name(select.this)
    if isinstance(select, exp.Cast):
        inner = _output_name(select.this)
        return select.to.sql(dialect=WarehouseRedshift).lower() if inner == "?column?" else inner
    if isinstance(select, exp.Window):
        return _output_name(select.this)
    if isinstance(select, exp.Case):
        return "case"
    if isinstance(select, exp.Anonymous):
        return select.name.lower()
    if isinstance(select, exp.Func):
        return select.sql_name().lower()
    return "?column?"
