"""Types of times in the configuration: moments, shifts, days, hours, and the ranges of time intervals."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from notifier.alertmanager import time_intervals as intervals
from notifier.config.source import kind_of
from notifier.config.types import TEXT_SCHEMA, WrittenDuration, positive_duration, written_text

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_YEARS = range(1971, 2200)

_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|(24):(00)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """A date and time as written: with its offset from UTC, or by the clocks of a zone that is named elsewhere."""

    written: datetime

    def instant(self, zone: ZoneInfo) -> datetime:
        """Return the instant (UTC); without an offset of its own, by the clocks of *zone*."""
        aware = self.written if self.written.tzinfo else self.written.replace(tzinfo=zone)
        return aware.astimezone(UTC)

    def wall(self, zone: ZoneInfo) -> datetime:
        """Return the local time in *zone*, naive."""
        return (self.written.astimezone(zone) if self.written.tzinfo else self.written).replace(tzinfo=None)


def parse_moment(text: str) -> Moment:
    """Return the date and time that *text* names: ``2026-01-05T09:00``, with an offset or without.

    Raises:
        ValueError: it names none, or one that no calendar of ours reaches.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'"{text}" is not a date and time; write 2026-01-05T09:00') from None
    if moment.year not in _YEARS:
        raise ValueError(f'"{text}" is not within the years {_YEARS[0]} to {_YEARS[-1]}')
    return Moment(moment)


def _moment(value: Any) -> Any:
    return value if isinstance(value, Moment) else parse_moment(written_text(value))


def _shift_length(value: Any) -> Any:
    length = positive_duration(value)
    if length % timedelta(hours=1):
        raise ValueError(f'"{value}" is not a number of hours, days or weeks; write 12h, 1d or 1w')
    return length


def _weekday(name: str) -> int:
    if name.lower() not in WEEKDAYS:
        raise ValueError(f'"{name}" is not a day; write monday, or monday:friday')
    return WEEKDAYS.index(name.lower())


def _days(value: Any) -> Any:
    days: set[int] = set()
    for item in [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]:
        first, colon, last = written_text(item).partition(":")
        begin = _weekday(first.strip())
        end = _weekday(last.strip()) if colon else begin
        days |= {(begin + n) % 7 for n in range((end - begin) % 7 + 1)}
    if not days:
        raise ValueError("must name a day; leave it out for all days")
    return tuple(sorted(days))


def clock_minutes(text: str) -> int:
    """Return the minutes since midnight of *text*, from 00:00 to 24:00.

    Raises:
        ValueError: it is no such time.
    """
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a time; write it as 09:00, up to 24:00')
    return int(match[1] or match[3]) * 60 + int(match[2] or match[4])


def _day_hours(item: Any) -> tuple[time, time]:
    if isinstance(item, str):
        start, dash, end = (part.strip() for part in item.partition("-"))
        if not dash:
            raise ValueError(f'"{item}" is not a part of the day; write 09:00-17:00')
    elif isinstance(item, dict) and set(item) in ({"start_time", "end_time"}, {"start", "end"}):
        start, end = (str(item.get(f"{name}_time", item.get(name))) for name in ("start", "end"))
    else:
        raise ValueError(
            "is not a part of the day; write 09:00-17:00, or {start_time: '09:00', end_time: '17:00'}"
        )
    first, last = clock_minutes(start), clock_minutes(end)
    if first % 1440 == last % 1440 and (first, last) != (0, 1440):
        raise ValueError(f"begins and ends at {start}; leave hours out for the whole day")
    return tuple(time(minutes // 60 % 24, minutes % 60) for minutes in (first, last))  # type: ignore[return-value]


def _hours(value: Any) -> Any:
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise ValueError("must name a part of the day; leave it out for the whole day")
    return tuple(item if isinstance(item, tuple) else _day_hours(item) for item in items)


_TEXTS = {"anyOf": [TEXT_SCHEMA, {"type": "array", "items": TEXT_SCHEMA}]}

_PART_OF_DAY = {
    "anyOf": [
        TEXT_SCHEMA,
        {"type": "object", "properties": {"start_time": TEXT_SCHEMA, "end_time": TEXT_SCHEMA}},
    ]
}

LocalTime = Annotated[
    Moment,
    BeforeValidator(_moment),
    PlainSerializer(lambda moment: moment.written.isoformat(), when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]

ShiftLength = Annotated[WrittenDuration, BeforeValidator(_shift_length)]

Days = Annotated[tuple[int, ...], BeforeValidator(_days), WithJsonSchema(_TEXTS)]

DayHours = Annotated[
    tuple[tuple[time, time], ...],
    BeforeValidator(_hours),
    WithJsonSchema({"anyOf": [_PART_OF_DAY, {"type": "array", "items": _PART_OF_DAY}]}),
]


def _ranges(parse: Callable[[str], intervals.Range]) -> Callable[[Any], Any]:
    def validate(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be a list, is {kind_of(value)}")
        return tuple(
            item
            if isinstance(item, tuple)
            else parse(str(item) if isinstance(item, int) else written_text(item))
            for item in value
        )

    return validate


def _times(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(
            f"must be a list, is {kind_of(value)}; write [{{start_time: '09:00', end_time: '17:00'}}]"
        )
    return tuple(item if isinstance(item, tuple) else _time_range(item) for item in value)


def _time_range(item: Any) -> intervals.Range:
    if not isinstance(item, dict) or set(item) != {"start_time", "end_time"}:
        raise ValueError("must hold start_time and end_time; write {start_time: '09:00', end_time: '17:00'}")
    start, end = clock_minutes(str(item["start_time"])), clock_minutes(str(item["end_time"]))
    if start >= end:
        raise ValueError(
            f"start_time {item['start_time']} is not before end_time {item['end_time']}; "
            "write two ranges for what passes midnight"
        )
    return start, end


_RANGE_LIST = {"type": "array", "items": {"anyOf": [TEXT_SCHEMA, {"type": "integer"}]}}

Times = Annotated[
    intervals.Ranges,
    BeforeValidator(_times),
    WithJsonSchema({"type": "array", "items": {"type": "object", "required": ["start_time", "end_time"],
                    "properties": {"start_time": TEXT_SCHEMA, "end_time": TEXT_SCHEMA}}}),
]  # fmt: skip

Weekdays = Annotated[
    intervals.Ranges, BeforeValidator(_ranges(intervals.parse_days)), WithJsonSchema(_RANGE_LIST)
]

DaysOfMonth = Annotated[
    intervals.Ranges, BeforeValidator(_ranges(intervals.parse_days_of_month)), WithJsonSchema(_RANGE_LIST)
]

Months = Annotated[
    intervals.Ranges, BeforeValidator(_ranges(intervals.parse_months)), WithJsonSchema(_RANGE_LIST)
]

Years = Annotated[
    intervals.Ranges, BeforeValidator(_ranges(intervals.parse_years)), WithJsonSchema(_RANGE_LIST)
]
