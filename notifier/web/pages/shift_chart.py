"""Who is on call, drawn as bars in the local time of each schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from notifier.oncall.schedules import Schedule, Shift

WEEKS = 4
"""How many weeks of a schedule are drawn."""

_WEEK_WIDTH = 350
_COLOURS = 8
_LETTER_WIDTH = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a shift within a week. *kind* is shift or gap, followed by ``override`` if it is one."""

    x: float
    width: float
    kind: str
    colour: str
    name: str
    label: str


@dataclass(frozen=True, slots=True)
class DayMark:
    """Where a day begins."""

    x: float
    name: str


@dataclass(frozen=True, slots=True)
class Week:
    """A week of the chart; *now* is the position of the present."""

    name: str
    days: tuple[DayMark, ...]
    bars: tuple[Bar, ...]
    now: float | None


@dataclass(frozen=True, slots=True)
class ListedShift:
    """A shift in words."""

    text: str
    is_gap: bool


@dataclass(frozen=True, slots=True)
class ShownSchedule:
    """A schedule in the chart."""

    name: str
    zone: str
    weeks: tuple[Week, ...]
    gaps: int
    shifts: tuple[ListedShift, ...]


def drawn(schedule: Schedule, colours: Mapping[str, int], now: datetime) -> ShownSchedule:
    """Return the next weeks of *schedule*, from the Monday of this one on, by the clocks of its zone."""
    zone = schedule.zone
    monday = now.astimezone(zone).date()
    monday -= timedelta(days=monday.weekday())
    edges = [
        datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        for day in (monday + timedelta(days=number) for number in range(7 * WEEKS + 1))
    ]
    shifts = schedule.shifts(edges[0], edges[-1])
    pieces = [piece for shift in shifts for piece in _pieces(shift, schedule)]
    weeks = tuple(_week(edges[7 * n : 7 * n + 8], pieces, zone, colours, now) for n in range(WEEKS))
    ahead = [shift for shift in shifts if shift.end > now]
    return ShownSchedule(
        schedule.name,
        str(zone),
        weeks,
        sum(shift.contact is None for shift in ahead),
        tuple(ListedShift(_described(shift, zone), shift.contact is None) for shift in ahead),
    )


def _pieces(shift: Shift, schedule: Schedule) -> Iterable[tuple[Shift, str]]:
    """Yield *shift*, divided at the start and end of overrides, with the kind of each piece."""
    spans = [
        (max(one.start, shift.start), min(one.end, shift.end))
        for one in schedule.overrides
        if one.contact == shift.contact and one.start < shift.end and one.end > shift.start
    ]
    edges = sorted({shift.start, shift.end, *(edge for span in spans for edge in span)})
    for start, end in pairwise(edges):
        is_override = any(first <= start and end <= last for first, last in spans)
        kind = "gap" if shift.contact is None else "shift"
        yield Shift(shift.schedule, shift.contact, start, end), f"{kind} override" if is_override else kind


def _week(
    edges: Sequence[datetime],
    pieces: Iterable[tuple[Shift, str]],
    zone: ZoneInfo,
    colours: Mapping[str, int],
    now: datetime,
) -> Week:
    start, end = edges[0], edges[-1]

    def place(instant: datetime) -> float:
        """Return the x position of *instant*; all days have the same width, also those of 23 or 25 hours."""
        day = max(
            number for number, edge in enumerate(edges) if edge <= instant
        )  # in UTC, so that a day may have 25 hours
        if day == len(edges) - 1:
            return float(_WEEK_WIDTH)
        part = (instant - edges[day]) / (edges[day + 1] - edges[day])
        return round((day + part) * _WEEK_WIDTH / 7, 2)

    bars = []
    for piece, kind in pieces:
        if piece.end <= start or piece.start >= end:
            continue
        x, last = place(max(piece.start, start)), place(min(piece.end, end))
        name = piece.contact or "nobody"
        number = colours.get(name, 0) % _COLOURS
        label = _described(piece, zone) + (" (override)" if "override" in kind else "")
        inscription = name if len(name) * _LETTER_WIDTH < last - x - 4 else ""
        bars.append(Bar(x, round(last - x, 2), kind, f"c{number}", inscription, label))
    days = tuple(DayMark(place(edge), f"{edge.astimezone(zone):%a %d}") for edge in edges[:-1])
    return Week(
        f"{start.astimezone(zone):%d %B}", days, tuple(bars), place(now) if start <= now < end else None
    )


def _described(shift: Shift, zone: ZoneInfo) -> str:
    start, end = shift.start.astimezone(zone), shift.end.astimezone(zone)
    return f"{shift.contact or 'nobody'}, {start:%a %d %b %H:%M} to {end:%a %d %b %H:%M}"
