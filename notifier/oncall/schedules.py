"""Who is on call at an instant, and until when.

A schedule is made of layers: rotations, or the events of a calendar; a later layer takes precedence over an earlier
one, and overrides over all. Hand-overs are at wall-clock times of the schedule's zone. A time that the clocks skip is
taken by the offset before the change, one that comes twice is its first occurrence, as RFC 5545 (3.3.5) has it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:  # the process that reads calendars needs no configuration
    from notifier.config.model import Configuration, RotationConfig, ScheduleConfig

COVER = timedelta(days=90)
"""How far ahead `notifier check` looks for gaps."""

_SOON = timedelta(days=14)
"""How far ahead metrics show gaps."""
_DAY = timedelta(days=1)
_SLACK = timedelta(days=2)
"""More than a zone's offset, and the change of one, ever move a wall-clock time."""
_LOOK_AROUND = timedelta(days=7)
_FARTHEST = timedelta(days=800)


@dataclass(frozen=True, slots=True)
class Shift:
    """That *contact* is on call from *start* up to *end* (UTC); None is a gap."""

    schedule: str
    contact: str | None
    start: datetime
    end: datetime


def shift_json(shift: Shift) -> dict[str, str | None]:
    """Return *shift* as commands and the API print it, with times as RFC 3339 in UTC."""
    start, end = (f"{instant:%Y-%m-%dT%H:%M:%SZ}" for instant in (shift.start, shift.end))
    return {"schedule": shift.schedule, "contact": shift.contact, "start": start, "end": end}


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of a layer: *contact* from *start* up to *end*. *turn* is its index in the layer."""

    start: datetime
    end: datetime
    contact: str | None
    turn: int = 0


def instant_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant (UTC) at which the clocks of *zone* show *wall* (naive)."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def wall_of(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return the local time in *zone* at *instant*, naive."""
    return instant.astimezone(zone).replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of the day, from *start* up to *end*; past midnight when *end* is not after *start*."""

    start: time
    end: time

    def on(self, day: date) -> tuple[datetime, datetime]:
        """Return the wall-clock times between which it lies when it begins on *day*."""
        last = day if self.end > self.start else day + _DAY
        return datetime.combine(day, self.start), datetime.combine(last, self.end)


ALL_DAY = Hours(time(), time())


@dataclass(frozen=True, slots=True)
class Rotation:
    """Contacts that take turns from *start* (wall-clock, naive) on, each for *every*.

    *days* (0 is Monday) and *hours* restrict when the layer applies at all; hours belong to the day on
    which they begin. They do not change whose turn it is.
    """

    zone: ZoneInfo
    start: datetime
    every: timedelta
    contacts: tuple[str, ...]
    days: frozenset[int] = frozenset(range(7))
    hours: tuple[Hours, ...] = (ALL_DAY,)

    def turns(self, start: datetime, end: datetime) -> Iterator[Turn]:
        """Return the turns that meet the time from *start* up to *end*, in order."""
        if self.hours == (ALL_DAY,) and len(self.days) == 7:
            yield from self._handovers(start, end)
            return
        windows = list(self._windows(start, end))
        for turn in self._handovers(start, end):
            for begins, ends in windows:
                first, last = max(turn.start, begins), min(turn.end, ends)
                if first < last:
                    yield replace(turn, start=first, end=last)

    def _handovers(self, start: datetime, end: datetime) -> Iterator[Turn]:
        number = max(0, (wall_of(start - _SLACK, self.zone) - self.start) // self.every)
        try:
            begins = instant_of(self.start + number * self.every, self.zone)
            while begins < end:
                number += 1
                ends = instant_of(self.start + number * self.every, self.zone)
                if ends > start and ends > begins:
                    yield Turn(begins, ends, self.contacts[(number - 1) % len(self.contacts)], number - 1)
                begins = max(begins, ends)
        except OverflowError:  # past the year 9999
            return

    def _windows(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the periods to which days and hours restrict the layer, adjacent ones joined."""
        day, last = wall_of(start - _SLACK, self.zone).date(), wall_of(end + _DAY, self.zone).date()
        found: list[tuple[datetime, datetime]] = []
        while day <= last:
            if day.weekday() in self.days:
                for hours in self.hours:
                    begins, ends = hours.on(day)
                    found.append((instant_of(begins, self.zone), instant_of(ends, self.zone)))
            day += _DAY
        joined: tuple[datetime, datetime] | None = None
        for begins, ends in sorted(found):
            if joined is None or begins > joined[1]:
                if joined is not None:
                    yield joined
                joined = begins, ends
            else:
                joined = joined[0], max(joined[1], ends)
        if joined is not None:
            yield joined


