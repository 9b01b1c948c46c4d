"""The tables of a state folder, empty: made once a process, copied after that.

Here: a catalog of the test's own with the tables of every event and their quarantines. Not here:
commits (`fakes.py`). Making six tables takes pyiceberg twelve commits, and hundreds of tests want
them; an empty table is but the text of its metadata, in which its folder is named.
"""

import contextlib
import re
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retail_lakehouse.contracts.events import EVENTS
from retail_lakehouse.contracts.tables import QUARANTINE_TABLES, event_table
from retail_lakehouse.settings import Settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_PLAIN = re.compile(r"[\w./-]+", re.ASCII)
"""Folders that are written in JSON, in SQL and in an address as they are."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A state folder with empty tables: its catalog as SQL, its metadata files as they are."""

    root: str
    catalog: str
    files: dict[str, str]

    @classmethod
    def of(cls, settings: Settings) -> "_Made":
        with contextlib.closing(sqlite3.connect(settings.catalog_db)) as connection:
            catalog = "\n".join(connection.iterdump())
        found = (settings.root / "warehouse").rglob("*.metadata.json")
        files = {str(path.relative_to(settings.root)): path.read_text() for path in found}
        return cls(str(settings.root), catalog, files)

    def copy(self, settings: Settings) -> None:
        for name, text in self.files.items():
            path = settings.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._moved(text, settings))
        settings.catalog_db.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(settings.catalog_db)) as connection:
            connection.executescript(self._moved(self.catalog, settings))

    def _moved(self, text: str, settings: Settings) -> str:
        return text.replace(self.root, str(settings.root))


_MADE: dict[int, _Made] = {}
"""By the minutes for which snapshots are kept, which is a property of each table."""


def open_with_event_tables(settings: Settings) -> "Catalog":
    """The catalog of the state folder; tables that are there already are left as they are."""
    from retail_lakehouse.tables.catalog import open_catalog, prepare_catalog
    from retail_lakehouse.tables.evolve import ensure_tables

    copies = (
        settings.is_local
        and not settings.warehouse_location
        and not settings.catalog_db.exists()
        and _PLAIN.fullmatch(str(settings.root)) is not None
    )
    made = _MADE.get(settings.retention_minutes) if copies else None
    if made is not None:
        made.copy(settings)
    prepare_catalog(settings)
    catalog = open_catalog(settings)
    if made is None:
        wanted = (*(event_table(event) for event in EVENTS), *QUARANTINE_TABLES)
        ensure_tables(catalog, settings, wanted)
        if copies:
            _MADE[settings.retention_minutes] = _Made.of(settings)
    return catalog
