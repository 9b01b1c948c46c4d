"""The account of what was erased: without it `verify` would miss the rows, or be told a lie.

Here: a journal of places and sums in the state folder, never an id of a person. Not here: erasing
(`local/erase.py`), comparing (`local/verify/`).

An entry is written before its delete. Whether the delete came to be is not asked of the entry but
of the table: of the places that it names, either all are there still or none is.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from retail_lakehouse.maintenance.places import Place

_FOLDER, _FILE = "erasures", "journal.json"


class ErasureJournalError(RuntimeError):
    """The journal cannot be read."""


@dataclass(frozen=True, slots=True)
class ErasedSums:
    """Rows of one origin (stream, backfill, replay) with the sums that `verify` compares."""

    rows: int = 0
    content_hash: int = 0
    coordinate_hash: int = 0


@dataclass(frozen=True, slots=True)
class ErasedRows:
    """Those rows of one erasure that came by one topic id; None for backfilled ones.

    Apart, since `verify` compares with one topic: what an earlier topic of the name brought is not
    missed there. `sums` is by origin; `after_first` counts rows whose key another of them has.
    """

    topic_id: str | None
    sums: Mapping[str, ErasedSums]
    after_first: int = 0


@dataclass(frozen=True, slots=True)
class Erasure:
    """What one erasure takes out of one table.

    `table` is the table's name without the database; `rows` is empty for a quarantine, which is
    compared by places alone. Backfilled rows have sums and no place.
    """

    erasure_id: str
    topic: str
    table: str
    at_ms: int
    places: tuple[Place, ...]
    rows: tuple[ErasedRows, ...] = ()
    done: bool = False


class ErasureJournal:
    """The journal of one state folder."""

    def __init__(self, root: Path) -> None:
        self._path = root / _FOLDER / _FILE

    def entries(self, table: str) -> list[Erasure]:
        """What was to be erased from the table, oldest first.

        Raises:
            ErasureJournalError: the journal is damaged.
        """
        return [each for each in self._read() if each.table == table]

    def intend(self, erasure: Erasure) -> None:
        """Writes down what is about to be deleted.

        An earlier entry that was not done is dropped when this one has all of its places: its
        delete never came to be.
        """
        found = set(erasure.places)
        kept = [
            each
            for each in self._read()
            if each.done or each.table != erasure.table or not found.issuperset(each.places)
        ]
        self._write([*kept, erasure])

    def settle(self, erasure_id: str, table: str) -> None:
        """Notes that the delete is committed."""
        self._write(
            [
                replace(each, done=True)
                if (each.erasure_id, each.table) == (erasure_id, table)
                else each
                for each in self._read()
            ]
        )

    def _read(self) -> list[Erasure]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        try:
            return [_erasure(raw) for raw in json.loads(text)]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ErasureJournalError(
                f"The account of erasures, {self._path}, cannot be read ({error!r}): `verify` "
                "would take erased rows for lost ones. Bring it back from a copy."
            ) from error

    def _write(self, entries: Sequence[Erasure]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump([asdict(each) for each in entries], file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def _erasure(raw: Mapping[str, Any]) -> Erasure:
    return Erasure(
        erasure_id=str(raw["erasure_id"]),
        topic=str(raw["topic"]),
        table=str(raw["table"]),
        at_ms=int(raw["at_ms"]),
        places=tuple(
            Place(str(topic_id), int(partition), int(offset), int(broker_ms))
            for topic_id, partition, offset, broker_ms in raw["places"]
        ),
        rows=tuple(map(_erased_rows, raw["rows"])),
        done=bool(raw["done"]),
    )


def _erased_rows(raw: Mapping[str, Any]) -> ErasedRows:
    topic_id = raw["topic_id"]
    return ErasedRows(
        topic_id=None if topic_id is None else str(topic_id),
        sums={origin: ErasedSums(**sums) for origin, sums in raw["sums"].items()},
        after_first=int(raw["after_first"]),
    )
