"""Names that a client makes up: what may stand in one, and how one is written for DuckDB.

Here: the check that every identifier passes on its way in, from the grammar and from sqlglot, and
its quotation on its way out. Not here: what a name stands for (`binding.py`).

Redshift takes a double quote inside a quoted identifier. The stand-in takes none: it writes
DuckDB's SQL with these names in it, and no name of the platform needs one.
"""

from retail_lakehouse.local.warehouse.errors import WarehouseError


def checked(name: str) -> str:
    """The identifier, as it is.

    Raises:
        WarehouseError: it holds a double quote or a NUL character (42602).
    """
    if '"' in name or "\0" in name:
        raise WarehouseError(
            "42602",
            f"the identifier {name!r} holds a double quote or a NUL character, which the local "
            "stand-in takes in no name",
            hint="Choose a name without it.",
        )
    return name


def quoted(*parts: str) -> str:
    """A column's name, or a relation's by its parts, for DuckDB."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)
