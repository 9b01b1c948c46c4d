"""Rules of the guard: a compaction is a `replace` of the same rows, and nothing else."""

import pytest

from retail_lakehouse.contracts.events import CLICKSTREAM
from retail_lakehouse.maintenance.compaction import (
    CompactionRefusedError,
    refuse_other_operation,
    refuse_other_rows,
)
from retail_lakehouse.maintenance.erasure import ErasureError, checked_customer, erasable_events


@pytest.mark.parametrize("operation", ["append", "overwrite", "delete"])
def test_any_other_operation_than_replace_is_refused(operation: str) -> None:
    with pytest.raises(CompactionRefusedError, match=operation):
        refuse_other_operation("retail_db.inventory_events", operation)
    refuse_other_operation("retail_db.inventory_events", "replace")


@pytest.mark.parametrize(
    "taken, written, deleted, is_refused",
    [
        (10, 10, 0, False),
        (10, 9, 0, True),
        (10, 11, 0, True),
        (10, 8, 2, False),
        (10, 7, 2, True),
        (10, 11, 2, True),
    ],
)
def test_rows_may_only_become_fewer_by_those_that_are_deleted(
    taken: int, written: int, deleted: int, is_refused: bool
) -> None:
    if is_refused:
        with pytest.raises(CompactionRefusedError, match=f"wrote {written}"):
            refuse_other_rows("t", taken, written, deleted)
    else:
        refuse_other_rows("t", taken, written, deleted)


@pytest.mark.parametrize("customer", ["", "c 1", "c\n1", "x" * 300, "c\x001"])
def test_what_cannot_be_a_customer_s_id_is_refused(customer: str) -> None:
    with pytest.raises(ErasureError):
        checked_customer(customer)
    assert checked_customer("c-000001") == "c-000001"


def test_the_clickstream_alone_says_who_a_customer_is() -> None:
    assert erasable_events() == (CLICKSTREAM,)
