"""Figures in columns, for a terminal.

Belongs here: widths and how a figure looks. Doesn't belong here: which figures a verb shows.
"""

from __future__ import annotations

from collections.abc import Sequence

_MISSING = "-"


def columns(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines as wide as they must be: names to the left, figures to the right, `-` for None.

    Args:
        heads: The first line; the first column is the name's.
        rows: Each as long as `heads`.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(heads), *cells]) for i in range(len(heads))]
    return [
        "  ".join(
            text.ljust(width) if not position else text.rjust(width)
            for position, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [list(heads), *cells]
    ]


def _cell(value: object) -> str:
    if value is None:
        return _MISSING
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and value >= 10_000_000 else str(value)
