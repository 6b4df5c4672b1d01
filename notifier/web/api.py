"""The API: what commands, pages and scripts ask of a running service, and have it do."""

from __future__ import annotations

import asyncio
import difflib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from notifier.clock import Clock
from notifier.config.types import LONGEST_NAME, parse_moment
from notifier.delivery.message import MessageState
from notifier.incidents.lifecycle import Incident, IncidentState
from notifier.oncall import calendars
from notifier.oncall.schedules import Schedule, Shift, shift_json
from notifier.permissions import Permission
from notifier.runtime import Current
from notifier.sms.phones import mask
from notifier.store.engine import StoreUnavailable
from notifier.store.ledger import LedgerMessage, MessageDetails
from notifier.store.store import Store
from notifier.timeline import timeline
from notifier.web import openapi
from notifier.web.bodies import BodyTooLarge, read_body
from notifier.web.concealment import concealed, concealed_details
from notifier.web.gate import Denial, Gate, has_nul
from notifier.web.names import any_name
from notifier.workers.actions import ActionOutcome, Actions, Unreachable, Via

_MAX_BODY = 64 * 1024
_LONGEST_SHIFT = timedelta(days=400)
"""Shifts are looked for so far back, since one that began long ago may last still."""
_FEED_TYPE = "text/calendar; charset=utf-8"


