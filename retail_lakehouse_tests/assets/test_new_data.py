"""Which rows a look at new data judges, and by which contract."""

from dataclasses import replace

import pyarrow as pa
import pytest

from retail_lakehouse.assets.new_data import _unlike_contract
from retail_lakehouse.contracts.events import INVENTORY
from retail_lakehouse.contracts.service_levels import Measure
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse_tests.checks.looks import AT, batch
from retail_lakehouse_tests.resources.fakes import good_rows


@pytest.mark.parametrize("versions_behind, is_judged", [(0, True), (1, False), (-1, False)])
def test_rows_are_held_against_the_contract_that_let_them_in_and_no_other(
    versions_behind: int, is_judged: bool
) -> None:
    table = event_table("inventory")
    rows = good_rows(table, 2)
    place = rows.schema.get_field_index("quantity_reserved")
    wrong = pa.array([1, -4], pa.int32())
    rows = rows.set_column(place, rows.schema.field(place), wrong)
    commit = batch(5)
    assert commit.mark is not None
    mark = replace(commit.mark, contract_version=INVENTORY.version - versions_behind)
    found = _unlike_contract(
        rows, INVENTORY, replace(commit, mark=mark), (table.name, commit.snapshot_id), AT
    )
    assert [each.measure for each in found] == [Measure.CONFORMS_TO_CONTRACT] * is_judged
