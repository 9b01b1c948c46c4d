"""The Iceberg tables as the warehouse sees them: the shared SQLite catalog and its metadata files.

Here: a table's columns, snapshots and added data files, read without changing anything. Not here:
what a refresh does with them (`delta.py`), or creating tables (`retail_lakehouse.tables`).

The metadata file is read as JSON instead of through pyiceberg's models: with thousands of marked
snapshots the models cost seconds where the JSON costs milliseconds. Manifests are pyiceberg's.

Source: https://iceberg.apache.org/spec/ (table metadata, snapshots, manifests); aws.md 3.5 for the
types that Redshift reads.
"""

import gzip
import importlib
import json
import re
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from retail_lakehouse.local.warehouse.errors import WarehouseError
from retail_lakehouse.local.warehouse.paths import local_path

_CACHED_TABLES = 64
NAME_MAPPING = "schema.name-mapping.default"


@dataclass(frozen=True, slots=True)
class LakeColumn:
    """A column: Iceberg field id, name, DuckDB's type, Redshift's name of the type, NULL or not."""

    field_id: int
    name: str
    duckdb_type: str
    redshift_type: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot: ids, operation (append, replace, overwrite, delete), summary, manifest list."""

    snapshot_id: int
    parent_id: int | None
    operation: str
    summary: Mapping[str, str]
    manifest_list: str
    timestamp_ms: int

    def number(self, key: str) -> int | None:
        """A count of the summary, None when the writer left it out."""
        value = self.summary.get(key)
        return int(value) if value is not None and value.isdigit() else None


@dataclass(frozen=True, slots=True)
class LakeTable:
    """One table at one moment: everything that one metadata file says."""

    database: str
    name: str
    metadata_location: str
    uuid: str
    schema_id: int
    columns: tuple[LakeColumn, ...]
    current_id: int | None
    snapshots: Mapping[int, Snapshot]
    properties: Mapping[str, str]
    format_version: int = 2

    @property
    def current(self) -> Snapshot | None:
        """The current snapshot; None for a table that was never written to."""
        return None if self.current_id is None else self.snapshots.get(self.current_id)

    def ancestors(self) -> Iterator[Snapshot]:
        """The current snapshot and its parents, newest first, as far back as they are kept."""
        snapshot = self.current
        while snapshot is not None:
            yield snapshot
            parent = snapshot.parent_id
            snapshot = None if parent is None else self.snapshots.get(parent)


class Lake:
    """Reads the catalog's SQLite file at `catalog_path` under `catalog_name`."""

    def __init__(self, catalog_path: Path, catalog_name: str):
        self._path = catalog_path
        self._name = catalog_name
        self._cache: OrderedDict[str, LakeTable] = OrderedDict()
        self._lock = Lock()

    @staticmethod
    def warm_up() -> None:
        """Imports pyiceberg's manifests, a second that the first refresh need not wait for."""
        importlib.import_module("pyiceberg.manifest")
        importlib.import_module("retail_lakehouse.local.warehouse.local_files")

    def tables(self, database: str) -> list[str]:
        """The names of a database's tables, sorted; none when there is no catalog yet."""
        query = (
            "SELECT table_name FROM iceberg_tables "
            "WHERE catalog_name = ? AND table_namespace = ? ORDER BY table_name"
        )
        return [str(row[0]) for row in self._rows(query, (self._name, database))]

    def has_table(self, database: str, name: str) -> bool:
        """True when the catalog lists the table."""
        return self._location(database, name) is not None

    def table(self, database: str, name: str) -> LakeTable:
        """The table as it is now.

        Raises:
            WarehouseError: there is no such table (42P01) or its metadata cannot be read (58030).
        """
        location = self._location(database, name)
        if location is None:
            raise WarehouseError("42P01", f'table "{name}" does not exist in database "{database}"')
        with self._lock:
            cached = self._cache.get(location)
            if cached is not None:
                self._cache.move_to_end(location)
                return cached
        table = _load(database, name, location)
        with self._lock:
            self._cache[location] = table
            while len(self._cache) > _CACHED_TABLES:
                self._cache.popitem(last=False)
        return table

    def added_files(self, snapshot: Snapshot) -> list[str]:
        """The data files that this snapshot added.

        Raises:
            OSError: a manifest is gone: the snapshot has expired meanwhile.
        """
        from pyiceberg.manifest import DataFileContent, ManifestEntryStatus, read_manifest_list

        from retail_lakehouse.local.warehouse.local_files import LocalFiles

        io = LocalFiles()
        found: list[str] = []
        for manifest in read_manifest_list(io.new_input(snapshot.manifest_list)):
            if manifest.added_snapshot_id != snapshot.snapshot_id:
                continue
            for entry in manifest.fetch_manifest_entry(io, discard_deleted=True):
                if (
                    entry.status == ManifestEntryStatus.ADDED
                    and entry.snapshot_id == snapshot.snapshot_id
                    and entry.data_file.content == DataFileContent.DATA
                ):
                    found.append(entry.data_file.file_path)
        return found

    def _location(self, database: str, name: str) -> str | None:
        query = (
            "SELECT metadata_location FROM iceberg_tables "
            "WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?"
        )
        rows = self._rows(query, (self._name, database, name))
        return str(rows[0][0]) if rows and rows[0][0] else None

    def _rows(self, query: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=60)
        try:
            return connection.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise WarehouseError(
                "58030", f"the catalog {self._path} cannot be read: {error}"
            ) from None
        finally:
            connection.close()


