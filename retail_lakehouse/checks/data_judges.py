"""Verdicts on what tables have gained: offsets, keys, contract.

Here: pure functions from the last look and what is open to a verdict with a sentence. Not here: the
look (`assets/new_data.py`), Dagster's checks (`data.py`). A finding stays failed until somebody has
let it go: the commit that it is of does not mend itself.
"""

from collections.abc import Sequence

from retail_lakehouse.checks.judges import Figure, Verdict, unknown
from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.tables.evaluated import Evaluated
from retail_lakehouse.warehouse.holds import Finding

_OF_ROWS = (Measure.UNIQUE_BY_KEY, Measure.CONFORMS_TO_CONTRACT)


def judge_new_data(
    table: str, measure: Measure, seen: Evaluated | str, found: Sequence[Finding]
) -> Verdict:
    """Whether everything that the table gained is right by one measure, as far as it was read."""
    figures = _figures(measure, seen)
    if found:
        first = found[0]
        figures |= {"findings": len(found), "finding": first.code}
        figures |= {"snapshot_id": str(first.snapshot_id)}
        held = sorted({view for each in found for view in each.views})
        effect = f"Held are {', '.join(held)}." if held else "No view is held by it."
        more = f" There are {len(found)} such findings." if len(found) > 1 else ""
        return Verdict(
            False,
            f"{first.sentence}{more} {effect} Once that is looked at, "
            f"`retail-lakehouse views release {table}` lets it go.",
            figures,
        )
    if isinstance(seen, str):
        return unknown(seen)
    if seen.fault and measure in _OF_ROWS:
        return unknown(seen.fault, figures)
    unseen = (
        " Commits between two looks had expired before anybody looked, and are not judged."
        if seen.unseen_commits and measure is Measure.OFFSETS_CONTIGUOUS
        else ""
    )
    return Verdict(True, f"{_passed(measure, seen)}{unseen}", figures)


def _figures(measure: Measure, seen: Evaluated | str) -> dict[str, Figure]:
    if isinstance(seen, str) or measure not in _OF_ROWS:
        return {}
    return {"rows_new": seen.rows_new, "rows_read": seen.rows_read}


def _passed(measure: Measure, seen: Evaluated) -> str:
    if seen.snapshot_id is None:
        return "Nothing has landed."
    if measure is Measure.OFFSETS_CONTIGUOUS:
        return "Every commit goes on where the one before it ended."
    rows = f"{seen.rows_read} of the {seen.rows_new} rows that came last were read"
    if measure is Measure.UNIQUE_BY_KEY:
        return f"{rows}: no event among them had landed already."
    return f"{rows}: all of them are what the contract allows."
