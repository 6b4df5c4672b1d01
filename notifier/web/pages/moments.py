"""Times as people read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.web.pages.words import ENGLISH, Words


@dataclass(frozen=True, slots=True)
class LocalMoment:
    """An instant, as people read it: *whole*, to the minute, to the second, and as the time from or to now."""

    iso: str
    whole: str
    short: str
    exact: str
    away: str
    """``5 min``, or ``less than a minute``."""
    is_past: bool
    is_today: bool


@dataclass(frozen=True, slots=True)
class Viewer:
    """The time zone and language in which pages are shown, and the present time."""

    zone: ZoneInfo
    now: datetime
    words: Words = ENGLISH

    def moment(self, instant: datetime) -> LocalMoment:
        """Return *instant* for reading."""
        local, today = instant.astimezone(self.zone), self.now.astimezone(self.zone)
        day = f"{local.day} {self.words.month(local)}"
        if local.year != today.year:
            day += f" {local.year}"
        weekday, clock = self.words.weekday(local), f"{local:%H:%M:%S}"
        is_today = local.date() == today.date()
        prefix = "" if is_today else f"{day} "
        return LocalMoment(
            iso=f"{instant:%Y-%m-%dT%H:%M:%SZ}",
            whole=f"{weekday} {day} {clock} {local:%Z}",
            short=f"{prefix}{local:%H:%M}",
            exact=f"{prefix}{clock}",
            away=spelled(abs(self.now - instant), self.words),
            is_past=instant <= self.now,
            is_today=is_today,
        )

    def maybe(self, instant: datetime | None) -> LocalMoment | None:
        """Return *instant* for reading, if there is one."""
        return None if instant is None else self.moment(instant)

    def day(self, instant: datetime) -> str:
        """Return the day of *instant*: ``Monday 30 Nov``."""
        local = instant.astimezone(self.zone)
        year = "" if local.year == self.now.astimezone(self.zone).year else f" {local.year}"
        return f"{self.words.weekday(local)} {local.day} {self.words.month(local)}{year}"


def spelled(duration: timedelta, words: Words = ENGLISH) -> str:
    """Return *duration* by its two largest units: ``12 min``, ``3 h 5 min``, ``2 d 4 h``."""
    minutes = int(duration.total_seconds()) // 60
    if minutes < 1:
        return words("less than a minute")
    hours, days = minutes // 60, minutes // 1440
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    day = words("d")
    return f"{days} {day} {hours % 24} h" if hours % 24 else f"{days} {day}"