def _load(database: str, name: str, location: str) -> LakeTable:
    try:
        data = local_path(location).read_bytes()
        document = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (OSError, ValueError) as error:
        raise WarehouseError(
            "58030", f"the metadata of {database}.{name} cannot be read: {error}"
        ) from None
    schema_id = document["current-schema-id"]
    schema = next(s for s in document["schemas"] if s["schema-id"] == schema_id)
    current = document.get("current-snapshot-id")
    return LakeTable(
        database=database,
        name=name,
        metadata_location=location,
        uuid=document["table-uuid"],
        schema_id=schema_id,
        columns=tuple(c for f in schema["fields"] if (c := _column(f)) is not None),
        current_id=None if current in (None, -1) else current,
        snapshots={s.snapshot_id: s for s in map(_snapshot, document.get("snapshots") or ())},
        properties=document.get("properties") or {},
        format_version=document["format-version"],
    )


def _snapshot(raw: dict[str, Any]) -> Snapshot:
    summary = raw.get("summary") or {}
    return Snapshot(
        snapshot_id=raw["snapshot-id"],
        parent_id=raw.get("parent-snapshot-id"),
        operation=summary.get("operation", "overwrite"),
        summary=summary,
        manifest_list=raw.get("manifest-list", ""),
        timestamp_ms=raw["timestamp-ms"],
    )


_TYPES: dict[str, tuple[str, str]] = {
    "boolean": ("BOOLEAN", "boolean"),
    "int": ("INTEGER", "integer"),
    "long": ("BIGINT", "bigint"),
    "float": ("FLOAT", "real"),
    "double": ("DOUBLE", "double precision"),
    "date": ("DATE", "date"),
    "timestamp": ("TIMESTAMP", "timestamp"),
    "timestamptz": ("TIMESTAMP WITH TIME ZONE", "timestamptz"),
    "string": ("VARCHAR", "varchar(16384)"),
    "binary": ("BLOB", "varbyte(64000)"),
}
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")


def _column(field: dict[str, Any]) -> LakeColumn | None:
    # Redshift reads no time, uuid or fixed; nested types would be SUPER, which none of ours has.
    kind = field["type"]
    if not isinstance(kind, str):
        return None
    decimal = _DECIMAL.fullmatch(kind)
    if decimal:
        name = f"decimal({decimal[1]},{decimal[2]})"
        types: tuple[str, str] | None = (name.upper(), name)
    else:
        types = _TYPES.get(kind)
    if types is None:
        return None
    return LakeColumn(field["id"], field["name"], *types, field["required"])