class Calendar:
    """The events of an iCalendar; its last good copy is kept.

    Where events overlap, the one that began last counts.
    """

    def __init__(self, source: str) -> None:
        """Begin without events of the calendar at *source*, a file or URL."""
        self.source = source
        self.fetched_at: datetime | None = None
        self._turns: tuple[Turn, ...] = ()
        self._starts: tuple[datetime, ...] = ()

    def set_events(
        self, events: Iterable[tuple[datetime, datetime, str | None]], fetched_at: datetime
    ) -> None:
        """Replace the events (start, end, contact) of the calendar."""
        pieces = _topmost([[Turn(*event)] for event in sorted(events, key=itemgetter(0))])
        turns = tuple(replace(turn, turn=number) for number, (_, turn) in enumerate(pieces))
        self._turns, self._starts, self.fetched_at = turns, tuple(turn.start for turn in turns), fetched_at

    def turns(self, start: datetime, end: datetime) -> Iterator[Turn]:
        """Return the events that meet the time from *start* up to *end*, in order."""
        turns = self._turns
        for turn in turns[max(0, bisect_right(self._starts, start) - 1) :]:
            if turn.start >= end:
                return
            if turn.end > start:
                yield turn


@dataclass(frozen=True, slots=True)
class Schedule:
    """Layers of contacts who take turns, and overrides."""

    name: str
    zone: ZoneInfo
    layers: tuple[Rotation | Calendar, ...]
    overrides: tuple[Turn, ...] = ()
    calendar: Calendar | None = None
    """The calendar of the schedule, if it has one."""

    @classmethod
    def of(cls, written: ScheduleConfig, zone: ZoneInfo, calendar: Calendar | None = None) -> Schedule:
        """Return the schedule that the configuration describes, in *zone* unless it names its own."""
        zone = written.time_zone or zone
        rotations = tuple(_rotation(rotation, zone) for rotation in written.rotations)
        overrides = tuple(
            Turn(override.start.instant(zone), override.end.instant(zone), override.contact, number)
            for number, override in enumerate(written.overrides)
        )
        return cls(written.name, zone, rotations if calendar is None else (calendar,), overrides, calendar)

    def shifts(self, start: datetime, end: datetime) -> list[Shift]:
        """Return consecutive shifts from *start* up to *end*; a gap is a shift without a contact.

        What one layer takes over from another for the same contact is one shift. The first and the last
        are cut off at *start* and *end*.
        """
        stacked = [list(layer.turns(start, end)) for layer in self.layers]
        stacked += [
            [override] for override in self.overrides if override.end > start and override.start < end
        ]
        found: list[Shift] = []
        at, before = start, (-1, -1)
        for layer, turn in _topmost(stacked):
            begins, ends = max(turn.start, start), min(turn.end, end)
            if begins >= ends:
                continue
            if begins > at:
                _add(found, Shift(self.name, None, at, begins), is_handover=False)
            is_handover = before[0] == layer and before[1] != turn.turn
            _add(found, Shift(self.name, turn.contact, begins, ends), is_handover=is_handover)
            at, before = ends, (layer, turn.turn)
        if at < end:
            _add(found, Shift(self.name, None, at, end), is_handover=False)
        return found

    def at(self, instant: datetime) -> Shift:
        """Return who is on call at *instant*, since when and until when.

        Where nothing changes for two years, the shift is cut off there.
        """
        around = _LOOK_AROUND
        while True:
            shifts = self.shifts(instant - around, instant + around)
            number = bisect_right([shift.start for shift in shifts], instant) - 1
            if 0 < number < len(shifts) - 1 or around > _FARTHEST:
                return shifts[number]
            around *= 3

    def on_call(self, instant: datetime) -> str | None:
        """Return who is on call at *instant*; None in a gap."""
        return self.shifts(instant, instant + timedelta(microseconds=1))[0].contact

    def gaps(self, start: datetime, end: datetime) -> list[Shift]:
        """Return the gaps from *start* up to *end*."""
        return [shift for shift in self.shifts(start, end) if shift.contact is None]

    def contacts(self, start: datetime, end: datetime) -> list[str]:
        """Return everybody who is on call at some time from *start* up to *end*, in order."""
        return list(dict.fromkeys(s.contact for s in self.shifts(start, end) if s.contact is not None))


