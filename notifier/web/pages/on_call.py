"""The page of the schedules: who is on call now, and in the weeks to come."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar
from urllib.parse import quote

import segno
from markupsafe import Markup

from notifier.oncall.schedules import Schedule
from notifier.runtime import Runtime
from notifier.web.authentication import Authentication
from notifier.web.pages.context import PageContext, Reader, View
from notifier.web.pages.moments import LocalMoment, Viewer
from notifier.web.pages.shift_chart import WEEKS, ShownSchedule, drawn

_FARTHEST = 52
"""How many weeks one can look ahead and back."""
_MAX_QR = 1000
"""Bytes; a phone cannot scan more from a screen."""


@dataclass(frozen=True, slots=True)
class CurrentShift:
    """Who is on call now: *covers* is in whose place, by an override; *following* is who comes next."""

    schedule: str
    contact: str | None
    until: LocalMoment
    covers: str | None
    following: str | None


@dataclass(frozen=True, slots=True)
class Calendar:
    """The calendar of a contact: its address and the QR code of it. Both are empty if reading it takes a password."""

    name: str
    address: str
    qr_code: Markup


@dataclass(frozen=True, slots=True)
class OnCallView(View):
    """Four weeks of every schedule, *week* weeks from now.

    *feeds* is the path of the calendars of *contacts*, of which one is shown.
    """

    template: ClassVar[str] = "oncall.html"
    current: Sequence[CurrentShift]
    schedules: Sequence[ShownSchedule]
    contacts: Sequence[str]
    calendar: Calendar
    asked: str
    """Whose calendar was asked for."""
    feeds: str
    week: int
    earlier: int | None
    later: int | None


def on_call_view(context: PageContext, reader: Reader, week: str, contact: str, base_url: str) -> OnCallView:
    """Return the page for *reader*, beginning *week* weeks from now, with the calendar of *contact*."""
    runtime, viewer = context.current.runtime, context.viewer(reader)
    skipped = max(-_FARTHEST, min(_FARTHEST, int(week))) if re.fullmatch("-?[0-9]{1,3}", week) else 0
    colours = {name: number for number, name in enumerate(runtime.contacts)}
    schedules = list(runtime.schedules.by_name.values())
    return OnCallView(
        current=[current_shift(schedule, viewer) for schedule in schedules],
        schedules=[drawn(one, colours, viewer.now, skipped, viewer.words) for one in schedules],
        contacts=list(runtime.contacts) if schedules else [],
        calendar=calendar_of(runtime, contact or reader.name, base_url),
        asked=contact,
        feeds=feeds_path(runtime),
        week=skipped,
        earlier=skipped - WEEKS if skipped > -_FARTHEST else None,
        later=skipped + WEEKS if skipped < _FARTHEST else None,
    )


def current_shift(schedule: Schedule, viewer: Viewer) -> CurrentShift:
    """Return who is on call in *schedule* now."""
    shift = schedule.at(viewer.now)
    usual = replace(schedule, overrides=()).on_call(viewer.now)
    is_override = any(one.start <= viewer.now < one.end for one in schedule.overrides)
    return CurrentShift(
        schedule.name,
        shift.contact,
        viewer.moment(shift.end),
        usual if is_override and usual != shift.contact else None,
        schedule.on_call(shift.end),
    )


def feeds_path(runtime: Runtime) -> str:
    """Return the path below which the calendars are, with the secret that reads them if there is one."""
    secret = runtime.configuration.web.feed_secret
    return "/oncall" if secret is None else f"/oncall/feeds/{secret.get_secret_value()}"


def calendar_of(runtime: Runtime, contact: str, base_url: str) -> Calendar:
    """Return the calendar of *contact*, with its address below *base_url*; an empty one if there is no such contact."""
    web = runtime.configuration.web
    is_open = web.feed_secret is not None or not Authentication.of(web).is_required
    if contact not in runtime.contacts:
        return Calendar("", "", Markup())
    if not is_open:
        return Calendar(contact, "", Markup())
    address = f"{base_url.rstrip('/')}{feeds_path(runtime)}/{quote(contact)}.ics"
    return Calendar(contact, address, _qr_code(address))


@functools.lru_cache(maxsize=64)
def _qr_code(text: str) -> Markup:
    """Return *text* as a QR code in SVG; nothing if it is too long for one."""
    if len(text.encode()) > _MAX_QR:
        return Markup()
    return Markup(segno.make(text, error="m").svg_inline(omitsize=True, border=4, dark="#000", light="#fff"))  # noqa: S704 (no text of others: modules alone)
