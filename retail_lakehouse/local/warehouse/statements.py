"""A statement as data: which one it is, its name, its clauses.

Here: the kinds of statements and the parts that later steps ask for. Not here: reading them from
text (`grammar.py`), or what is refused (`rules.py`).
"""

from dataclasses import dataclass, field
from enum import StrEnum

from retail_lakehouse.local.warehouse.dialect import Script
from retail_lakehouse.local.warehouse.errors import WarehouseError


class Kind(StrEnum):
    """What a statement is; the value is its tag in CommandComplete."""

    QUERY = "SELECT"
    EXPLAIN = "EXPLAIN"
    CREATE_SCHEMA = "CREATE SCHEMA"
    CREATE_EXTERNAL_SCHEMA = "CREATE SCHEMA "
    DROP_SCHEMA = "DROP SCHEMA"
    CREATE_EXTERNAL_TABLE = "CREATE EXTERNAL TABLE"
    CREATE_TABLE = "CREATE TABLE"
    DROP_TABLE = "DROP TABLE"
    CREATE_VIEW = "CREATE VIEW"
    DROP_VIEW = "DROP VIEW"
    CREATE_MATERIALIZED_VIEW = "CREATE MATERIALIZED VIEW"
    DROP_MATERIALIZED_VIEW = "DROP MATERIALIZED VIEW"
    REFRESH = "REFRESH"
    INSERT = "INSERT"
    DELETE = "DELETE"
    UPDATE = "UPDATE"
    GRANT = "GRANT"
    REVOKE = "REVOKE"
    SET = "SET"
    RESET = "RESET"
    SHOW = "SHOW"
    BEGIN = "BEGIN"
    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"
    ANALYZE = "ANALYZE"
    EMPTY = ""
    UNKNOWN = "?"


DDL = frozenset(
    {
        Kind.CREATE_SCHEMA,
        Kind.CREATE_EXTERNAL_SCHEMA,
        Kind.DROP_SCHEMA,
        Kind.CREATE_EXTERNAL_TABLE,
        Kind.CREATE_TABLE,
        Kind.DROP_TABLE,
        Kind.CREATE_VIEW,
        Kind.DROP_VIEW,
        Kind.CREATE_MATERIALIZED_VIEW,
        Kind.DROP_MATERIALIZED_VIEW,
        Kind.REFRESH,
        Kind.GRANT,
        Kind.REVOKE,
    }
)
TRANSACTION = frozenset({Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK})


@dataclass(frozen=True, slots=True)
class Name:
    """A relation's name as written; `schema` is empty when left out."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    `options` holds the clauses that were written, by their name in small letters; `query` is the
    text of the SELECT inside a CREATE; `original` is the text as the client sent it.
    """

    kind: Kind
    script: Script
    has_parameters: bool = False
    name: Name | None = None
    query: str = ""
    columns: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    original: str = ""

    @property
    def subject(self) -> Name:
        """The name; raises WarehouseError (42601) when the statement has none."""
        if self.name is None:
            raise WarehouseError("42601", f"{self.kind.value} needs a name")
        return self.name

    def has(self, option: str) -> bool:
        """True when the clause was written."""
        return option in self.options


def unknown(statement: Statement) -> WarehouseError:
    """The error of a statement that is none of those above."""
    word = statement.script.tokens[0].text
    if word.upper() in _NOT_HERE:
        return WarehouseError("0A000", f"{word.upper()} is not run by the local stand-in")
    return WarehouseError("42601", f'syntax error at or near "{word}"')


_NOT_HERE = frozenset(
    {"ALTER", "CALL", "CANCEL", "CLOSE", "COMMENT", "COPY", "DEALLOCATE", "DECLARE", "EXECUTE"}
    | {"FETCH", "LOCK", "MERGE", "PREPARE", "TRUNCATE", "UNLOAD", "USE", "VACUUM"}
)
