"""Redshift's own statements, read from text.

Here: the grammar of what sqlglot does not read as Redshift does (external schemas, materialized
views, refresh, grants, settings). Not here: queries (`dialect.py`, `binding.py`) or what is refused
(`rules.py`).

Source: https://docs.aws.amazon.com/redshift/latest/dg/c_SQL_commands.html
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from sqlglot.tokenizer_core import Token, TokenType

from retail_lakehouse.local.warehouse.dialect import Script, tokenize, with_named_parameters
from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.identifiers import checked
from retail_lakehouse.local.warehouse.statements import Kind, Name, Statement


def split(text: str) -> list[str]:
    """The statements of a text, without their semicolons; empty ones are left out."""
    named = with_named_parameters(text)[0]
    parts: list[str] = []
    start: int | None = None
    end = 0
    for token in tokenize(named).tokens:
        if token.token_type == TokenType.SEMICOLON:
            if start is not None:
                parts.append(named[start:end])
            start = None
            continue
        start = token.start if start is None else start
        end = token.end + 1
    if start is not None:
        parts.append(named[start:end])
    return parts


def read(text: str) -> Statement:
    """The statement of a text; UNKNOWN when it is several or none that is read here.

    Raises:
        WarehouseError: a statement's clauses are not Redshift's (42601).
    """
    named, has_parameters = with_named_parameters(text)
    parts = split(named)
    if not parts:
        return Statement(Kind.EMPTY, Script("", ()))
    if len(parts) > 1:
        return Statement(Kind.UNKNOWN, tokenize(named), options={"several": ""})
    reader = _Reader(tokenize(parts[0]), has_parameters)
    for words, read_rest in _GRAMMAR:
        if reader.accept(*words):
            return replace(read_rest(reader), original=text)
    return reader.statement(Kind.UNKNOWN)


class _Reader:
    """Walks over a statement's tokens."""

    def __init__(self, script: Script, has_parameters: bool):
        self.script = script
        self._words = script.words
        self._has_parameters = has_parameters
        self._at = 0

    def accept(self, *words: str) -> bool:
        if self._words[self._at : self._at + len(words)] != list(words):
            return False
        self._at += len(words)
        return True

    def sees(self, word: str) -> bool:
        return not self.done and self._words[self._at] == word

    def expect(self, *words: str) -> None:
        if not self.accept(*words):
            raise self.syntax_error()

    @property
    def done(self) -> bool:
        return self._at >= len(self._words)

    def finish(self) -> None:
        if not self.done:
            raise self.syntax_error()

    def token(self) -> Token:
        if self.done:
            raise self.syntax_error()
        token = self.script.tokens[self._at]
        self._at += 1
        return token

    def string(self) -> str:
        token = self.token()
        if token.token_type != TokenType.STRING:
            self._at -= 1
            raise self.syntax_error()
        return token.text

    def identifier(self) -> str:
        token = self.token()
        quoted = token.token_type == TokenType.IDENTIFIER
        if not quoted and not token.text.replace("_", "a").replace("$", "a").isalnum():
            self._at -= 1
            raise self.syntax_error()
        return checked(token.text.lower())

    def name(self) -> Name:
        parts = [self.identifier()]
        while self.accept("."):
            parts.append(self.identifier())
        if len(parts) > 3:
            raise self.syntax_error()
        return Name(parts[-2] if len(parts) > 1 else "", parts[-1])

    def rest(self) -> str:
        text = self.script.after(self._at)
        self._at = len(self._words)
        return text

    def parenthesised(self) -> list[str]:
        self.expect("(")
        names = [self.identifier()]
        while self.accept(","):
            names.append(self.identifier())
        self.expect(")")
        return names

    def statement(
        self,
        kind: Kind,
        name: Name | None = None,
        query: str = "",
        columns: tuple[str, ...] = (),
        options: Mapping[str, str] | None = None,
    ) -> Statement:
        given = dict(options or {})
        return Statement(kind, self.script, self._has_parameters, name, query, columns, given)

    def syntax_error(self) -> WarehouseError:
        near = "end of input" if self.done else f'"{self.script.tokens[self._at].text}"'
        return WarehouseError("42601", f"syntax error at or near {near}")


_Rest = Callable[[_Reader], Statement]


def _whole(kind: Kind) -> _Rest:
    return lambda r: r.statement(kind, query=r.script.text)


