"""Rules of the guards: a compaction is a `replace` of the same rows, and no id is half of another.

Here: what is judged without a table. Not here: compactions and erasures of one.
"""

import json

import duckdb
import pytest

from retail_lakehouse.contracts.events import CLICKSTREAM
from retail_lakehouse.maintenance.compaction import (
    CompactionRefusedError,
    _deletes_left_without_files,
    refuse_other_operation,
    refuse_other_rows,
)
from retail_lakehouse.maintenance.erasure import (
    ErasureError,
    checked_customer,
    erasable_events,
    mention,
)


class Task:
    """A scan task, or a delete file that applies to it, as far as the guard asks."""

    def __init__(self, name: str, *deletes: "Task") -> None:
        self._name, self._deletes = name, deletes

    def location(self) -> str:
        return self._name

    def deletes(self) -> "tuple[Task, ...]":
        return self._deletes


@pytest.mark.parametrize("operation", ["append", "overwrite", "delete"])
def test_any_other_operation_than_replace_is_refused(operation: str) -> None:
    with pytest.raises(CompactionRefusedError, match=operation):
        refuse_other_operation("retail_db.inventory_events", operation)
    refuse_other_operation("retail_db.inventory_events", "replace")


def test_a_delete_file_stays_for_as_long_as_a_file_that_stays_needs_it() -> None:
    shared, own = Task("shared"), Task("own")
    tasks = {"a": Task("a", shared, own), "b": Task("b", shared), "c": Task("c")}
    # Dropped with the first of the two files, it would bring the other one's rows back.
    assert set(_deletes_left_without_files(tasks, {"a"})) == {"own"}
    assert set(_deletes_left_without_files(tasks, {"a", "b"})) == {"own", "shared"}


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


def _mentioned(customer: str, text: str) -> bool:
    """Whether the id is found in the text as a column has it, and in its bytes as they came."""
    as_bytes = text.encode().decode("latin-1")
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT regexp_matches($1, $2), regexp_matches($3, $4)",
            [text, mention(customer), as_bytes, mention(customer, in_bytes=True)],
        ).fetchone()
    assert found is not None
    assert found[0] is found[1]
    return bool(found[0])


@pytest.mark.parametrize("customer", ["c-000012", "kü-12", 'a"b\\c/d', "李-7", "\U0001f600-1"])
def test_an_id_is_found_as_a_word_of_its_own_plain_and_in_every_escape_of_json(
    customer: str,
) -> None:
    units = customer.encode("utf-16-be").hex()
    escaped = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    upper = escaped.upper().replace("U", "u")
    for spelt in (customer, json.dumps(customer)[1:-1], escaped, upper):
        assert _mentioned(customer, f'{{"seen": "/account/{spelt}?x"}}')
        assert not _mentioned(customer, f'{{"seen": "{spelt}3"}}')
        assert not _mentioned(customer, f'{{"seen": "x-{spelt}"}}')


def test_the_clickstream_alone_says_who_a_customer_is() -> None:
    assert erasable_events() == (CLICKSTREAM,)
