"""What pages show, as values: made from what is stored and configured. Nothing is read or done here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from notifier.durations import brief_duration
from notifier.incidents import Incident, IncidentState, Kind
from notifier.schedules import Schedule, Shift
from notifier.store.incidents import HappenedEvent
from notifier.store.ledger import LedgerMessage
from notifier.store.schema import FAILED, MessageState

WEEKS = 4
"""How many weeks of a schedule are drawn."""
CHART_DAYS = 30
"""How many days the chart of messages is of."""

_WEEK_WIDTH = 350
_DAY = timedelta(days=1)
_COLOURS = 8
_BAR_HEIGHT = 50
_LETTER_WIDTH = 4
_REACHED = (MessageState.ACCEPTED, MessageState.DELIVERED)


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant, as people read it: to the minute, whole, and as the time from or to now."""

    iso: str
    whole: str
    short: str
    ago: str


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose clocks times are shown by, and when it is."""

    zone: ZoneInfo
    now: datetime

    def moment(self, instant: datetime) -> Moment:
        """Return *instant* as it is read."""
        local = instant.astimezone(self.zone)
        is_today = local.date() == self.now.astimezone(self.zone).date()
        away = max(self.now, instant) - min(self.now, instant)
        ago = "less than a minute" if away < timedelta(minutes=1) else brief_duration(away)
        return Moment(
            f"{instant:%Y-%m-%dT%H:%M:%SZ}",
            f"{local:%A %d %B %Y %H:%M:%S %Z}",
            f"{local:%H:%M}" if is_today else f"{local:%d %b %H:%M}",
            ago if instant <= self.now else f"in {ago}",
        )

    def maybe(self, instant: datetime | None) -> Moment | None:
        """Return *instant* as it is read, if there is one."""
        return None if instant is None else self.moment(instant)


# -- incidents ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShownIncident:
    """An incident on a page."""

    id: str
    number: int
    title: str
    severity: str
    state: str
    receiver: str
    group_key: str
    labels: tuple[tuple[str, str], ...]
    opened: Moment
    holder: str | None
    taken: Moment | None
    resolved: Moment | None
    next_step: Moment | None


def shown(incident: Incident, viewer: Viewer) -> ShownIncident:
    """Return *incident* as *viewer* sees it."""
    is_open = incident.state is IncidentState.OPEN
    is_taken = incident.state is IncidentState.ACKNOWLEDGED
    return ShownIncident(
        incident.id,
        incident.number,
        incident.title,
        incident.labels.get("severity", ""),
        incident.state.value,
        incident.receiver,
        incident.group_key,
        tuple(sorted(incident.labels.items())),
        viewer.moment(incident.opened_at),
        incident.acknowledged_by if is_taken else None,
        viewer.maybe(incident.acknowledged_at) if is_taken else None,
        viewer.maybe(incident.resolved_at),
        viewer.maybe(incident.due_at) if is_open else None,
    )


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a message: *kind* is good, bad or other."""

    kind: str
    text: str
    at: Moment | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: to the incident, or a message with its *text* and what became of it."""

    at: Moment
    kind: str
    what: str
    text: str | None = None
    lines: tuple[Fate, ...] = ()


_WAYS = {"sms": "by SMS", "api": "by the API", "web": "on its page"}
_HAPPENED = {
    "opened": "It began",
    "joined": "More alerts joined",
    "replaced": "What was acknowledged is over, and something else fires",
    "acknowledged": "Acknowledged",
    "escalated": "The next step was taken",
    "next": "Passed on",
    "reopened": "The acknowledgement lapsed",
    "repeated": "Told again",
    "resolved": "It is over",
    "muted": "Muted",
}
_KINDS = {
    Kind.PAGE: "Page",
    Kind.UPDATE: "Update",
    Kind.REMINDER: "Reminder",
    Kind.RESOLVED: "Resolution",
    Kind.NOTICE: "Notice",
    Kind.ANSWER: "Answer",
    Kind.DIGEST: "Digest",
    Kind.TEXT: "Text",
}


def story(
    events: Iterable[HappenedEvent],
    messages: Iterable[LedgerMessage],
    viewer: Viewer,
    mask: Mapping[str, str],
    hide: Callable[[str], str],
) -> list[Entry]:
    """Return what happened to an incident and whom it was told, in order.

    *mask* hides bare numbers, *hide* those in errors.
    """
    found: list[tuple[datetime, Entry]] = []
    for event in events:
        what = _HAPPENED.get(event.kind, event.kind)
        by = f" by {event.by}" if event.by else ""
        via = f" {_WAYS.get(event.via, event.via)}" if event.via else ""
        detail = f": {event.detail}" if event.detail else ""
        entry = Entry(viewer.moment(event.at), f"event {event.kind}", f"{what}{by}{via}{detail}")
        found.append((event.at, entry))
    for message in messages:
        to = message.contact or mask[message.phone]
        what = f"{_KINDS.get(Kind(message.kind), message.kind)} to {to}"
        fates = tuple(replace(fate, text=hide(fate.text)) for fate in fates_of(message, viewer))
        found.append(
            (
                message.created_at,
                Entry(viewer.moment(message.created_at), "message", what, message.text, fates),
            )
        )
    return [entry for _, entry in sorted(found, key=lambda one: one[0])]


def fates_of(message: LedgerMessage, viewer: Viewer) -> Iterable[Fate]:
    """Yield what became of *message*."""
    if message.merged_into is not None:
        yield Fate("other", "went out as part of a digest")
        return
    if message.ovh_id is not None and message.finished_at is not None:
        yield Fate("other", "accepted by OVHcloud", viewer.moment(message.finished_at))
    if message.delivered_at is not None:
        yield Fate("good", "on the phone", viewer.moment(message.delivered_at))
    elif message.state in FAILED:
        reason = f": {message.error}" if message.error else ""
        yield Fate("bad", f"{message.state}{reason}", viewer.maybe(message.receipt_at or message.finished_at))
    elif message.state == MessageState.WITHDRAWN:
        yield Fate("other", "not needed any more", viewer.maybe(message.finished_at))
    elif message.state == MessageState.QUEUED:
        waits = f" after {message.attempts} attempts: {message.error}" if message.error else ""
        yield Fate("other", f"waiting to be sent{waits}")
    elif message.state in (MessageState.SENDING, MessageState.UNSETTLED):
        yield Fate(
            "other", "being sent" if message.state == MessageState.SENDING else "asking OVHcloud for it"
        )


# -- who is on call -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a shift within a week. *kind* is shift, hole or override."""

    x: float
    width: float
    kind: str
    colour: str
    name: str
    told: str


