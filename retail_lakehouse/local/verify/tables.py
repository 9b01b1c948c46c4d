"""The tables' side of `verify`, read with DuckDB from Iceberg's files.

Here: counts, sums and sets of one topic's two tables. Not here: the ledger's side (`verifier.py`).
It shares no code with what judges and writes rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retail_lakehouse.contracts.canonical import HASH_MODULUS
from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.fields import Field, Kind
from retail_lakehouse.contracts.reasons import PRECEDENCE
from retail_lakehouse.local.ledger_totals import COORDINATE_MODULUS
from retail_lakehouse.maintenance.places import Place

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyiceberg.table import Table

_MACRO_OF_KIND = {
    Kind.STRING: "canonical_string",
    Kind.INT: "canonical_integer",
    Kind.LONG: "canonical_integer",
    Kind.DECIMAL: "canonical_decimal",
}


@dataclass(frozen=True, slots=True)
class RowSums:
    """Rows of one origin and the sums over them."""

    rows: int = 0
    content_hash: int = 0
    coordinate_hash: int = 0


@dataclass(frozen=True, slots=True)
class QuarantineSides:
    """The quarantine's originals beside the ledger's coordinates, as counts."""

    records: int
    coordinates: int
    only_in_ledger: int
    only_in_quarantine: int
    other_reason: int


@dataclass(frozen=True, slots=True)
class ReplaySides:
    """Outcomes `landed` in the quarantine beside the rows of the same records, as counts."""

    coordinates: int
    outcomes: int
    rows: int
    without_row: int
    without_original: int


class TableSide:
    """Reads one topic's tables as they are at their current snapshots."""

    def __init__(
        self, connection: "DuckDBPyConnection", event: EventContract, rows: "Table", bad: "Table"
    ) -> None:
        self._connection = connection
        self._event = event
        self._rows = rows
        self._bad = bad

    def row_sums(self) -> Mapping[str, RowSums]:
        """Sums by origin: stream, backfill, replay."""
        self._connection.execute(_statement("replayed", source=self._source(self._bad)))
        if self._rows.current_snapshot() is None:
            return {}
        return self._row_sums(self._source(self._rows))

    def customer_sums(
        self, customer: str, mentioned: str, topic_id: str | None
    ) -> Mapping[str, RowSums]:
        """Sums by origin of one customer's rows that came by one topic id; None: backfilled ones.

        `mentioned` is a pattern for unknown fields.
        """
        self._connection.execute(_statement("replayed", source=self._source(self._bad)))
        if self._rows.current_snapshot() is None:
            return {}
        self._connection.execute(
            _statement("customer_rows", source=self._source(self._rows)),
            {"customer": customer, "mentioned": mentioned, "topic_id": topic_id or ""},
        )
        return self._row_sums("customer_rows")

    def customer_rows_after_first(self) -> int:
        """`rows_after_first` of the rows that `customer_sums` has just summed up.

        The copies of an event are of the same customer.
        """
        if self._rows.current_snapshot() is None:
            return 0
        return int(self._one(_statement("after_first", source="customer_rows"))[0])

    def places_present(self, places: Sequence[Place], is_quarantine: bool) -> int:
        """How many of these places one of the two tables has."""
        import pyarrow as pa

        table = self._bad if is_quarantine else self._rows
        if table.current_snapshot() is None:
            return 0
        relation = pa.table(
            {
                "kafka_topic_id": pa.array([each.topic_id for each in places], pa.string()),
                "kafka_partition": pa.array([each.partition for each in places], pa.int32()),
                "kafka_offset": pa.array([each.offset for each in places], pa.int64()),
                "broker_ms": pa.array([each.broker_ms for each in places], pa.int64()),
            }
        )
        self._connection.register("erased_places", relation)
        try:
            return int(self._one(_statement("places_present", source=self._source(table)))[0])
        finally:
            self._connection.unregister("erased_places")

    def _row_sums(self, source: str) -> Mapping[str, RowSums]:
        text = _statement("rows", source=source, canonical=_canonical(self._event))
        return {
            origin: RowSums(
                rows=count,
                content_hash=((high << 64) + low) % HASH_MODULUS,
                coordinate_hash=(placed or 0) % COORDINATE_MODULUS,
            )
            for origin, count, high, low, placed in self._connection.execute(text).fetchall()
        }

    def rows_after_first(self) -> int:
        """How many rows have a key (event id, event hour) that another row has already."""
        if self._rows.current_snapshot() is None:
            return 0
        return int(self._one(_statement("after_first", source=self._source(self._rows)))[0])

    def quarantine(self, expected: NDArray[np.void]) -> QuarantineSides:
        """The quarantine beside the expected coordinates (dtype `COORDINATE`)."""
        import pyarrow as pa

        reasons = np.array([reason.value for reason in PRECEDENCE])
        relation = pa.table(
            {
                "kafka_partition": pa.array(np.ascontiguousarray(expected["partition"])),
                "kafka_offset": pa.array(np.ascontiguousarray(expected["offset"])),
                "reason": pa.array(reasons[expected["reason"]].tolist(), pa.string()),
            }
        )
        source = self._source(self._bad)
        self._connection.register("expected_coordinates", relation)
        try:
            counted = self._one(_statement("quarantine", source=source))
        finally:
            self._connection.unregister("expected_coordinates")
        coordinates, records, only_in_ledger, only_in_quarantine, other_reason = map(int, counted)
        return QuarantineSides(
            records, coordinates, only_in_ledger, only_in_quarantine, other_reason
        )

    def landed_by_replay(self) -> ReplaySides:
        """What replays say they landed, beside the rows that are there."""
        if self._bad.current_snapshot() is None:
            return ReplaySides(0, 0, 0, 0, 0)
        text = _statement(
            "landed_by_replay",
            quarantine=self._source(self._bad),
            source=self._source(self._rows),
        )
        return ReplaySides(*map(int, self._one(text)))

    def _source(self, table: "Table") -> str:
        """What a statement reads the table from."""
        if table.current_snapshot() is None:
            # A table that nothing was ever written to has no snapshot, and DuckDB cannot scan it.
            empty = f"empty_{table.name()[-1]}"
            self._connection.register(empty, table.schema().as_arrow().empty_table())
            return empty
        location = table.metadata_location.replace("'", "''")
        return f"iceberg_scan('{location}')"

    def _one(self, text: str) -> tuple[Any, ...]:
        row = self._connection.execute(text).fetchone()
        assert row is not None  # noqa: S101
        return tuple(row)


def prepare(connection: "DuckDBPyConnection") -> None:
    """Defines the canonical form in the connection."""
    connection.execute(_text("canonical"))


def _text(name: str) -> str:
    return (files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _statement(name: str, **parts: str) -> str:
    return _text(name).format(**parts)


def _canonical(event: EventContract) -> str:
    return " || '|' || ".join(map(_part, event.fields))


def _part(field: Field) -> str:
    return f"{_MACRO_OF_KIND[field.kind]}({field.name})"
