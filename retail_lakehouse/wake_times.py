"""When the warehouse is woken by the clock: a cron line, a time zone, a quiet window.

Here: the texts of the settings and what is wrong with one, whether an instant is quiet, how many
wakings a week holds. Not here: what a waking costs (`planning/keep_warm.py`), who sends it
(`assets/keep_warm.py`).

Times are those of the wall clock in the zone: what summer time does to an hour is its affair.
"""

import difflib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_PART = re.compile(
    r"(?P<all>\*)(?:/(?P<every>\d+))?|(?P<low>\d+)(?:-(?P<high>\d+)(?:/(?P<step>\d+))?)?"
)


@dataclass(frozen=True, slots=True)
class QuietWindow:
    """Minutes of the local day, `ends_at` exclusive.

    Over midnight where `ends_at` is before `begins_at`.
    """

    begins_at: int
    ends_at: int

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """The window that HH:MM-HH:MM spells; None for an empty text: never quiet.

        Raises:
            ValueError: the text spells none; it says why, and how one is written.
        """
        if not text:
            return None
        found = _WINDOW.fullmatch(text)
        if found is None:
            raise ValueError("it is not HH:MM-HH:MM; 00:00-06:00 is quiet from midnight to six")
        begins, ends = (int(found[i]) * 60 + int(found[i + 1]) for i in (1, 3))
        if begins == ends:
            raise ValueError(
                "it ends when it begins; leave it empty to be never quiet, and keep_warm_cron "
                "empty to be always"
            )
        return cls(begins, ends)

    def holds(self, minute: int) -> bool:
        """Whether that minute of the local day is quiet."""
        if self.begins_at < self.ends_at:
            return self.begins_at <= minute < self.ends_at
        return minute >= self.begins_at or minute < self.ends_at


def is_quiet(at: datetime, zone: str, window: QuietWindow | None) -> bool:
    """Whether the window is on at an instant (aware), by the wall clock of the zone."""
    if window is None:
        return False
    local = at.astimezone(ZoneInfo(zone))
    return window.holds(local.hour * 60 + local.minute)


def checked_zone(name: str) -> str:
    """The name of a time zone, as it is.

    Raises:
        ValueError: there is no such zone; it names the nearest.
    """
    try:
        return ZoneInfo(name).key
    # A folder of the zones' data, or a path that leads out of it, is no zone either.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(name, available_timezones(), n=1, cutoff=0.6)
        told = f"; the nearest is {near[0]}" if near else ""
        raise ValueError(f"there is no such time zone{told}; Asia/Kolkata is one") from None


@dataclass(frozen=True, slots=True)
class WakeTimes:
    """A cron line: minutes, hours and days of the week (0 is Sunday) at which it is due."""

    minutes: frozenset[int]
    hours: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def from_cron(cls, text: str) -> Self | None:
        """The times that a cron line of five fields spells; None for an empty text: never.

        Day of the month and month are `*`: what is due so rarely keeps nothing warm.

        Raises:
            ValueError: the text is no such line; it says why, and how one is written.
        """
        if not text:
            return None
        fields = text.split()
        if len(fields) != 5:
            raise _no_cron(f"has {len(fields)} fields and not five")
        minute, hour, day, month, weekday = fields
        if (day, month) != ("*", "*"):
            raise _no_cron("limits the day of the month or the month, which stay *")
        return cls(
            _values(minute, "minute", 59),
            _values(hour, "hour", 23),
            frozenset(each % 7 for each in _values(_days_as_numbers(weekday), "weekday", 7)),
        )

    def a_week(self, window: QuietWindow | None) -> int:
        """How often it is due, and not quiet, in a week without a switch of summer time."""
        a_day = sum(
            window is None or not window.holds(hour * 60 + minute)
            for hour in self.hours
            for minute in self.minutes
        )
        return a_day * len(self.weekdays)


def _days_as_numbers(text: str) -> str:
    return re.sub("|".join(_DAY_NAMES), lambda found: str(_DAY_NAMES.index(found[0])), text.lower())


def _values(text: str, name: str, most: int) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise _no_cron(f"has {text!r} as its {name}")
        low = 0 if found["all"] else int(found["low"])
        high = most if found["all"] else int(found["high"] or low)
        step = int(found["every"] or found["step"] or 1)
        if not (low <= high <= most and 1 <= step <= most):
            raise _no_cron(f"has {text!r} as its {name}, which goes from 0 to {most}")
        values.update(range(low, high + 1, step))
    return frozenset(values)


def _no_cron(why: str) -> ValueError:
    return ValueError(f"it {why}; 45 6 * * mon-sat is a quarter to seven on six days of the week")
