"""Calendars to subscribe to: the shifts of a schedule, or of a contact."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from notifier.clock import Clock
from notifier.oncall import calendars
from notifier.runtime import Current
from notifier.web.api.operations import Endpoints, Refused, in_thread
from notifier.web.names import any_name

_LONGEST_SHIFT = timedelta(days=400)
"""How far back shifts are searched, since a shift that began long ago may still last."""
_TYPE = "text/calendar; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Feeds:
    """The handlers."""

    current: Current
    endpoints: Endpoints
    clock: Clock

    def routes(self) -> list[Route]:
        """Return the paths of the calendars."""
        return [
            Route(f"/oncall/feeds/{{secret}}/{any_name('name')}.ics", self._by_secret, methods=["GET"]),
            Route(f"/oncall/{any_name('name')}.ics", self.endpoints.guarded(self._feed), methods=["GET"]),
        ]

    async def _by_secret(self, request: Request) -> Response:
        """Return a calendar to a client that has ``web.feed_secret``: a phone keeps no other credential."""
        secret = self.current.runtime.configuration.web.feed_secret
        given = str(request.path_params["secret"]).encode()
        if secret is None or not hmac.compare_digest(given, secret.get_secret_value().encode()):
            return JSONResponse({"error": "there is no such calendar"}, 404)
        return await in_thread(self._feed, request, b"")

    def _feed(self, request: Request, _: bytes) -> Response:
        name, now, runtime = str(request.path_params["name"]), self.clock(), self.current.runtime
        schedules = runtime.schedules.by_name
        start, end = now - _LONGEST_SHIFT, now + calendars.AHEAD
        if name in schedules:
            shifts, title = schedules[name].shifts(start, end), f"On call: {name}"
        elif name in runtime.contacts:
            every = (shift for schedule in schedules.values() for shift in schedule.shifts(start, end))
            shifts, title = [shift for shift in every if shift.contact == name], f"{name} on call"
        else:
            raise Refused(404, f'there is no schedule or contact "{name[:100]}"')
        whole = [  # not those cut off
            shift for shift in shifts if shift.start > start and now - calendars.BEHIND < shift.end < end
        ]
        return Response(calendars.feed(title, whole, now), media_type=_TYPE)