def _create_schema(r: _Reader) -> Statement:
    options = {"if_not_exists": ""} if r.accept("IF", "NOT", "EXISTS") else {}
    name = Name("", r.identifier())
    if r.accept("AUTHORIZATION"):
        options["owner"] = r.identifier()
    r.finish()
    return r.statement(Kind.CREATE_SCHEMA, name, options=options)


def _create_external_schema(r: _Reader) -> Statement:
    options = {"if_not_exists": ""} if r.accept("IF", "NOT", "EXISTS") else {}
    name = Name("", r.identifier())
    r.expect("FROM")
    r.expect("DATA", "CATALOG")
    r.expect("DATABASE")
    options["database"] = r.string()
    while not r.done:
        if r.accept("REGION"):
            options["region"] = r.string()
        elif r.accept("IAM_ROLE"):
            options["iam_role"] = "default" if r.accept("DEFAULT") else r.string()
        elif r.accept("CATALOG_ROLE"):
            options["catalog_role"] = r.string()
        elif r.accept("CATALOG_ID"):
            options["catalog_id"] = r.string()
        elif r.accept("CREATE", "EXTERNAL", "DATABASE", "IF", "NOT", "EXISTS"):
            options["create_database"] = ""
        else:
            raise r.syntax_error()
    return r.statement(Kind.CREATE_EXTERNAL_SCHEMA, name, options=options)


def _create_view(replace: bool) -> _Rest:
    def read_rest(r: _Reader) -> Statement:
        options = {"replace": ""} if replace else {}
        name = r.name()
        columns = tuple(r.parenthesised()) if r.sees("(") else ()
        r.expect("AS")
        query = r.rest()
        words = r.script.words
        if words[-4:] == ["WITH", "NO", "SCHEMA", "BINDING"]:
            options["no_schema_binding"] = ""
            start = r.script.text.index(query)
            query = r.script.text[start : r.script.tokens[-4].start]
        return r.statement(Kind.CREATE_VIEW, name, query.strip(), columns, options=options)

    return read_rest


def _create_materialized_view(r: _Reader) -> Statement:
    options: dict[str, str] = {}
    if r.accept("IF", "NOT", "EXISTS"):
        raise WarehouseError("42601", 'syntax error at or near "NOT"')
    name = r.name()
    columns: tuple[str, ...] = ()
    while not r.accept("AS"):
        if r.accept("BACKUP"):
            options["backup"] = r.identifier()
        elif r.accept("DISTSTYLE"):
            options["diststyle"] = r.identifier()
        elif r.accept("DISTKEY"):
            options["distkey"] = ",".join(r.parenthesised())
        elif r.accept("COMPOUND", "SORTKEY") or r.accept("SORTKEY"):
            options["sortkey"] = ",".join(r.parenthesised())
        elif r.accept("AUTO", "REFRESH"):
            if r.accept("YES"):
                options["auto_refresh"] = "yes"
            else:
                r.expect("NO")
        elif r.sees("(") and not columns:
            columns = tuple(r.parenthesised())
        else:
            raise r.syntax_error()
    query = r.rest()
    words = r.script.words
    if words[-4:] == ["WITH", "NO", "SCHEMA", "BINDING"]:
        options["no_schema_binding"] = ""
        query = query[: query.upper().rindex("WITH")]
    return r.statement(Kind.CREATE_MATERIALIZED_VIEW, name, query.strip(), columns, options=options)


def _refresh(r: _Reader) -> Statement:
    name = r.name()
    options = {}
    if r.accept("CASCADE"):
        options["cascade"] = ""
    else:
        r.accept("RESTRICT")
    r.finish()
    return r.statement(Kind.REFRESH, name, options=options)


def _drop(kind: Kind) -> _Rest:
    def read_rest(r: _Reader) -> Statement:
        options = {"if_exists": ""} if r.accept("IF", "EXISTS") else {}
        name = r.name()
        if r.accept("CASCADE"):
            options["cascade"] = ""
        else:
            r.accept("RESTRICT")
        r.finish()
        return r.statement(kind, name, options=options)

    return read_rest


