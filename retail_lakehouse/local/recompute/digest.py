"""One number for all rows of a large view, the same on either side.

Here: the statements that sum a hash of every row, on the warehouse and over the raw rows. Not here:
what is done with them (`check.py`). Two hundred thousand rows through the driver cost ten seconds;
their digest costs less than one, and only a view whose digest differs is read row by row.

A row's hash is the first 17 digits of its MD5, letters folded onto digits, so that it is a BIGINT
in either dialect; the rows' hashes are added, so order never matters and a doubled row shows.
"""

from importlib import resources

from retail_lakehouse.contracts.fields import Kind
from retail_lakehouse.contracts.views import ViewColumn, view_named

DIGESTED = frozenset({"mv_inventory_realtime", "stock_now"})
"""Views with a row for each store and SKU."""

_NULL = "'~'"
_SHOWN: dict[Kind, str] = {
    Kind.STRING: "{name}",
    Kind.LONG: "CAST({name} AS VARCHAR(20))",
    Kind.TIMESTAMP: (
        "CAST(DATEDIFF(us, CAST('1970-01-01 00:00:00' AS TIMESTAMP), {name}) AS VARCHAR(20))"
    ),
}
_RECOMPUTED: dict[Kind, str] = {
    Kind.STRING: "{name}",
    Kind.LONG: "{name}::BIGINT::VARCHAR",
    Kind.TIMESTAMP: "epoch_us({name})::VARCHAR",
}


def digest_shown(view: str) -> str:
    """Redshift's SQL: GETDATE(), count and digest of what the view shows."""
    contract = view_named(view)
    text = _read("digest_shown").replace("{text}", _text(contract.columns, _SHOWN))
    return text.replace("{view}", contract.qualified_name)


def digest_recomputed(view: str, query: str) -> str:
    """DuckDB's SQL: count and digest of the recomputation `query` of the view."""
    columns = view_named(view).columns
    text = _read("digest_recomputed").replace("{text}", _text(columns, _RECOMPUTED))
    names = ", ".join(column.name for column in columns)
    return text.replace("{columns}", names).replace("{query}", query)


def _text(columns: tuple[ViewColumn, ...], spelt: dict[Kind, str]) -> str:
    parts = [f"COALESCE({spelt[c.kind].format(name=c.name)}, {_NULL})" for c in columns]
    return " || '|' || ".join(parts)


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("sql", f"{name}.sql").read_text("utf-8").strip()
