"""What the UI shows of an asset besides its name: columns, code, times in words.

Here: contract facts as Dagster metadata. Not here: anything measured.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from retail_lakehouse.contracts.fields import Column, Field, Kind
from retail_lakehouse.contracts.views import ViewColumn

_REPO = Path(__file__).resolve().parents[2]
_PACKAGE = Path(__file__).resolve().parents[1]
_TYPE_NAMES = {Kind.LONG: "bigint"}
"""Names under which the UI knows a type, where they differ from ours."""


def column_schema(columns: Sequence[Column | Field | ViewColumn]) -> dg.TableSchema:
    """Columns of a table or view, or fields of an event, as Dagster's table schema."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=(
                    f"decimal({column.precision},{column.scale})"
                    if column.kind is Kind.DECIMAL
                    else _TYPE_NAMES.get(column.kind, column.kind.value)
                ),
                description=column.doc,
                # The contract of a view does not say which of its columns can be NULL.
                constraints=dg.TableColumnConstraints(
                    nullable=isinstance(column, ViewColumn) or not column.required
                ),
            )
            for column in columns
        ]
    )


def code_reference(path: str, label: str) -> dict[str, Any]:
    """Metadata that links an asset with a file: `path` from the repository's root.

    A file of the package is found where the package is installed, others in the repository.
    """
    inside = path.removeprefix("retail_lakehouse/")
    place = _PACKAGE / inside if inside != path else _REPO / path
    return {
        "dagster/code_references": dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(file_path=str(place), line_number=1, label=label)
            ]
        )
    }


def moment(epoch_ms: int) -> dg.MetadataValue[Any]:
    """A point in time, shown in the reader's own time zone."""
    return dg.MetadataValue.timestamp(datetime.fromtimestamp(epoch_ms / 1000, tz=UTC))


def seconds_between(earlier_ms: int, later_ms: int) -> float:
    """Seconds from one to the other, to the millisecond."""
    return round((later_ms - earlier_ms) / 1000, 3)
