"""The checks of what tables have gained, three of which hold the refresh of views.

Here: their specs, and one evaluation of them all from one look. Not here: the verdicts
(`data_judges.py`), the look (`assets/new_data.py`), when they are evaluated (`sensors/views.py`:
before each refresh).
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from retail_lakehouse.assets.keys import table_key
from retail_lakehouse.assets.new_data import ROWS_MOST, DataLook, look_at_new_data
from retail_lakehouse.checks.data_judges import judge_new_data
from retail_lakehouse.checks.judged import JudgedCheck, level_metadata
from retail_lakehouse.checks.judges import unknown
from retail_lakehouse.contracts.service_levels import HOLDING, Measure
from retail_lakehouse.contracts.tables import EVENT_TABLES, QUARANTINE_TABLES, TableContract
from retail_lakehouse.contracts.views import MATERIALIZED_VIEWS
from retail_lakehouse.resources.iceberg import IcebergCatalogResource
from retail_lakehouse.settings import Settings
from retail_lakehouse.warehouse.holds import Hold

_DESCRIPTIONS = {
    Measure.OFFSETS_CONTIGUOUS: (
        "Each commit's offsets begin where those of the commit before ended: a gap is a loss, an "
        "overlap may count twice. A loss that somebody has accepted is none. Every commit is "
        "looked at."
    ),
    Measure.UNIQUE_BY_KEY: (
        "No event (event id and event hour) has landed twice, within the dedupe horizon and among "
        f"the rows of the last commits. At most {ROWS_MOST:,} rows a look are read."
    ),
    Measure.CONFORMS_TO_CONTRACT: (
        "The rows that landed are what the event's contract allows. At most "
        f"{ROWS_MOST:,} rows a look are read."
    ),
}
_HOLDS = " While it fails, the views over the table are held."

_CHECKS: tuple[tuple[TableContract, Measure], ...] = (
    *((table, measure) for table in EVENT_TABLES for measure in HOLDING),
    *((table, Measure.OFFSETS_CONTIGUOUS) for table in QUARANTINE_TABLES),
)


def data_check_specs() -> list[dg.AssetCheckSpec]:
    """The checks of every table's new data."""
    return [
        dg.AssetCheckSpec(
            measure.value,
            asset=table_key(table),
            metadata=level_metadata(table.name, measure),
            description=_DESCRIPTIONS[measure] + (_HOLDS if table in EVENT_TABLES else ""),
        )
        for table, measure in _CHECKS
    ]


def judge_data(data: DataLook | str) -> list[JudgedCheck]:
    """Every check of new data, judged by one look; all of them failed where there is none."""
    judged = []
    for table, measure in _CHECKS:
        if isinstance(data, str):
            verdict = unknown(data)
        else:
            found = data.book.open_of(table.name, measure)
            verdict = judge_new_data(table.name, measure, data.tables[table.name], found)
        judged.append(JudgedCheck(dg.AssetCheckKey(table_key(table), measure.value), verdict))
    return judged


def holds_in(data: DataLook | str) -> Mapping[str, Hold]:
    """What holds views, by their names, as far as that is known."""
    return {} if isinstance(data, str) else data.book.holds_among(MATERIALIZED_VIEWS)


def data_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """The checks with their buttons; what a button finds holds as what the sensor finds."""

    @dg.multi_asset_check(specs=data_check_specs(), name="data_checks", can_subset=True)
    def evaluate_data(
        context: dg.AssetCheckExecutionContext, iceberg: IcebergCatalogResource
    ) -> Iterator[dg.AssetCheckResult]:
        _, data = look_at_new_data(iceberg, settings)
        for judged in judge_data(data):
            if judged.key in context.selected_asset_check_keys:
                yield judged.result()

    return evaluate_data
