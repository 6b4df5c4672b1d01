"""The chart of messages a day, by state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.delivery.message import FAILED, MessageState
from notifier.web.pages.words import ENGLISH, Words

CHART_DAYS = 30
"""How many days the chart is of."""

_DAY = timedelta(days=1)
_BAR_HEIGHT = 50
_KINDS = {"good": "delivered", "bad": "failed", "other": "others"}


@dataclass(frozen=True, slots=True)
class Column:
    """A part of a bar of the chart, with its label."""

    x: int
    y: float
    height: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Messages a day, stacked by state; *summary* is the same in words."""

    width: int
    bars: tuple[Column, ...]
    first: str
    most: int
    summary: str


def chart(
    counts: Mapping[tuple[datetime, str], int], zone: ZoneInfo, today: date, words: Words = ENGLISH
) -> Chart | None:
    """Return the chart of *counts*, by (instant, state), up to *today* in *zone*; None if there are none."""
    days = {today - (CHART_DAYS - 1 - number) * _DAY: number for number in range(CHART_DAYS)}
    totals: list[dict[str, int]] = [{"good": 0, "bad": 0, "other": 0} for _ in days]
    for (at, state), count in counts.items():
        kind = colour(state)
        number = days.get(at.astimezone(zone).date())
        if number is not None:
            totals[number][kind] += count
    most = max(sum(kinds.values()) for kinds in totals)
    if not most:
        return None
    bars = []
    for day, number in days.items():
        top = 60.0
        for kind, count in totals[number].items():
            if count:
                height = round(max(1.0, _BAR_HEIGHT * count / most), 2)
                top = round(top - height, 2)
                label = f"{_day(day, words)}: {count} {words(_KINDS[kind])}"
                bars.append(Column(number * 10, top, height, kind, label))
    sums = {kind: sum(kinds[kind] for kinds in totals) for kind in ("good", "bad", "other")}
    text = "in %(days)s days %(good)s delivered, %(bad)s failed, %(other)s others"
    summary = words(text, days=CHART_DAYS, **sums)
    return Chart(CHART_DAYS * 10, tuple(bars), _day(min(days), words), most, summary)


def _day(day: date, words: Words) -> str:
    return f"{day.day} {words.month(day)}"


def colour(state: str) -> str:
    """Return the colour of a message in *state*: good, bad or other. An accepted one may not have arrived."""
    return "good" if state == MessageState.DELIVERED else "bad" if state in FAILED else "other"
