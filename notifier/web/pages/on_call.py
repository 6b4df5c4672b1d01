"""The page of the schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from notifier.web.pages.context import PageContext, View
from notifier.web.pages.shift_chart import ShownSchedule, drawn


@dataclass(frozen=True, slots=True)
class OnCallView(View):
    """Four weeks of every schedule; *feeds* is the path below which the calendars of *contacts* are."""

    template: ClassVar[str] = "oncall.html"
    schedules: Sequence[ShownSchedule]
    contacts: Sequence[str]
    feeds: str


def on_call_view(context: PageContext) -> OnCallView:
    """Return the page."""
    runtime, now = context.current.runtime, context.clock()
    colours = {name: number for number, name in enumerate(runtime.contacts)}
    schedules = [drawn(schedule, colours, now) for schedule in runtime.schedules.by_name.values()]
    secret = runtime.configuration.web.feed_secret
    feeds = "/oncall" if secret is None else f"/oncall/feeds/{secret.get_secret_value()}"
    return OnCallView(schedules, list(runtime.contacts) if schedules else [], feeds)