def _grant(kind: Kind) -> _Rest:
    def read_rest(r: _Reader) -> Statement:
        privileges = [r.identifier()]
        r.accept("PRIVILEGES")
        while r.accept(","):
            privileges.append(r.identifier())
        r.expect("ON")
        scope = "table"
        if r.accept("SCHEMA"):
            scope = "schema"
        elif r.accept("ALL", "TABLES", "IN", "SCHEMA"):
            scope = "all tables"
        else:
            r.accept("TABLE")
        name = r.name()
        r.expect("TO" if kind is Kind.GRANT else "FROM")
        if not (r.accept("ROLE") or r.accept("GROUP")):
            r.accept("USER")
        grantee = r.token().text
        r.finish()
        options = {"privileges": ",".join(privileges), "scope": scope, "grantee": grantee.lower()}
        return r.statement(kind, name, options=options)

    return read_rest


def _set(r: _Reader) -> Statement:
    if not r.accept("SESSION"):
        r.accept("LOCAL")
    name = r.identifier()
    if name in ("transaction", "characteristics"):
        return r.statement(Kind.SET, Name("", "transaction"), options={"value": r.rest()})
    if not r.accept("="):
        r.expect("TO")
    values = [r.token().text]
    while r.accept(","):
        values.append(r.token().text)
    r.finish()
    return r.statement(Kind.SET, Name("", name), options={"value": ",".join(values)})


def _named(kind: Kind) -> _Rest:
    def read_rest(r: _Reader) -> Statement:
        name = r.identifier()
        r.finish()
        return r.statement(kind, Name("", name))

    return read_rest


def _transaction(kind: Kind) -> _Rest:
    # What may follow (TRANSACTION, WORK, ISOLATION LEVEL, READ ONLY) changes nothing here.
    return lambda r: r.statement(kind)


def _analyze(r: _Reader) -> Statement:
    return r.statement(Kind.ANALYZE, None if r.done else r.name())


_GRAMMAR: tuple[tuple[tuple[str, ...], _Rest], ...] = (
    (("SELECT",), _whole(Kind.QUERY)),
    (("WITH",), _whole(Kind.QUERY)),
    (("(",), _whole(Kind.QUERY)),
    (("VALUES",), _whole(Kind.QUERY)),
    (("EXPLAIN",), lambda r: r.statement(Kind.EXPLAIN, query=r.rest())),
    (("CREATE", "EXTERNAL", "SCHEMA"), _create_external_schema),
    (("CREATE", "EXTERNAL", "TABLE"), _whole(Kind.CREATE_EXTERNAL_TABLE)),
    (("CREATE", "SCHEMA"), _create_schema),
    (("CREATE", "OR", "REPLACE", "VIEW"), _create_view(replace=True)),
    (("CREATE", "VIEW"), _create_view(replace=False)),
    (("CREATE", "MATERIALIZED", "VIEW"), _create_materialized_view),
    (("CREATE", "TABLE"), _whole(Kind.CREATE_TABLE)),
    (("CREATE", "TEMP", "TABLE"), _whole(Kind.CREATE_TABLE)),
    (("CREATE", "TEMPORARY", "TABLE"), _whole(Kind.CREATE_TABLE)),
    (("REFRESH", "MATERIALIZED", "VIEW"), _refresh),
    (("DROP", "MATERIALIZED", "VIEW"), _drop(Kind.DROP_MATERIALIZED_VIEW)),
    (("DROP", "VIEW"), _drop(Kind.DROP_VIEW)),
    (("DROP", "TABLE"), _drop(Kind.DROP_TABLE)),
    (("DROP", "SCHEMA"), _drop(Kind.DROP_SCHEMA)),
    (("INSERT",), _whole(Kind.INSERT)),
    (("DELETE",), _whole(Kind.DELETE)),
    (("UPDATE",), _whole(Kind.UPDATE)),
    (("GRANT",), _grant(Kind.GRANT)),
    (("REVOKE",), _grant(Kind.REVOKE)),
    (("SET",), _set),
    (("RESET",), _named(Kind.RESET)),
    (("SHOW",), _named(Kind.SHOW)),
    (("BEGIN",), _transaction(Kind.BEGIN)),
    (("START", "TRANSACTION"), _transaction(Kind.BEGIN)),
    (("COMMIT",), _transaction(Kind.COMMIT)),
    (("END",), _transaction(Kind.COMMIT)),
    (("ROLLBACK",), _transaction(Kind.ROLLBACK)),
    (("ABORT",), _transaction(Kind.ROLLBACK)),
    (("ANALYZE",), _analyze),
)
