"""Results that grow by name: a run of some cases leaves what is known of the others as it was.

Belongs here: the file and its order. Doesn't belong here: what a row is, or the page that is made
of them.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def known_rows(path: Path, key: str) -> dict[str, Json]:
    """The rows of a results file by their names; none where there is no file."""
    if not path.exists():
        return {}
    told = json.loads(path.read_text(encoding="utf-8"))
    return {str(row[key]): dict(row) for row in told["rows"]}


def merged(path: Path, new: Iterable[Json], key: str, order: Sequence[str]) -> list[Json]:
    """The file's rows with the new ones in place of theirs, in the order of the names.

    A row whose name is not in the order any more is left out.
    """
    rows = known_rows(path, key) | {str(row[key]): row for row in new}
    return [rows[name] for name in order if name in rows]


def write_results(path: Path, told: Mapping[str, Any], page: str) -> None:
    """Writes the results and, beside them, their page; each is whole or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {path: json.dumps(told, indent=1) + "\n", path.with_suffix(".md"): page}
    for target, text in texts.items():
        beside = target.with_name(f"{target.name}.new")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, target)


def cell(value: object) -> str:
    """A value in a table of Markdown: nothing for None, and no bar that would end the cell."""
    return "" if value is None else str(value).replace("|", "/").replace("\n", " ")