def _rotation(written: RotationConfig, zone: ZoneInfo) -> Rotation:
    return Rotation(
        zone,
        written.start.wall(zone),
        written.every,
        written.contacts,
        frozenset(written.days) if written.days is not None else frozenset(range(7)),
        tuple(Hours(*hours) for hours in written.hours) if written.hours is not None else (ALL_DAY,),
    )


def _add(shifts: list[Shift], new: Shift, *, is_handover: bool) -> None:
    """Add a shift, or extend the last one if it continues."""
    last = shifts[-1] if shifts else None
    if last is not None and last.contact == new.contact and (new.contact is None or not is_handover):
        shifts[-1] = replace(last, end=new.end)
    else:
        shifts.append(new)


def _topmost(stacked: Sequence[Sequence[Turn]]) -> Iterator[tuple[int, Turn]]:
    """Yield the turns that are in force, in order of time, each after the index of its layer; a later layer wins."""
    edges: list[tuple[datetime, bool, int, Turn]] = []
    for height, turns in enumerate(stacked):
        for turn in turns:
            edges += ((turn.start, True, height, turn), (turn.end, False, height, turn))
    covering: dict[int, Turn] = {}
    seen: tuple[int, Turn] | None = None
    since: datetime | None = None
    for now, together in groupby(sorted(edges, key=itemgetter(0)), key=itemgetter(0)):
        for _, begins, height, turn in together:
            if begins:
                covering[height] = turn
            elif covering.get(height) is turn:
                del covering[height]
        top = max(covering) if covering else None
        above = None if top is None else (top, covering[top])
        if above != seen:
            if seen is not None and since is not None and since < now:
                yield seen[0], replace(seen[1], start=since, end=now)
            seen, since = above, now


class Schedules:
    """All schedules, by their names."""

    def __init__(self, schedules: Iterable[Schedule] = ()) -> None:
        """Hold *schedules*."""
        self.by_name: Mapping[str, Schedule] = {schedule.name: schedule for schedule in schedules}

    @classmethod
    def of(cls, configuration: Configuration, calendars: dict[tuple[str, str], Calendar]) -> Schedules:
        """Return the schedules of *configuration*.

        *calendars* holds the calendars that schedules are kept in, by source and zone; those that it
        lacks are added.
        """
        zone, schedules = configuration.global_.time_zone, []
        for written in configuration.schedules:
            calendar = None
            if written.ics is not None:
                key = written.ics, str(written.time_zone or zone)
                calendar = calendars.setdefault(key, Calendar(written.ics))
            schedules.append(Schedule.of(written, zone, calendar))
        return cls(schedules)

    def now(self, instant: datetime) -> Iterator[tuple[str, str]]:
        """Yield who is on call at *instant*, as (schedule, contact); nothing for a gap."""
        for name, schedule in self.by_name.items():
            if (contact := schedule.on_call(instant)) is not None:
                yield name, contact

    def gaps(self, instant: datetime) -> dict[str, datetime]:
        """Return the start of the next gap after *instant* of each schedule, within two weeks."""
        found = {}
        for name, schedule in self.by_name.items():
            if gaps := schedule.gaps(instant, instant + _SOON):
                found[name] = gaps[0].start
        return found

    def __getitem__(self, name: str) -> Schedule:
        """Return the schedule of that name."""
        return self.by_name[name]
