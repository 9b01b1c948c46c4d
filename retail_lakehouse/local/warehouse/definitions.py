"""Statements that change what the warehouse holds: schemas, views, materialized views, grants.

Here: each such statement within its session's transaction, or one of its own. Not here: queries
(`session.py`), or how a view is computed (`refresh.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlglot import exp

from retail_lakehouse.local.warehouse import refresh, registry, rules
from retail_lakehouse.local.warehouse.binding import (
    Bound,
    Relation,
    Resolved,
    bind,
    bind_query,
    name_of,
    real_tables,
)
from retail_lakehouse.local.warehouse.dialect import parse, sql
from retail_lakehouse.local.warehouse.errors import (
    WarehouseError,
    not_supported,
    undefined_schema,
)
from retail_lakehouse.local.warehouse.facts import Facts
from retail_lakehouse.local.warehouse.identifiers import quoted
from retail_lakehouse.local.warehouse.refreshing import run_refresh
from retail_lakehouse.local.warehouse.registry import MaterializedView, PlainView
from retail_lakehouse.local.warehouse.statements import Kind, Name, Statement
from retail_lakehouse.local.warehouse.store import roll_back
from retail_lakehouse.local.warehouse.translation import compile_query, fill, scan

if TYPE_CHECKING:
    from retail_lakehouse.local.warehouse.session import Session


def run(session: Session, statement: Statement) -> None:
    """Runs one statement of DDL.

    Raises:
        WarehouseError: Redshift refuses it, or a name is missing or taken.
    """
    handler = _HANDLERS.get(statement.kind)
    if handler is None:
        raise not_supported(f"{statement.kind.value} is not run by the local stand-in")
    handler(session, statement)


@contextmanager
def _own_transaction(session: Session) -> Iterator[None]:
    """Within the session's open transaction, else in one of the statement's own."""
    if session.status == "T":
        session.changed_catalog = True
        yield
        return
    session.cursor.execute("BEGIN TRANSACTION")
    try:
        yield
        session.cursor.execute("COMMIT")
    except BaseException:
        roll_back(session.cursor)
        raise
    session.engine.catalog_changed()


def _create_schema(session: Session, statement: Statement) -> None:
    name = str(statement.subject)
    with _own_transaction(session):
        if session.names().has_schema(name):
            if statement.has("if_not_exists"):
                session.notices.append(f'schema "{name}" already exists and will be skipped')
                return
            raise WarehouseError("42P06", f'schema "{name}" already exists')
        if name in registry.OWN_SCHEMAS:
            raise WarehouseError("42939", f'schema name "{name}" is reserved')
        if statement.kind is Kind.CREATE_SCHEMA:
            registry.create_schema(session.cursor, name)
            return
        owner = session.engine.settings.user
        registry.add_external_schema(session.cursor, name, statement.options["database"], owner)


def _drop_schema(session: Session, statement: Statement) -> None:
    name = str(statement.subject)
    with _own_transaction(session):
        if not session.names().has_schema(name):
            if statement.has("if_exists"):
                return
            raise undefined_schema(name)
        if name in registry.external_schemas(session.cursor):
            registry.drop_external_schema(session.cursor, name)
            return
        inside = [v for v in registry.materialized_views(session.cursor) if v.name.schema == name]
        plain = [v for v in registry.plain_views(session.cursor) if v.name.schema == name]
        if not statement.has("cascade") and (inside or plain):
            raise WarehouseError("2BP01", f"cannot drop schema {name} because it is not empty")
        for view in inside:
            registry.drop_materialized_view(session.cursor, view)
        for plain_view in plain:
            registry.drop_plain_view(session.cursor, plain_view.name)
        ending = "CASCADE" if statement.has("cascade") else "RESTRICT"
        session.cursor.execute(f"DROP SCHEMA {quoted(name)} {ending}")


def _place(session: Session, name: Name) -> Name:
    """The full name of something to be made; its schema must be a local one."""
    schema = name.schema or session.search_path[0]
    if schema in registry.external_schemas(session.cursor):
        raise not_supported(f'cannot create a relation in external schema "{schema}"')
    if schema not in registry.schemas(session.cursor):
        raise undefined_schema(schema)
    return Name(schema, name.name)


def _create_view(session: Session, statement: Statement) -> None:
    with _own_transaction(session):
        name = _place(session, statement.subject)
        existing = session.names().find(name)
        if existing is not None and not (
            statement.has("replace") and existing.kind is Relation.PLAIN_VIEW
        ):
            raise WarehouseError("42P07", f'relation "{name}" already exists')
        late = statement.has("no_schema_binding")
        tree = parse(statement.query)
        if not isinstance(tree, exp.Query):
            raise WarehouseError("42601", "a query was expected after AS")
        if late and any(not table.db for table in real_tables(tree)):
            statement.options["unqualified"] = "yes"
        bound = bind(statement.query, session.names())
        rules.refuse(Facts(statement, bound), bound=True)
        columns = statement.columns or bound.output_names
        if "*" not in columns and len(set(columns)) != len(columns):
            raise WarehouseError("42701", "a column name is specified more than once")
        text = statement.query if late else _fixed(session, tree, bound)
        if statement.columns:
            listed = ", ".join(map(quoted, statement.columns))
            text = f"SELECT * FROM ({text}) AS listed ({listed})"  # noqa: S608 - identifiers
        # Says now what a reader would find out later.
        probe = bind(text, session.names())
        compiled = compile_query(probe)
        sources = {f"{t.database}.{t.name}": scan(t) for t in probe.external}
        if not compiled.system_views:
            session.cursor.execute(f"DESCRIBE {fill(compiled.describing_text, sources)}")
        owner = session.engine.settings.user
        registry.put_plain_view(session.cursor, PlainView(name, text, late, owner))


def _fixed(session: Session, tree: exp.Query, bound: Bound) -> str:
    """The view's text with its names resolved and its columns listed, as they are now."""
    names = session.names()
    for table in real_tables(tree):
        resolved = names.resolve(name_of(table, session.engine.settings.database))
        if resolved.kind is not Relation.TEMPORARY:
            table.set("db", exp.to_identifier(resolved.name.schema, quoted=True))
            table.set("catalog", None)
    text = tree.sql(dialect="redshift")
    if "*" not in bound.output_names:
        return text
    columns = ", ".join(quoted(s.alias_or_name) for s in bound.tree.selects)
    return f"SELECT {columns} FROM ({text}) AS fixed"  # noqa: S608 - identifiers


