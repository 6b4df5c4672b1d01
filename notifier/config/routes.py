"""The sections ``route`` and ``time_intervals``, as in Alertmanager's configuration."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from pydantic import Field, StrictBool

from notifier.alertmanager.time_intervals import Interval
from notifier.config.section import Section
from notifier.config.times import DaysOfMonth, Months, Times, Weekdays, Years
from notifier.config.types import Location, Matchers, Name


class IntervalConfig(Section):
    """A time interval, as in Alertmanager. A key that is left out matches always."""

    times: Times | None = None
    """Times of the day: [{start_time: '09:00', end_time: '17:00'}]."""
    weekdays: Weekdays | None = None
    """Days of the week: ['monday:friday', sunday]."""
    days_of_month: DaysOfMonth | None = None
    """Days of the month: ['1:5', '-3:-1']; negative ones count from its end."""
    months: Months | None = None
    """Months: ['may:august', december, '1:3']."""
    years: Years | None = None
    """Years: ['2026:2028', 2030]."""
    location: Location = Field(default=ZoneInfo("UTC"), json_schema_extra={"default": "UTC"})
    """Time zone of the other keys."""

    def interval(self) -> Interval:
        """Return these settings as an interval."""
        return Interval(self.times, self.weekdays, self.days_of_month, self.months, self.years, self.location)


class TimeIntervalConfig(Section):
    """Named time intervals, for routes."""

    name: Name
    time_intervals: tuple[IntervalConfig, ...]
    """The intervals; the name matches when one of them does."""


class RouteConfig(Section):
    """A node of the routing tree, as in Alertmanager."""

    receiver: str | None = None
    """Receiver. Default: that of the parent."""
    matchers: Matchers = ()
    """Matchers that must all match the labels of an alert. __receiver__ is the receiver named in the webhook."""
    continue_: StrictBool = Field(default=False, alias="continue")
    """Whether Notifier also checks the following sibling routes after an alert matched this one."""
    mute_time_intervals: tuple[str, ...] = ()
    """Names of time_intervals during which alerts of this route are muted. They are paged when the interval ends."""
    active_time_intervals: tuple[str, ...] = ()
    """Names of time_intervals. Outside of these intervals, alerts of this route are muted."""
    routes: tuple[RouteConfig, ...] = ()
