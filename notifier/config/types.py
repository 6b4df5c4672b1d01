"""The values that `notifier.yml` is made of, as types that read them and say what is wrong with them."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from notifier.alertmanager import time_intervals as intervals
from notifier.alertmanager.durations import PATTERN, format_duration, parse_duration
from notifier.alertmanager.matchers import Matcher, MatcherError, parse_matchers
from notifier.config.source import kind_of


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value:
        raise ValueError(f"{value} has no unit; write {value}s, {value}m or {value}h")
    return parse_duration("0" if value == 0 else _text(value))


def _positive_duration(value: Any) -> Any:
    duration = _duration(value)
    if not duration:
        raise ValueError("must be longer than 0s")
    return duration


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, is {kind_of(value)}")
    return value


_SIZE = re.compile(r"(\d+) ?([KMG]i?B|B)", re.ASCII)
_LOCALTIME = "/etc/localtime"
_UNITS = {"B": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def _size(value: Any) -> Any:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match is None:
            raise ValueError(f'"{value}" is not a size; write a number of bytes, 512KiB or 4MiB')
        return int(match[1]) * _UNITS[match[2][0]]
    return value


def _time_zone(value: Any) -> Any:
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(_text(value))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ValueError) and "must be a text" in str(error):
            raise
        raise ValueError(f'"{value}" is not a time zone; write an IANA name such as Europe/Paris') from None


def _location(value: Any) -> Any:
    """Read the ``location`` of a time interval, as Alertmanager does: ``Local`` is the zone of this machine."""
    if value is None or value == "":
        return ZoneInfo("UTC")
    return _zone_of_the_machine() if value == "Local" else _time_zone(value)


def _zone_of_the_machine() -> ZoneInfo:
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name:
        _, _, name = os.path.realpath(_LOCALTIME).partition("zoneinfo/")
    try:
        return ZoneInfo(name) if name else ZoneInfo("UTC")
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f'"Local" is not known here: the zone "{name}" is none; write an IANA name'
        ) from None


def _matchers(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list, is {kind_of(value)}; write ['severity=\"critical\"']")
    matchers: list[Matcher] = []
    for item in value:
        if isinstance(item, Matcher):
            matchers.append(item)
            continue
        try:
            matchers += parse_matchers(_text(item))
        except MatcherError as error:
            raise ValueError(f"in {item!r}: {error}") from None
    return tuple(matchers)


def _listen_address(value: Any) -> Any:
    host, colon, port = _text(value).rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not bracketed):
        raise ValueError(f'"{value}" is not an address; write 127.0.0.1:9876, :9876 or [::1]:9876')
    return value


def _storage_url(value: Any) -> Any:
    scheme, _, rest = _text(value).partition(":")
    if scheme in ("postgresql", "postgres"):
        return _postgresql_url(f"postgresql:{rest}")
    if scheme != "sqlite" or not rest.startswith("///") or not rest.strip("/"):
        raise ValueError(
            f'"{mask_password(value)}" is not a storage URL; write sqlite:///var/lib/notifier/notifier.db'
            " or postgresql://user:password@host/database"
        )
    return value


def mask_password(url: str) -> str:
    """Return *url* without the password that it may hold, also where it is no valid URL: nothing before its last @."""
    known_user = re.sub(r"(?s)^(\w+://[^:/@\s]*:).*@", r"\1•••@", url)
    return known_user if known_user != url else re.sub(r"(?s)^.*@", "•••@", url)


def _postgresql_url(value: str) -> str:
    try:
        url = make_url(value)
        port = url.port
    except (ArgumentError, ValueError):
        url, port = None, None
    if url is None or not (url.host or "host" in url.query) or not url.database or port == 0:
        raise ValueError(
            f'"{mask_password(value)}" is not a PostgreSQL URL; write postgresql://user:password@host/database'
        )
    if importlib.util.find_spec("psycopg") is None:
        raise ValueError(
            "PostgreSQL needs a driver; run in Notifier's environment: pip install 'psycopg[binary]'"
        )
    return value


_REGIONS = ("ovh-eu", "ovh-ca", "ovh-us")


def _endpoint(value: Any) -> Any:
    if _text(value) in _REGIONS:
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f'"{mask_password(value)}" is no endpoint; write {", ".join(_REGIONS)} or the base URL of an API'
        )
    return value.rstrip("/")


def _http_url(value: Any) -> Any:
    parts = urlsplit(_text(value))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'"{mask_password(value)}" is no URL; write http://... or https://...')
    return value.rstrip("/")


def _sender(value: Any) -> Any:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9 ._-]{1,11}", text) or not re.search("[A-Za-z]", text):
        raise ValueError(
            f'"{text}" is no sender; it has up to 11 letters and digits, not digits alone '
            "(a number goes under virtual_number)"
        )
    return text


def _region(value: Any) -> Any:
    if not re.fullmatch("[A-Z]{2}", _text(value)):
        raise ValueError(f'"{value}" is not a region; write two capital letters such as FR')
    return value


_HIGHEST_COST = 14


def _bcrypt_hash(value: Any) -> Any:
    if not re.fullmatch(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}", _text(value)):
        raise ValueError("is not a bcrypt hash; make one with: htpasswd -nbBC 10 '' PASSWORD | tr -d ':\\n'")
    if int(value[4:6]) > _HIGHEST_COST:
        raise ValueError(
            f"has cost {value[4:6]}: each login would take seconds; make one with cost 10 to {_HIGHEST_COST}"
        )
    return value


def count(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number, is true or false")
    return value


_TEXT = {"type": "string"}
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]
PositiveDuration = Annotated[
    timedelta,
    BeforeValidator(_positive_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=1024),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1024}, _TEXT]}),
]
TimeZone = Annotated[
    ZoneInfo, BeforeValidator(_time_zone), PlainSerializer(str, when_used="json"), WithJsonSchema(_TEXT)
]
Location = Annotated[
    ZoneInfo, BeforeValidator(_location), PlainSerializer(str, when_used="json"), WithJsonSchema(_TEXT)
]
Matchers = Annotated[
    tuple[Matcher, ...],
    BeforeValidator(_matchers),
    PlainSerializer(lambda matchers: [str(m) for m in matchers], when_used="json"),
    WithJsonSchema({"type": "array", "items": _TEXT}),
]
ListenAddress = Annotated[str, BeforeValidator(_listen_address)]
StorageUrl = Annotated[str, BeforeValidator(_storage_url)]
Endpoint = Annotated[str, BeforeValidator(_endpoint)]
HttpUrl = Annotated[str, BeforeValidator(_http_url)]
SenderName = Annotated[str, BeforeValidator(_sender)]
Region = Annotated[str, BeforeValidator(_region)]
BcryptHash = Annotated[str, BeforeValidator(_bcrypt_hash)]
LONGEST_NAME = 200
"""Characters that a name may have."""
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\s\x00-\x1f][^\x00-\x1f]*$")]
"""A name may hold ``/``: the operator for Prometheus names receivers and intervals ``namespace/name/receiver``."""
Language = Annotated[str, Field(pattern="^[a-z]{2}$")]


# -- times -----------------------------------------------------------------------------------------------

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
        """Return what the clocks of *zone* show then, naive."""
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
    return value if isinstance(value, Moment) else parse_moment(_text(value))


def _shift_length(value: Any) -> Any:
    length = _positive_duration(value)
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
        first, colon, last = _text(item).partition(":")
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


_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_PART_OF_DAY = {
    "anyOf": [
        _TEXT,
        {"type": "object", "properties": {"start_time": _TEXT, "end_time": _TEXT}},
    ]
}
LocalTime = Annotated[
    Moment,
    BeforeValidator(_moment),
    PlainSerializer(lambda moment: moment.written.isoformat(), when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
ShiftLength = Annotated[
    timedelta,
    BeforeValidator(_shift_length),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]
Days = Annotated[tuple[int, ...], BeforeValidator(_days), WithJsonSchema(_TEXTS)]
DayHours = Annotated[
    tuple[tuple[time, time], ...],
    BeforeValidator(_hours),
    WithJsonSchema({"anyOf": [_PART_OF_DAY, {"type": "array", "items": _PART_OF_DAY}]}),
]


# -- time intervals --------------------------------------------------------------------------------------


def _ranges(parse: Callable[[str], intervals.Range]) -> Callable[[Any], Any]:
    def validate(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be a list, is {kind_of(value)}")
        return tuple(
            item if isinstance(item, tuple) else parse(str(item) if isinstance(item, int) else _text(item))
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


_RANGE_LIST = {"type": "array", "items": {"anyOf": [_TEXT, {"type": "integer"}]}}
Times = Annotated[
    intervals.Ranges,
    BeforeValidator(_times),
    WithJsonSchema({"type": "array", "items": {"type": "object", "required": ["start_time", "end_time"],
                    "properties": {"start_time": _TEXT, "end_time": _TEXT}}}),
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


class FromFile:
    """Marks a key that may also be given as the name of a file, ``x_file``. Its value is shown to nobody."""


FROM_FILE = FromFile()