def _drop_view(session: Session, statement: Statement) -> None:
    with _own_transaction(session):
        found = _target(session, statement)
        if found is None:
            return
        if found.kind is not Relation.PLAIN_VIEW:
            raise WarehouseError("42809", f'"{found.name}" is not a view')
        _drop_dependents(session, statement, found.name)
        registry.drop_plain_view(session.cursor, found.name)


def _drop_table(session: Session, statement: Statement) -> None:
    with _own_transaction(session):
        found = _target(session, statement)
        if found is None:
            return
        rules.refuse(Facts(statement, target=found), bound=False)
        if found.kind not in (Relation.LOCAL, Relation.TEMPORARY):
            raise WarehouseError("42809", f'"{found.name}" is not a table')
        _drop_dependents(session, statement, found.name)
        session.cursor.execute(f"DROP TABLE {quoted(found.name.schema, found.name.name)}")


def _drop_dependents(session: Session, statement: Statement, name: Name) -> None:
    """Late-binding views stand on nothing, so they never hold a relation back."""
    dependents: list[PlainView | MaterializedView] = [
        view
        for view in registry.plain_views(session.cursor)
        if not view.late_binding and name in _reads(session, view.definition)
    ]
    dependents += [
        view
        for view in registry.materialized_views(session.cursor)
        if name in _reads(session, view.definition)
    ]
    if dependents and not statement.has("cascade"):
        raise WarehouseError(
            "2BP01",
            f"cannot drop {name} because other objects depend on it",
            hint="Use DROP ... CASCADE to drop the dependent objects too.",
            detail=", ".join(str(view.name) for view in dependents),
        )
    for view in dependents:
        _drop_dependents(session, statement, view.name)
        if isinstance(view, PlainView):
            registry.drop_plain_view(session.cursor, view.name)
        else:
            registry.drop_materialized_view(session.cursor, view)


def _reads(session: Session, definition: str) -> set[Name]:
    tree = parse(definition)
    if not isinstance(tree, exp.Query):
        return set()
    database = session.engine.settings.database
    return {name_of(table, database) for table in real_tables(tree)}


def _target(session: Session, statement: Statement) -> Resolved | None:
    names = session.names()
    if statement.has("if_exists"):
        return names.find(statement.subject)
    return names.resolve(statement.subject)


