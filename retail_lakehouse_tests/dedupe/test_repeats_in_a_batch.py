"""Rules of repeats within one batch: what is a repeat, and what it is held against."""

import numpy as np
import numpy.typing as npt
import pytest

from retail_lakehouse.dedupe.decide import Verdict, decide
from retail_lakehouse.dedupe.records import HOUR_MS, Longs, Records

_NOW_MS = 400_000 * HOUR_MS
_LANDS, _DUPLICATE, _CONFLICT = Verdict.LANDS, Verdict.DUPLICATE, Verdict.CONFLICT


class _Landed:
    """Everything asked for has landed with this content; None: nothing has."""

    def __init__(self, content: int | None) -> None:
        self._content = content

    def find(
        self, hour: int, key_high: Longs, key_low: Longs
    ) -> tuple[npt.NDArray[np.bool_], Longs]:
        known = np.full(len(key_high), self._content is not None, dtype=np.bool_)
        return known, np.full(len(key_high), self._content or 0, dtype=np.int64)


def _records(keys: list[tuple[int, int]], hours: list[int], contents: list[int]) -> Records:
    count = len(keys)
    always = np.full(count, _NOW_MS, dtype=np.int64)
    return Records(
        partition=np.zeros(count, dtype=np.int64),
        offset=np.arange(count, dtype=np.int64),
        broker_ms=always,
        event_ms=always - np.array(hours, dtype=np.int64) * HOUR_MS,
        key_high=np.array([high for high, _ in keys], dtype=np.int64),
        key_low=np.array([low for _, low in keys], dtype=np.int64),
        content=np.array(contents, dtype=np.int64),
        good=np.ones(count, dtype=np.bool_),
        with_extra=np.zeros(count, dtype=np.bool_),
    )


@pytest.mark.parametrize(
    "keys, hours, verdicts",
    [
        ([(1, 2), (1, 2)], [0, 0], [_LANDS, _DUPLICATE]),
        ([(1, 2), (1, 3)], [0, 0], [_LANDS, _LANDS]),
        ([(1, 2), (4, 2)], [0, 0], [_LANDS, _LANDS]),
        ([(1, 2), (1, 2)], [0, 1], [_LANDS, _LANDS]),
    ],
)
def test_a_record_repeats_another_only_with_its_whole_key_and_hour(
    keys: list[tuple[int, int]], hours: list[int], verdicts: list[Verdict]
) -> None:
    records = _records(keys, hours, [5, 5])
    assert decide(records, _Landed(None), horizon_hours=3).verdict.tolist() == verdicts


@pytest.mark.parametrize(
    "landed, contents, verdicts",
    [
        (5, [6, 6], [_CONFLICT, _CONFLICT]),
        (5, [6, 5, 6], [_CONFLICT, _DUPLICATE, _CONFLICT]),
        (None, [6, 7, 7, 6], [_LANDS, _CONFLICT, _CONFLICT, _DUPLICATE]),
    ],
)
def test_every_repeat_is_held_against_what_landed_first(
    landed: int | None, contents: list[int], verdicts: list[Verdict]
) -> None:
    count = len(contents)
    records = _records([(1, 2)] * count, [0] * count, contents)
    assert decide(records, _Landed(landed), horizon_hours=3).verdict.tolist() == verdicts
