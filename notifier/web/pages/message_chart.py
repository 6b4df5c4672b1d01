"""The chart of messages a day, by state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.delivery.message import FAILED, MessageState

CHART_DAYS = 30
"""How many days the chart is of."""

_DAY = timedelta(days=1)
_BAR_HEIGHT = 50
_REACHED = (MessageState.ACCEPTED, MessageState.DELIVERED)


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


def chart(counts: Mapping[tuple[datetime, str], int], zone: ZoneInfo, today: date) -> Chart | None:
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
                bars.append(Column(number * 10, top, height, kind, f"{day:%d %b}: {count} {kind}"))
    sums = {kind: sum(kinds[kind] for kinds in totals) for kind in ("good", "bad", "other")}
    words = f"in {CHART_DAYS} days {sums['good']} accepted, {sums['bad']} failed, {sums['other']} others"
    return Chart(CHART_DAYS * 10, tuple(bars), f"{min(days):%d %b}", most, words)


def colour(state: str) -> str:
    """Return the colour of a message in *state*: good, bad or other."""
    return "good" if state in _REACHED else "bad" if state in FAILED else "other"