def _create_materialized_view(session: Session, statement: Statement) -> None:
    with _own_transaction(session):
        name = _place(session, statement.subject)
        if session.names().find(name) is not None:
            raise WarehouseError("42P07", f'relation "{name}" already exists')
        plan, definition, columns = refresh.compile_view(
            statement, session.names(), statement.columns
        )
        owner = session.engine.settings.user
        refresh.create(session.cursor, name, owner, definition, columns, session.names())
        if plan.reasons:
            session.notices.append(
                f"materialized view {name} will be recomputed from scratch for every REFRESH: it "
                + "; it ".join(plan.reasons)
            )


def _drop_materialized_view(session: Session, statement: Statement) -> None:
    with _own_transaction(session):
        found = _target(session, statement)
        if found is None:
            return
        if found.materialized is None:
            raise WarehouseError("42809", f'"{found.name}" is not a materialized view')
        _drop_dependents(session, statement, found.name)
        registry.drop_materialized_view(session.cursor, found.materialized)


def _grant(session: Session, statement: Statement) -> None:
    options = statement.options
    with _own_transaction(session):
        if options["scope"] == "table":
            target = session.names().resolve(statement.subject)
            rules.refuse(Facts(statement, target=target), bound=False)
        elif not session.names().has_schema(str(statement.subject)):
            raise undefined_schema(str(statement.subject))
        for privilege in options["privileges"].split(","):
            arguments = (privilege, statement.subject, options["grantee"])
            if statement.kind is Kind.GRANT:
                registry.add_grant(session.cursor, privilege, options["scope"], *arguments[1:])
            else:
                registry.remove_grant(session.cursor, *arguments)


def create_table(session: Session, statement: Statement, tree: exp.Expr, name: Name) -> None:
    """CREATE TABLE with columns or AS SELECT; distribution and encoding change nothing here.

    Raises:
        WarehouseError: the name is taken, a column is of a kind that is not kept here, or Redshift
            refuses the query.
    """
    temporary = tree.find(exp.TemporaryProperty) is not None
    session.has_temporary |= temporary
    with _own_transaction(session):
        place = Name("main", name.name) if temporary else _place(session, name)
        if session.names().find(place) is not None:
            if tree.args.get("exists"):
                return
            raise WarehouseError("42P07", f'relation "{place}" already exists')
        head = (
            f"CREATE TEMP TABLE {quoted(place.name)}"
            if temporary
            else f"CREATE TABLE {quoted(place.schema, place.name)}"
        )
        query = tree.args.get("expression")
        if isinstance(query, exp.Query):
            bound = bind_query(query.copy(), session.names())
            rules.refuse(Facts(statement, bound), bound=True)
            sources = {f"{t.database}.{t.name}": scan(t) for t in bound.external}
            session.cursor.execute(
                f"{head} AS {refresh.clock_filled(fill(compile_query(bound).text, sources))}"
            )
            return
        columns = ", ".join(_column(c) for c in tree.this.find_all(exp.ColumnDef))
        session.cursor.execute(f"{head} ({columns})")


def _column(column: exp.ColumnDef) -> str:
    kept = (exp.NotNullColumnConstraint, exp.DefaultColumnConstraint)
    parts = [quoted(column.name.lower()), sql(column.kind)] if column.kind else []
    for constraint in column.args.get("constraints") or ():
        if isinstance(constraint.kind, exp.GeneratedAsIdentityColumnConstraint):
            raise not_supported("IDENTITY columns are not kept by the local stand-in")
        if isinstance(constraint.kind, kept):
            parts.append(sql(constraint))
    return " ".join(parts)


_HANDLERS: dict[Kind, Callable[[Session, Statement], None]] = {
    Kind.CREATE_SCHEMA: _create_schema,
    Kind.CREATE_EXTERNAL_SCHEMA: _create_schema,
    Kind.DROP_SCHEMA: _drop_schema,
    Kind.CREATE_VIEW: _create_view,
    Kind.DROP_VIEW: _drop_view,
    Kind.DROP_TABLE: _drop_table,
    Kind.CREATE_MATERIALIZED_VIEW: _create_materialized_view,
    Kind.DROP_MATERIALIZED_VIEW: _drop_materialized_view,
    Kind.REFRESH: run_refresh,
    Kind.GRANT: _grant,
    Kind.REVOKE: _grant,
}
