"""Who is on call, drawn as bars and listed by day, in the local time of each schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from notifier.oncall.schedules import Schedule, Shift
from notifier.web.pages.moments import spelled
from notifier.web.pages.words import ENGLISH, Words

WEEKS = 4
"""How many weeks of a schedule are drawn."""

_WEEK_WIDTH = 700
_COLOURS = 8
_LETTER_WIDTH = 8.5


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a shift within a week, of that *number* in the schedule; *kind* is as that of the piece."""

    number: int
    x: float
    width: float
    kind: str
    colour: str
    name: str
    label: str
    is_now: bool


@dataclass(frozen=True, slots=True)
class DayPiece:
    """A piece of a shift within a day, of that *number* in the schedule; *time* is empty if it is the whole day."""

    number: int
    kind: str
    colour: str
    name: str
    time: str
    is_now: bool


@dataclass(frozen=True, slots=True)
class Day:
    """A day, for narrow screens."""

    name: str
    is_today: bool
    pieces: tuple[DayPiece, ...]


@dataclass(frozen=True, slots=True)
class Week:
    """A week of the chart; *now* is the position of the present."""

    name: str
    marks: tuple[tuple[float, str], ...]
    """Where each day begins, and its name."""
    bars: tuple[Bar, ...]
    days: tuple[Day, ...]
    now: float | None


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a shift in words: who, from when to when, and how long.

    *kind* is shift or gap, followed by ``override`` if it is one.
    """

    kind: str
    who: str
    span: str
    lasted: str


@dataclass(frozen=True, slots=True)
class ShownSchedule:
    """A schedule in the chart, and the pieces that are drawn."""

    name: str
    zone: str
    weeks: tuple[Week, ...]
    gaps: int
    pieces: tuple[Piece, ...]


def drawn(
    schedule: Schedule, colours: Mapping[str, int], now: datetime, skipped: int = 0, words: Words = ENGLISH
) -> ShownSchedule:
    """Return four weeks of *schedule*, by the clocks of its zone: from this one on, or *skipped* weeks later."""
    zone = schedule.zone
    monday = now.astimezone(zone).date()
    monday += timedelta(weeks=skipped) - timedelta(days=monday.weekday())
    edges = [
        datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        for day in (monday + timedelta(days=number) for number in range(7 * WEEKS + 1))
    ]
    shifts = schedule.shifts(edges[0], edges[-1])
    shifts[0] = schedule.at(edges[0])  # the first and the last one at full length
    shifts[-1] = schedule.at(shifts[-1].start)
    pieces = [piece for shift in shifts for piece in _pieces(shift, schedule)]
    drawing = _Drawing(zone, colours, now, words)
    weeks = tuple(drawing.week(edges[7 * n : 7 * n + 8], pieces) for n in range(WEEKS))
    return ShownSchedule(
        schedule.name,
        str(zone),
        weeks,
        sum(shift.contact is None for shift in shifts if shift.end > now),
        tuple(drawing.in_words(piece, kind) for piece, kind in pieces),
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


@dataclass(frozen=True, slots=True)
class _Drawing:
    """How shifts are drawn: the clocks, the colours of contacts, the present, and the language."""

    zone: ZoneInfo
    colours: Mapping[str, int]
    now: datetime
    words: Words

    def week(self, edges: Sequence[datetime], pieces: Sequence[tuple[Shift, str]]) -> Week:
        """Return the week whose days begin and end at *edges*."""
        start, end = edges[0], edges[-1]
        bars = []
        for number, (piece, kind) in enumerate(pieces):
            if piece.end <= start or piece.start >= end:
                continue
            x, last = _place(max(piece.start, start), edges), _place(min(piece.end, end), edges)
            name, colour = self._named(piece)
            marked = f"{name} ({self.words('override')})" if "override" in kind else name
            label = f"{marked}, {self._span(piece)}"
            room = int((last - x - 10) / _LETTER_WIDTH)
            brief = self.words("gap") if piece.contact is None else f"{name[: max(0, room - 1)]}…"
            fitting = (text for text in (marked, name, brief) if len(text) <= room and text != "…")
            inscription = next(fitting, "")
            is_now = piece.start <= self.now < piece.end
            bars.append(Bar(number, x, round(last - x, 2), kind, colour, inscription, label, is_now))
        marks = tuple((_place(edge, edges), self._day(edge, is_brief=edge != start)) for edge in edges[:-1])
        days = tuple(self._day_row(first, last, pieces) for first, last in pairwise(edges))
        local = start.astimezone(self.zone)
        name = f"{local.day} {self.words.month(local)}"
        return Week(
            name, marks, tuple(bars), days, _place(self.now, edges) if start <= self.now < end else None
        )

    def in_words(self, piece: Shift, kind: str) -> Piece:
        """Return *piece* in words."""
        name, _ = self._named(piece)
        return Piece(kind, name, self._span(piece), spelled(piece.end - piece.start, self.words))

    def _span(self, piece: Shift) -> str:
        start, end = self._moment(piece.start), self._moment(piece.end)
        return self.words("from %(start)s to %(end)s", start=start, end=end)

    def _day_row(self, start: datetime, end: datetime, pieces: Sequence[tuple[Shift, str]]) -> Day:
        shown = []
        for number, (piece, kind) in enumerate(pieces):
            first, last = max(piece.start, start), min(piece.end, end)
            if first >= last:
                continue
            name, colour = self._named(piece)
            from_, to = f"{first.astimezone(self.zone):%H:%M}", f"{last.astimezone(self.zone):%H:%M}"
            if first == start and last == end:
                time = ""
            elif first == start:
                time = self.words("until %(time)s", time=to)
            elif last == end:
                time = self.words("from %(time)s", time=from_)
            else:
                time = self.words("%(start)s to %(end)s", start=from_, end=to)
            shown.append(DayPiece(number, kind, colour, name, time, first <= self.now < last))
        return Day(self._day(start), start <= self.now < end, tuple(shown))

    def _named(self, piece: Shift) -> tuple[str, str]:
        name = piece.contact or self.words("nobody")
        return name, f"c{self.colours.get(piece.contact or '', 0) % _COLOURS}"

    def _day(self, instant: datetime, *, is_brief: bool = False) -> str:
        local = instant.astimezone(self.zone)
        month = "" if is_brief and local.day != 1 else f" {self.words.month(local)}"
        return f"{self.words.weekday(local)[:3]} {local.day}{month}"

    def _moment(self, instant: datetime) -> str:
        return f"{self._day(instant)} {instant.astimezone(self.zone):%H:%M}"


def _place(instant: datetime, edges: Sequence[datetime]) -> float:
    """Return the x position of *instant*; all days have the same width, also those of 23 or 25 hours."""
    day = max(
        number for number, edge in enumerate(edges) if edge <= instant
    )  # in UTC: a day may have 25 hours
    if day == len(edges) - 1:
        return float(_WEEK_WIDTH)
    part = (instant - edges[day]) / (edges[day + 1] - edges[day])
    return round((day + part) * _WEEK_WIDTH / 7, 2)
