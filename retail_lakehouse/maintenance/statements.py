"""The room's SQL, from its files.

Here: reading a statement and putting identifiers of the contract into it. Not here: values, which
are bound where the statement runs.
"""

from importlib.resources import files


def statement(name: str, **identifiers: str) -> str:
    """The text of `sql/<name>.sql` with its identifiers filled in."""
    text = (files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    return text.format(**identifiers)
