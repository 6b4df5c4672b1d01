"""Time intervals, as Alertmanager has them.

Source: prometheus/alertmanager ``timeinterval/timeinterval.go``. An interval holds an instant when each of
its parts that is given does; a part that is given as an empty list never does.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

UTC_ZONE = ZoneInfo("UTC")

DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip

Range = tuple[int, int]
"""The first and the last value, both included. For times: minutes since midnight, the last one excluded."""
Ranges = tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """A set of minutes; a part that is None holds always."""

    times: Ranges | None = None
    weekdays: Ranges | None = None
    days_of_month: Ranges | None = None
    months: Ranges | None = None
    years: Ranges | None = None
    location: ZoneInfo = UTC_ZONE

    def contains(self, instant: datetime) -> bool:
        """Whether *instant* lies in it."""
        local = instant.astimezone(self.location)
        minute = local.hour * 60 + local.minute
        return (
            (self.times is None or any(start <= minute < end for start, end in self.times))
            and (self.days_of_month is None or any(_in_month(r, local) for r in self.days_of_month))
            and _within(self.months, local.month)
            and _within(self.weekdays, (local.weekday() + 1) % 7)
            and _within(self.years, local.year)
        )


def _within(ranges: Ranges | None, value: int) -> bool:
    return ranges is None or any(first <= value <= last for first, last in ranges)


def _in_month(days: Range, local: datetime) -> bool:
    """Whether *local* is on one of *days*, where negative ones count from the end of its month."""
    length = calendar.monthrange(local.year, local.month)[1]
    first, last = (day if day > 0 else length + day + 1 for day in days)
    if first > length:
        return False
    return max(-length, first) <= local.day <= min(length, last)


def contained(intervals: Iterable[Interval], instant: datetime) -> bool:
    """Whether any of *intervals* holds *instant*."""
    return any(interval.contains(instant) for interval in intervals)


def first_after(
    is_wanted: Callable[[datetime], bool], intervals: Iterable[Interval], instant: datetime, most: timedelta
) -> datetime | None:
    """Return the first minute after *instant*, up to *most* later, at which *is_wanted* is true; None if there is none.

    What *is_wanted* says must change with *intervals* alone. They begin and end at the minutes of the day that they
    name, at midnight, or when the clocks of their zone are changed, which is at a full or half hour.
    """
    end = instant + most
    candidates = {end}
    for interval in intervals:
        minutes = {0, *(minute for times in interval.times or () for minute in times)}
        day = instant.astimezone(interval.location).date()
        while (midnight := datetime.combine(day, time(), interval.location)).astimezone(UTC) <= end:
            candidates |= {(midnight + timedelta(minutes=minute)).astimezone(UTC) for minute in minutes}
            day += timedelta(days=1)
    half_hour = instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while half_hour <= end:
        candidates.add(half_hour)
        half_hour += timedelta(minutes=30)
    return next((at for at in sorted(candidates) if instant < at <= end and is_wanted(at)), None)


# -- what is written ----------------------------------------------------------------------------------------


def parse_days(text: str) -> Range:
    """Return the days of the week from ``monday`` or ``monday:friday``; Sunday is the first.

    Raises:
        ValueError: it is neither.
    """
    return _range(text, lambda word: _named(word, DAYS, "day of the week", 0), "monday:friday")


def parse_months(text: str) -> Range:
    """Return the months from ``may``, ``5``, ``may:august`` or ``5:8``.

    Raises:
        ValueError: it is none of them.
    """
    return _range(text, lambda word: _named(word, MONTHS, "month", 1), "may:august or 5:8")


def parse_years(text: str) -> Range:
    """Return the years from ``2026`` or ``2026:2028``.

    Raises:
        ValueError: it is neither.
    """
    return _range(text, lambda word: _number(word, 1, 9999, "year"), "2026:2028")


def parse_days_of_month(text: str) -> Range:
    """Return the days of the month from ``1``, ``1:5``, ``-1`` (the last) or ``-3:-1``.

    Raises:
        ValueError: it is none of them, or never holds a day.
    """
    words = text.split(":")
    if len(words) > 2:
        raise ValueError(f'"{text}" is not a range; write 1:5 or -3:-1')
    first, last = (_number(word, -31, 31, "day of the month") for word in (words[0], words[-1]))
    if not first or not last:
        raise ValueError(f'"{text}": 0 is not a day of the month; it has 1 to 31, or -31 to -1 from its end')
    if first < 0 < last:
        raise ValueError(f'"{text}": the end must be negative when the start is')
    if (30 + first if first < 0 else first) > (30 + last if last < 0 else last):
        raise ValueError(f'"{text}" ends before it starts')
    return first, last


def _range(text: str, value: Callable[[str], int], example: str) -> Range:
    words = text.split(":")
    if len(words) > 2:
        raise ValueError(f'"{text}" is not a range; write {example}')
    first, last = value(words[0]), value(words[-1])
    if first > last:
        raise ValueError(f'"{text}" ends before it starts')
    return first, last


def _named(word: str, names: tuple[str, ...], what: str, base: int) -> int:
    lowered = word.strip().lower()
    if lowered in names:
        return names.index(lowered) + base
    number = lowered.lstrip("0")
    if (
        base
        and lowered.isascii()
        and lowered.isdecimal()
        and len(number) < 3
        and 1 <= int(lowered) <= len(names)
    ):
        return int(number)
    raise ValueError(f'"{word}" is not a {what}; write {names[0]}, ... or {names[-1]}')


def _number(word: str, least: int, most: int, what: str) -> int:
    stripped = word.strip()
    digits = stripped.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 4 and least <= int(stripped) <= most):
        raise ValueError(f'"{word}" is not a {what}')
    return int(stripped)
