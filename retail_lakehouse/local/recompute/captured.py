"""What each materialized view's digest was after a refresh, as a run has written it down.

Here: reading LOCAL_MV_DIGEST, and the file of what was read, a line a view and refresh. Not here:
when it is read (`benchmarks/view_digests.py`), or what the digests should have been
(`history.py`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retail_lakehouse.contracts.tables import DATABASE
from retail_lakehouse.contracts.views import MART_SCHEMA, MATERIALIZED_VIEWS
from retail_lakehouse.warehouse.client import Session

_DIGESTS = (
    "SELECT name, base, refresh_count, columns, row_count, digest FROM local_mv_digest "
    "WHERE schema_name = %s"
)


class CapturedError(RuntimeError):
    """The file of captured digests cannot be used; the sentence says why."""


@dataclass(frozen=True, slots=True)
class CapturedDigest:
    """One view at one moment. Times in epoch milliseconds.

    `refreshed_at_ms` is what `view_refreshes.json` said of the view just before, `refresh` the
    number of its refreshes that brought something. `until` maps each partition of the view's one
    table to the first offset that the view does not show, `records` is the table's count of rows
    at `snapshot_id`; `columns` are (name, DuckDB type), the types in which rows were hashed.
    """

    view: str
    captured_at_ms: int
    refreshed_at_ms: int | None
    refresh: int
    snapshot_id: int | None
    topic_id: str | None
    until: dict[int, int]
    records: int | None
    columns: tuple[tuple[str, str], ...]
    rows: int
    digest: int

    def says_the_same(self, other: "CapturedDigest") -> bool:
        """True when nothing but the time differs."""
        return (self.refresh, self.snapshot_id, self.until, self.rows, self.digest) == (
            other.refresh,
            other.snapshot_id,
            other.until,
            other.rows,
            other.digest,
        )


@dataclass(frozen=True, slots=True)
class NotCaptured:
    """A refresh after which the digests could not be read before the next one came."""

    refreshed_at_ms: int
    views: tuple[str, ...]
    not_read: str


@dataclass(frozen=True, slots=True)
class CaptureEnd:
    """Where capturing ended: `last_refreshes` maps each view to its count of refreshes by then."""

    ended_at_ms: int
    last_refreshes: dict[str, int]


Line = CapturedDigest | NotCaptured | CaptureEnd


def digests_file(root: Path) -> Path:
    """Where a run's lines stand in its state folder."""
    return root / "run" / "view_digests.jsonl"


def capture(
    session: Session, at_ms: int, refreshed_at_ms: Mapping[str, int]
) -> list[CapturedDigest]:
    """All materialized views at one moment, in the contract's order."""
    found = {name: rest for name, *rest in session.rows(_DIGESTS, (MART_SCHEMA,))}
    answer = []
    for view in MATERIALIZED_VIEWS:
        base, refreshes, columns, rows, digest = found[view.name]
        (table,) = view.source_tables
        folded = json.loads(base).get(f"{DATABASE}.{table}", {})
        answer.append(
            CapturedDigest(
                view=view.name,
                captured_at_ms=at_ms,
                refreshed_at_ms=refreshed_at_ms.get(view.name),
                refresh=int(refreshes),
                snapshot_id=folded.get("snapshot_id"),
                topic_id=folded.get("topic_id"),
                until=_until(folded.get("until")),
                records=folded.get("records"),
                columns=tuple((name, kind) for name, kind in json.loads(columns)),
                rows=int(rows),
                digest=int(digest),
            )
        )
    return answer


def append_lines(path: Path, lines: Iterable[Line]) -> None:
    """Adds the lines at the end of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(asdict(line)) + "\n")


def read_lines(path: Path) -> list[Line]:
    """The file's lines, oldest first; none where there is no file.

    Raises:
        CapturedError: a line cannot be read.
    """
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    lines: list[Line] = []
    for number, text in enumerate(texts, 1):
        try:
            lines.append(_line(json.loads(text)))
        except (ValueError, TypeError, KeyError) as error:
            raise CapturedError(
                f"Line {number} of {path} is no captured digest ({error}). If the run was killed "
                "while writing it, remove the line; what it held then counts as not captured."
            ) from error
    return lines


def _line(raw: dict[str, Any]) -> Line:
    if "not_read" in raw:
        return NotCaptured(**{**raw, "views": tuple(raw["views"])})
    if "last_refreshes" in raw:
        return CaptureEnd(**raw)
    columns = tuple((name, kind) for name, kind in raw["columns"])
    return CapturedDigest(**{**raw, "until": _until(raw["until"]), "columns": columns})


def _until(raw: Mapping[str, int] | None) -> dict[int, int]:
    return {int(partition): int(offset) for partition, offset in (raw or {}).items()}
