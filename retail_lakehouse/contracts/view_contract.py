"""What a view is: its kind, columns and dependencies, its SQL, and the warehouse's two schemas.

Here: the shape of a view contract, and reading its SQL file. Not here: which views there are
(`views.py`).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.fields import Kind
from retail_lakehouse.contracts.tables import TABLES

EXTERNAL_SCHEMA = "retail_iceberg"
"""Redshift's external schema over the catalog's database."""
MART_SCHEMA = "mart"
"""Schema of the views."""
WINDOW_HOURS = 168
"""Hours of `mv_inventory_realtime` before the running one; locked to its SQL by a test."""
NET_BIAS = 2**32
"""Added to net available in the packed value, so that it sorts as text: on hand - reserved is at
least -2^31 - (2^31 - 1). Locked to the SQL by a test."""

IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,126}")


class ViewKind(StrEnum):
    """Whether the warehouse stores the view's rows."""

    MATERIALIZED = "materialized"
    PLAIN = "plain"


class ViewContractError(ValueError):
    """A view that is not in the contract, or a name that is no identifier."""


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """One column of a view; `precision` and `scale` hold for decimals only.

    38 digits, because that is what Redshift's SUM gives, and one line of the contract's greatest
    price and quantity already takes 28.
    """

    name: str
    kind: Kind
    doc: str
    precision: int = 38
    scale: int = 4


@dataclass(frozen=True, slots=True)
class ViewContract:
    """One view. `depends_on` names tables (`retail_iceberg.x`) and views (`mart.x`)."""

    name: str
    kind: ViewKind
    doc: str
    sql_file: str
    depends_on: tuple[str, ...]
    columns: tuple[ViewColumn, ...]
    newest_column: str | None = None
    """Newest least(event time, broker time) that the view has folded; for its age."""
    expected_incremental: bool = False
    schema: str = MART_SCHEMA

    @property
    def qualified_name(self) -> str:
        """schema.view."""
        return f"{self.schema}.{self.name}"

    @property
    def is_materialized(self) -> bool:
        """True when it has to be refreshed."""
        return self.kind is ViewKind.MATERIALIZED

    @property
    def source_tables(self) -> tuple[str, ...]:
        """Names of the external tables that it reads, without their schema."""
        prefix = f"{EXTERNAL_SCHEMA}."
        return tuple(n.removeprefix(prefix) for n in self.depends_on if n.startswith(prefix))


_SOURCES = {table.name for table in TABLES}
_EACH_EVENT = re.compile(
    r"^(?P<indent> *)\{for_each_event\}\n(?P<branch>.*?)^ *\{union_all\}\n",
    re.DOTALL | re.MULTILINE,
)


def for_each_event(text: str) -> str:
    """SQL with a branch an event where it says `{for_each_event}` … `{event}` … `{union_all}`.

    So a view over all topics knows none of them by name.
    """

    def branches(match: re.Match[str]) -> str:
        branch = match["branch"]
        return f"{match['indent']}UNION ALL\n".join(
            branch.replace("{event}", event.name) for event in EVENTS
        )

    return _EACH_EVENT.sub(branches, text)


def view_sql(view: ViewContract) -> str:
    """The statement that creates the view, in Redshift's SQL, with its names put in.

    Only names of the contract go in, each checked to be an identifier.

    Raises:
        ViewContractError: a name is no identifier, or the view reads a table that no contract has.
    """
    sources = view.source_tables
    for source in sources:
        if source not in _SOURCES:
            raise ViewContractError(
                f"The view {view.name} reads {source}, which is no table of contracts/tables.py."
            )
    names = {
        "external": EXTERNAL_SCHEMA,
        "mart": view.schema,
        "view": view.name,
        "source": sources[0] if sources else "",
    }
    text = resources.files(__package__).joinpath("sql", view.sql_file).read_text("utf-8").strip()
    text = for_each_event(text)
    for placeholder, name in names.items():
        marker = "{" + placeholder + "}"
        if marker not in text:
            continue
        if not IDENTIFIER.fullmatch(name):
            raise ViewContractError(
                f"The view {view.name} needs a lower-case identifier as {placeholder}, "
                f"not {name!r}; mend it in contracts/views.py."
            )
        text = text.replace(marker, name)
    return text
