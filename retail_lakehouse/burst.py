"""A burst of the simulator, and how a setting spells one.

Here: the three numbers, their text and what is wrong with one. Not here: the simulator that obeys
them (`local/simulator/run.py`).
"""

import math
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Burst:
    """`factor` times the rate for `for_seconds`, once in `every_seconds`."""

    factor: float
    every_seconds: float
    for_seconds: float

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """The burst that FACTOR/EVERY/FOR spells; None for an empty text: no burst.

        Raises:
            ValueError: the text spells none; it says why, and how one is written.
        """
        if not text:
            return None
        try:
            factor, every, lasts = (float(part) for part in text.split("/"))
        except ValueError:
            raise _no_burst("is not FACTOR/EVERY/FOR") from None
        if not (math.isfinite(factor) and factor > 0):
            raise _no_burst(f"has the factor {factor:g}, which must be above 0")
        if not (math.isfinite(every) and 0 < lasts <= every):
            raise _no_burst(
                f"lasts {lasts:g} s of {every:g} s; it must be above 0 and not longer than these"
            )
        return cls(factor, every, lasts)

    def factor_at(self, seconds: float) -> float:
        """The factor so many seconds after the start; the first burst ends the first period."""
        return self.factor if seconds % self.every_seconds >= self._calm_seconds else 1.0

    @property
    def _calm_seconds(self) -> float:
        return self.every_seconds - self.for_seconds


def _no_burst(why: str) -> ValueError:
    return ValueError(f"it {why}; 5/600/60 is 5 times the rate for 60 seconds in every 600")
