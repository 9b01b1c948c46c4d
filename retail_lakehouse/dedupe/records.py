"""The few numbers of a record that uniqueness needs, as columns.

Here: the packed columns and how they are taken from a record. Not here: the rule (`decide.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import md5
from struct import Struct
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

HOUR_MS = 3_600_000
_HALVES = Struct(">qq")

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Records:
    """Records as columns of equal length, in any order.

    `key_high` and `key_low` are the 128-bit hash of the event id, `content` 64 bits of the hash of
    its canonical content with `extra`; all three are 0 for a record that is not `good`.
    """

    partition: Longs
    offset: Longs
    broker_ms: Longs
    event_ms: Longs
    key_high: Longs
    key_low: Longs
    content: Longs
    good: npt.NDArray[np.bool_]
    with_extra: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.offset)

    @property
    def event_hour(self) -> Longs:
        """Hours since the epoch of each record's event time."""
        return self.event_ms // HOUR_MS

    @staticmethod
    def from_arrow(table: "pa.Table") -> "Records":
        """Records from an Arrow table with these columns' names."""
        return Records(
            **{
                name: table.column(name).to_numpy(zero_copy_only=False)
                for name in Records.__dataclass_fields__
            }
        )


def key_hash(event_id: str) -> tuple[int, int]:
    """The 128-bit hash of an event id as two signed 64-bit halves."""
    digest = md5(event_id.encode("utf-8"), usedforsecurity=False).digest()
    high, low = _HALVES.unpack(digest)
    return high, low


def content_key(canonical: str, extra: str | None) -> int:
    """64 bits over the whole content of an event: its canonical form and its unknown fields."""
    text = canonical if extra is None else f"{canonical}\n{extra}"
    digest = md5(text.encode("utf-8"), usedforsecurity=False).digest()
    low: int = _HALVES.unpack(digest)[1]
    return low


def concatenated(parts: Sequence[Records]) -> Records:
    """One `Records` from several."""
    return Records(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in Records.__dataclass_fields__
        }
    )
