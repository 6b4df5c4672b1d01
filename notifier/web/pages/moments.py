"""Times and numbers as people read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.alertmanager.durations import brief_duration


@dataclass(frozen=True, slots=True)
class LocalMoment:
    """An instant, as people read it: to the minute, whole, and as the time from or to now."""

    iso: str
    whole: str
    short: str
    ago: str


@dataclass(frozen=True, slots=True)
class Viewer:
    """The time zone and the present time for which pages are shown."""

    zone: ZoneInfo
    now: datetime

    def moment(self, instant: datetime) -> LocalMoment:
        """Return *instant* for reading."""
        local, today = instant.astimezone(self.zone), self.now.astimezone(self.zone)
        day = (
            ""
            if local.date() == today.date()
            else f"{local:%d %b} "
            if local.year == today.year
            else f"{local:%d %b %Y} "
        )
        away = max(self.now, instant) - min(self.now, instant)
        ago = "less than a minute" if away < timedelta(minutes=1) else brief_duration(away)
        return LocalMoment(
            f"{instant:%Y-%m-%dT%H:%M:%SZ}",
            f"{local:%A %d %B %Y %H:%M:%S %Z}",
            f"{day}{local:%H:%M}",
            ago if instant <= self.now else f"in {ago}",
        )

    def maybe(self, instant: datetime | None) -> LocalMoment | None:
        """Return *instant* for reading, if there is one."""
        return None if instant is None else self.moment(instant)


def counted(number: float, noun: str) -> str:
    """Return *number* with its *noun*: ``1 part``, ``2.5 credits``."""
    return f"{number:g} {noun}{'' if number == 1 else 's'}"
