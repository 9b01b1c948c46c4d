"""What goes wrong in the warehouse, in Redshift's words and with its SQLSTATE.

Here: the one exception that a client sees, and how DuckDB's exceptions become it. Not here: which
statement is refused (`rules.py`).
"""

from dataclasses import dataclass, field

import duckdb


@dataclass(eq=False)
class WarehouseError(Exception):
    """A statement that failed; the fields of PostgreSQL's ErrorResponse.

    `sqlstate` is five characters, `hint` says what to do next, `detail` adds what was seen.
    """

    sqlstate: str
    message: str
    hint: str = ""
    detail: str = ""
    severity: str = field(default="ERROR")

    def __str__(self) -> str:
        return f"{self.message} [{self.sqlstate}]"


class StartError(RuntimeError):
    """The server cannot start; one sentence that says why and what to do."""


def undefined_table(name: str) -> WarehouseError:
    """The error of a relation that is not there."""
    return WarehouseError("42P01", f'relation "{name}" does not exist')


def undefined_schema(name: str) -> WarehouseError:
    """The error of a schema that is not there."""
    return WarehouseError("3F000", f'schema "{name}" does not exist')


def not_supported(message: str, hint: str = "") -> WarehouseError:
    """What Redshift calls `feature not supported`."""
    return WarehouseError("0A000", message, hint)


def unreadable(what: str, error: Exception) -> WarehouseError:
    """The error of a file that is gone or cannot be read."""
    return WarehouseError("58030", f"{what} cannot read: {error}")


_BY_TYPE: tuple[tuple[type[duckdb.Error], str], ...] = (
    (duckdb.ParserException, "42601"),
    (duckdb.SyntaxException, "42601"),
    (duckdb.ConversionException, "22P02"),
    (duckdb.OutOfRangeException, "22003"),
    (duckdb.ConstraintException, "23505"),
    (duckdb.TransactionException, "40001"),
    (duckdb.InterruptException, "57014"),
    (duckdb.OutOfMemoryException, "53200"),
    (duckdb.IOException, "58030"),
    (duckdb.HTTPException, "58030"),
    (duckdb.NotImplementedException, "0A000"),
)


def from_duckdb(error: duckdb.Error) -> WarehouseError:
    """The client's view of a DuckDB error: its first line, with the nearest SQLSTATE."""
    text = str(error)
    message = text.split("\n", 1)[0]
    if "Divide by zero" in text:
        return WarehouseError("22012", "Divide by zero")
    if isinstance(error, duckdb.InterruptException):
        return WarehouseError("57014", "Query cancelled on user's request")
    if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
        return WarehouseError(_binder_state(text), message)
    for kind, sqlstate in _BY_TYPE:
        if isinstance(error, kind):
            return WarehouseError(sqlstate, message)
    return WarehouseError("XX000", message)


def for_client(error: duckdb.Error | OSError) -> WarehouseError:
    """The client's view of what a statement met in DuckDB or on the disk."""
    if isinstance(error, duckdb.Error):
        return from_duckdb(error)
    return unreadable("the statement", error)


def _binder_state(text: str) -> str:
    if "GROUP BY" in text:
        return "42803"
    if "Function" in text or "function" in text:
        return "42883"
    if "Table with name" in text:
        return "42P01"
    if "column" in text or "Column" in text:
        return "42703"
    if "already exists" in text:
        return "42P07"
    return "42601"