class Refused(Exception):
    """A request that cannot be answered as asked: the status, and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def rfc3339(instant: datetime | None) -> str | None:
    """Return *instant* as the API writes it: RFC 3339 in UTC, to the millisecond."""
    return None if instant is None else f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"


def incident_json(incident: Incident) -> dict[str, Any]:
    """Return *incident* as the API shows it."""
    return {
        "id": incident.id,
        "number": incident.number,
        "receiver": incident.receiver,
        "group_key": incident.group_key,
        "state": incident.state.value,
        "title": incident.title,
        "labels": dict(incident.labels),
        "opened_at": rfc3339(incident.opened_at),
        "began_at": rfc3339(incident.began_at),
        "acknowledged_by": incident.acknowledged_by,
        "acknowledged_via": incident.acknowledged_via,
        "acknowledged_at": rfc3339(incident.acknowledged_at),
        "next_step_at": rfc3339(incident.next_step_at),
        "muted_by": incident.muted_by or None,
        "muted_until": rfc3339(incident.muted_until),
        "resolved_at": rfc3339(incident.resolved_at),
    }


def message_json(message: LedgerMessage, hide: Callable[[str], str]) -> dict[str, Any]:
    """Return *message* as the API shows it; numbers are masked, in its error by *hide*."""
    return {
        "id": message.id,
        "incident": message.incident_id,
        "receiver": message.receiver,
        "kind": message.kind,
        "author": message.author,
        "to": message.contact or None,
        "phone": mask(message.phone),
        "text": message.text,
        "parts": message.parts,
        "credits": message.credits,
        "state": message.state,
        "error": message.error and hide(message.error),
        "attempts": message.attempts,
        "ovh_id": message.ovh_id,
        "ptt": message.ptt,
        "merged_into": message.merged_into,
        "created_at": rfc3339(message.created_at),
        "sent_at": rfc3339(message.sent_at),
        "accepted_at": rfc3339(message.finished_at) if message.ovh_id is not None else None,
        "delivered_at": rfc3339(message.delivered_at),
    }


def story_json(story: MessageDetails, hide: Callable[[str], str]) -> dict[str, Any]:
    """Return the whole *story* of a message as the API shows it; numbers are masked, in errors by *hide*."""
    return {
        **message_json(story.message, hide),
        "webhook": story.origin and story.origin.webhook_id,
        "tries": [
            {
                "tag": one.tag,
                "at": rfc3339(one.at),
                "answered_at": rfc3339(one.answered_at),
                "state": one.state,
                "text": one.text,
                "error": one.error and hide(one.error),
                "query_id": one.query_id,
                "account": one.account or None,
            }
            for one in story.attempts
        ],
        "merged": [message_json(one, hide) for one in story.merged],
        "timeline": [
            {"at": rfc3339(line.at), "what": line.what, "detail": hide(line.detail)}
            for line in timeline(story)
        ],
    }


@dataclass(frozen=True, slots=True)
class ApiRoutes:
    """The handlers, and what they ask."""

    store: Store
    current: Current
    actions: Actions
    gate: Gate
    clock: Clock
    hide: Callable[[str], str]
    """Returns a text without secrets, its numbers masked: OVHcloud's errors repeat what was sent."""

    def routes(self) -> list[Route]:
        """Return the paths of the API, and the calendars for phones."""
        return [
            Route("/api/v1/incidents", self._guarded(self.incidents), methods=["GET"]),
            Route("/api/v1/incidents/{id}", self._guarded(self.incident), methods=["GET"]),
            Route(
                "/api/v1/incidents/{id}/ack",
                self._guarded(self.acknowledge, Permission.ACT),
                methods=["POST"],
            ),
            Route(
                "/api/v1/incidents/{id}/close", self._guarded(self.close, Permission.ACT), methods=["POST"]
            ),
            Route("/api/v1/messages", self._guarded(self.messages), methods=["GET"]),
            Route("/api/v1/messages/{id}", self._guarded(self.message), methods=["GET"]),
            Route("/api/v1/send", self._guarded(self.send, Permission.SEND), methods=["POST"]),
            Route("/api/v1/openapi.json", self.describe, methods=["GET"]),
            Route("/api/v1/oncall", self._guarded(self.on_call), methods=["GET"]),
            Route(f"/oncall/feeds/{{secret}}/{any_name('name')}.ics", self.feed_by_secret, methods=["GET"]),
            Route(f"/oncall/{any_name('name')}.ics", self._guarded(self.feed), methods=["GET"]),
        ]

    def _guarded(
        self, handler: Callable[[Request, bytes], Response], permission: Permission = Permission.READ
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            caller = await self.gate.admit(
                request.scope, permission, self.current.runtime.configuration.origin
            )
            if isinstance(caller, Denial):
                return JSONResponse({"error": caller.text}, caller.status, caller.headers)
            if has_nul(request):
                return JSONResponse({"error": "NUL is in no name and no text"}, 400)
            request.state.caller = caller
            try:
                body = await read_body(request.scope, request.receive, _MAX_BODY)
                return await asyncio.get_running_loop().run_in_executor(None, handler, request, body)
            except BodyTooLarge:
                return JSONResponse({"error": f"the body is larger than {_MAX_BODY} bytes"}, 413)
            except Refused as refused:
                return JSONResponse({"error": str(refused)}, refused.status)
            except StoreUnavailable as error:
                return JSONResponse({"error": f"the store is unavailable: {error}"}, 503)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it

        return guarded

    # incidents

    def incidents(self, request: Request, _: bytes) -> Response:
        """Return the incidents, newest first."""
        states = request.query_params.getlist("state")
        for state in states:
            if state not in tuple(IncidentState):
                raise Refused(400, f'"{state}" is not a state; known are {", ".join(IncidentState)}')
        limit = _limit(request)
        found = self.store.incidents.page(limit + 1, request.query_params.get("cursor"), states or None)
        return _listed([incident_json(one) for one in found], limit)

    def incident(self, request: Request, _: bytes) -> Response:
        """Return one incident, by its id or number, with what happened to it and whom it was told."""
        incident = self._incident(request)
        history = [
            {"at": rfc3339(e.at), "kind": e.kind, "by": e.by, "via": e.via, "detail": e.detail}
            for e in self.store.incidents.history(incident.id)
        ]
        told = self.store.ledger.page(openapi.MOST, incident_id=incident.id)
        sent = [self._message(one) for one in reversed(told)]
        return JSONResponse({**incident_json(incident), "events": history, "messages": sent})

    # messages

    def messages(self, request: Request, _: bytes) -> Response:
        """Return the messages, newest first."""
        states = request.query_params.getlist("state")
        for state in states:
            if state not in tuple(MessageState):
                raise Refused(400, f'"{state}" is not a state; known are {", ".join(MessageState)}')
        limit, query = _limit(request), request.query_params
        found = self.store.ledger.page(limit + 1, query.get("cursor"), states, query.get("receiver"))
        return _listed([self._message(one) for one in found], limit)

    def message(self, request: Request, _: bytes) -> Response:
        """Return one message, with its whole story."""
        given = str(request.path_params["id"])
        story = self.store.ledger.details(given)
        if story is None:
            raise Refused(404, f'there is no message "{given[:40]}"')
        return JSONResponse(story_json(concealed_details(self.current.runtime, story), self.hide))

    def _message(self, message: LedgerMessage) -> dict[str, Any]:
        return message_json(concealed(self.current.runtime, message), self.hide)

    def acknowledge(self, request: Request, body: bytes) -> Response:
        """Acknowledge an incident for a contact or the authenticated user: ``{"by": "alice", "take": true}``.

        One that somebody else has is taken over only with ``take``.
        """
        values = _object(body, "by", "take")
        take = values.get("take", False)
        if not isinstance(take, bool):
            raise Refused(400, "take must be true or false")
        given = _text(values, "by")
        incident = self._unresolved(request)
        by, author = self._author(request, given)
        contact = self.current.runtime.contacts.get(by)
        phone = contact.phone if contact is not None else None
        verdict = self.actions.acknowledge(
            incident.id, by, Via.API, phone, lambda now: take or now.holder in (None, by), author=author
        )
        return self._acted(incident, verdict)

    def close(self, request: Request, body: bytes) -> Response:
        """Close an incident for a contact or the authenticated user: ``{"by": "alice"}``."""
        values = _object(body, "by")
        given = _text(values, "by")
        incident = self._unresolved(request)
        by, author = self._author(request, given)
        return self._acted(incident, self.actions.close(incident.id, author or by, Via.API))

    def _author(self, request: Request, given: str | None) -> tuple[str, str | None]:
        """Return in whose name something is done, and who did it where that is somebody else.

        The name is a contact that is *given*, or the authenticated user; somebody else is a user, or a token:
        ``bob for alice``.
        """
        user = request.state.caller.user
        by = given or user
        known = [contact.name for contact in self.current.runtime.configuration.contacts]
        if by is None:
            raise Refused(400, 'say in whose name: {"by": "alice"}')
        if by not in known and by != user:
            close = difflib.get_close_matches(by, known, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            raise Refused(400, f'by: there is no contact "{by[:40]}"{hint}')
        author = user or request.state.caller.token
        return by, None if author is None or author == by else f"{author} for {by}"

    def _unresolved(self, request: Request) -> Incident:
        incident = self._incident(request)
        if incident.state is IncidentState.RESOLVED:
            raise Refused(409, f"incident {incident.number} is resolved already")
        return incident

    def _acted(self, incident: Incident, verdict: ActionOutcome) -> Response:
        after = self.store.incidents.get(incident.id) or incident
        match verdict:
            case ActionOutcome.UNKNOWN:
                raise Refused(404, "there is no such incident")
            case ActionOutcome.RESOLVED:
                raise Refused(409, f"incident {incident.number} is resolved already")
            case ActionOutcome.OVERTAKEN:
                how = 'to take it over, add "take": true (notifier ack --take)'
                raise Refused(409, f"{after.holder} has incident {incident.number}; {how}")
        return JSONResponse(incident_json(after))

    def send(self, request: Request, body: bytes) -> Response:
        """Send somebody a message: ``{"to": "alice", "text": "hello"}``."""
        values = _object(body, "to", "text")
        to, text = _text(values, "to"), _text(values, "text", openapi.LONGEST_TEXT)
        if to is None or text is None:
            raise Refused(400, 'the body must name a recipient and a text: {"to": "alice", "text": "hello"}')
        try:
            sent = self.actions.send(to, text, request.state.caller.name)
        except Unreachable as error:
            raise Refused(409 if error.is_nobody else 404, str(error)) from None
        except ValueError as error:
            raise Refused(400, str(error)) from None
        story = self.store.ledger.details(sent.id)
        if story is None:
            raise Refused(409, "it is on its way, but its record is deleted; storage.retention is too short")
        return JSONResponse(self._message(story.message))

    async def describe(self, request: Request) -> Response:  # noqa: ARG002
        """Return the description of the API."""
        return JSONResponse(openapi.document())

    def _incident(self, request: Request) -> Incident:
        given = str(request.path_params["id"]).removeprefix("#")
        found = self.store.incidents.named(given)
        if found is None:
            raise Refused(404, f'there is no incident "{given[:40]}"')
        return found

    # who is on call

    def on_call(self, request: Request, _: bytes) -> Response:
        """Return who is on call now, or at ``at``; with ``until``, every shift up to then."""
        schedules = self.current.runtime.schedules.by_name
        name = request.query_params.get("schedule")
        if name is not None and name not in schedules:
            raise Refused(404, f'there is no schedule "{name[:100]}"')
        chosen = [schedules[name]] if name is not None else list(schedules.values())
        shifts: list[Shift] = []
        for schedule in chosen:
            start = _instant(request, "at", schedule) or self.clock()
            end = _instant(request, "until", schedule)
            if end is not None and not start < end <= start + calendars.AHEAD:
                raise Refused(400, "until must be after at, and at most 400 days after it")
            shifts += [schedule.at(start)] if end is None else schedule.shifts(start, end)
        return JSONResponse({"items": [shift_json(shift) for shift in shifts], "next": None})

    async def feed_by_secret(self, request: Request) -> Response:
        """Return a calendar as `feed` does, to whoever has ``web.feed_secret``: a phone keeps no other credential."""
        secret = self.current.runtime.configuration.web.feed_secret
        given = str(request.path_params["secret"]).encode()
        if secret is None or not hmac.compare_digest(given, secret.get_secret_value().encode()):
            return JSONResponse({"error": "there is no such calendar"}, 404)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(None, self.feed, request, b"")
        except Refused as refused:
            return JSONResponse({"error": str(refused)}, refused.status)

    def feed(self, request: Request, _: bytes) -> Response:
        """Return a calendar to subscribe to: a schedule's, or all the shifts of a contact."""
        name, now = str(request.path_params["name"]), self.clock()
        schedules = self.current.runtime.schedules.by_name
        start, end = now - _LONGEST_SHIFT, now + calendars.AHEAD
        if name in schedules:
            shifts, title = schedules[name].shifts(start, end), f"On call: {name}"
        elif name in self.current.runtime.contacts:
            every = (shift for schedule in schedules.values() for shift in schedule.shifts(start, end))
            shifts, title = [shift for shift in every if shift.contact == name], f"{name} on call"
        else:
            raise Refused(404, f'there is no schedule or contact "{name[:100]}"')
        whole = [  # not those cut off
            shift for shift in shifts if shift.start > start and now - calendars.BEHIND < shift.end < end
        ]
        return Response(calendars.feed(title, whole, now), media_type=_FEED_TYPE)


def _object(body: bytes, *known: str) -> Mapping[str, Any]:
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, f"the body is no object with {' and '.join(known)}")
    for key in value:
        if key not in known:
            raise Refused(400, f'"{_shown(key)}" is not known; known are {", ".join(known)}')
    return value


def _text(values: Mapping[str, Any], name: str, longest: int = LONGEST_NAME) -> str | None:
    value = values.get(name)
    is_left_out = name not in values
    if not is_left_out and (not isinstance(value, str) or not value.strip() or len(value) > longest):
        raise Refused(400, f"{name} must be a text of up to {longest} characters")
    if value is None:
        return None
    if _shown(value, longest) != value:
        raise Refused(400, f"{name} holds what no text may: NUL, or half of a character")
    return " ".join(value.split())


def _shown(text: str, longest: int = 40) -> str:
    """Return the beginning of *text* without what cannot be written down."""
    return text[:longest].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _limit(request: Request) -> int:
    given = request.query_params.get("limit", "100")
    if not (given.isascii() and given.isdecimal() and 1 <= int(given[:9]) <= openapi.MOST):
        raise Refused(400, f"limit must be a number from 1 to {openapi.MOST}")
    return int(given)


def _listed(items: Sequence[Mapping[str, Any]], limit: int) -> Response:
    """Return up to *limit* of *items* as a list, with the cursor for those that follow, if any do."""
    following = items[limit - 1]["id"] if len(items) > limit else None
    return JSONResponse({"items": items[:limit], "next": following})


def _instant(request: Request, name: str, schedule: Schedule) -> datetime | None:
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        return parse_moment(given.replace(" ", "+")).instant(schedule.zone)
    except ValueError as error:
        raise Refused(400, f"{name}: {error}") from None