@dataclass(frozen=True, slots=True)
class DayMark:
    """Where a day begins."""

    x: float
    name: str


@dataclass(frozen=True, slots=True)
class Week:
    """A week as it is drawn, *now* being where it is now."""

    name: str
    days: tuple[DayMark, ...]
    bars: tuple[Bar, ...]
    now: float | None


@dataclass(frozen=True, slots=True)
class ToldShift:
    """A shift in words."""

    told: str
    is_hole: bool


@dataclass(frozen=True, slots=True)
class ShownSchedule:
    """A schedule as it is drawn."""

    name: str
    zone: str
    weeks: tuple[Week, ...]
    holes: int
    shifts: tuple[ToldShift, ...]


def drawn(schedule: Schedule, colours: Mapping[str, int], now: datetime) -> ShownSchedule:
    """Return the next weeks of *schedule*, from the Monday of this one on, by the clocks of its zone."""
    zone = schedule.zone
    monday = now.astimezone(zone).date()
    monday -= timedelta(days=monday.weekday())
    edges = [
        datetime(day.year, day.month, day.day, tzinfo=zone)
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
        tuple(ToldShift(_told(shift, zone), shift.contact is None) for shift in ahead),
    )


def _pieces(shift: Shift, schedule: Schedule) -> Iterable[tuple[Shift, str]]:
    """Yield *shift*, divided where an override begins or ends, with the kind of each piece."""
    spans = [
        (max(one.start, shift.start), min(one.end, shift.end))
        for one in schedule.overrides
        if one.contact == shift.contact and one.start < shift.end and one.end > shift.start
    ]
    edges = sorted({shift.start, shift.end, *(edge for span in spans for edge in span)})
    for start, end in pairwise(edges):
        is_override = any(first <= start and end <= last for first, last in spans)
        kind = "hole" if shift.contact is None else "override" if is_override else "shift"
        yield Shift(shift.schedule, shift.contact, start, end), kind


def _week(
    edges: Sequence[datetime],
    pieces: Iterable[tuple[Shift, str]],
    zone: ZoneInfo,
    colours: Mapping[str, int],
    now: datetime,
) -> Week:
    start, end = edges[0], edges[-1]

    def place(instant: datetime) -> float:
        """Where *instant* is: each day is as wide, however many hours it has."""
        day = max(number for number, edge in enumerate(edges) if edge <= instant)
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
        told = _told(piece, zone) + (" (override)" if kind == "override" else "")
        label = name if len(name) * _LETTER_WIDTH < last - x - 4 else ""
        bars.append(Bar(x, round(last - x, 2), kind, f"c{number}", label, told))
    days = tuple(DayMark(place(edge), f"{edge:%a %d}") for edge in edges[:-1])
    return Week(f"{start:%d %B}", days, tuple(bars), place(now) if start <= now < end else None)


def _told(shift: Shift, zone: ZoneInfo) -> str:
    start, end = shift.start.astimezone(zone), shift.end.astimezone(zone)
    return f"{shift.contact or 'nobody'}, {start:%a %d %b %H:%M} to {end:%a %d %b %H:%M}"


# -- messages -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A part of a bar of the chart."""

    x: int
    y: float
    height: float
    kind: str
    told: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Messages a day, stacked by what became of them; *told* says it in words."""

    width: int
    bars: tuple[Column, ...]
    first: str
    most: int
    told: str


def chart(counts: Mapping[tuple[int, str], int], first: datetime, days: int = CHART_DAYS) -> Chart | None:
    """Return the chart of *counts*, by (day after *first*, state); None where there are none."""
    totals: dict[int, dict[str, int]] = {day: {"good": 0, "bad": 0, "other": 0} for day in range(days)}
    for (day, state), count in counts.items():
        kind = "good" if state in _REACHED else "bad" if state in FAILED else "other"
        if day in totals:
            totals[day][kind] += count
    most = max(sum(kinds.values()) for kinds in totals.values())
    if not most:
        return None
    bars = []
    for day, kinds in totals.items():
        top = 60.0
        for kind, count in kinds.items():
            if count:
                height = round(max(1.0, _BAR_HEIGHT * count / most), 2)
                top = round(top - height, 2)
                told = f"{first + day * _DAY:%d %b}: {count} {kind}"
                bars.append(Column(day * 10, top, height, kind, told))
    sums = {kind: sum(kinds[kind] for kinds in totals.values()) for kind in ("good", "bad", "other")}
    words = f"in {days} days {sums['good']} accepted, {sums['bad']} failed, {sums['other']} others"
    return Chart(days * 10, tuple(bars), f"{first:%d %b}", most, words)


def lasts(credits_left: float | None, spent: float, over: timedelta) -> int | None:
    """Return for how many days *credits_left* last where so many were *spent* *over* a time; None if not to be told."""
    if credits_left is None or spent <= 0:
        return None
    return math.floor(credits_left / (spent / (over / _DAY)))
